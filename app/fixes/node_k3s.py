"""Fixes of k3s and RKE2: `registries.yaml`, its template and the restart (MODES 3.5; fix class N-K3S of node.md).

config.toml and certs.d of these nodes are generated at each start, so that they are never edited.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Final
from urllib.parse import urlsplit

from ruamel.yaml.comments import CommentedSeq

from app.fixes.base import Fix
from app.fixes.node_base import CannotError, Work, leads_here
from app.fixes.node_plan import node_fix
from app.fixes.node_yaml import RegistriesEdit
from app.parsers.k3s_registries import K3sRegistries, parse_registries
from app.pullplan.near import near_config_key, near_mirror_key
from app.pullplan.repairs_k3s import endpoint_authorities

_MODE: Final = "0600"


def registries_path(work: Work) -> str:
    if not work.rancher:
        raise CannotError(
            "it is no k3s or RKE2 node; its settings are containerd's own (http-host-entry, add-ca-file, …)"
        )
    return f"/etc/rancher/{work.rancher}/registries.yaml"


def open_registries(work: Work) -> RegistriesEdit:
    """registries.yaml under edit, its misnamed neighbour where only that is there."""
    path = registries_path(work)
    text = work.text(path)
    setup = work.setup.k3s
    if text is None and setup is not None and setup.near_file:
        text = work.whole(setup.near_file)
        work.note(f"{setup.near_file} is not read; its settings are written to {path}")
    if text is not None and parse_registries(text).error:
        spaced = _without_tabs(text)
        if spaced != text and not parse_registries(spaced).error:
            work.note(
                f"tabs that indent lines of {path} become spaces, eight to a tab; see that each line is where it belongs",
                "warn",
            )
            text = spaced
    edit = RegistriesEdit(text or "")
    if not edit.exact:
        work.note(f"the spacing of {path} is mixed, so that more lines than the changed ones show in the diff", "warn")
    return edit


def _without_tabs(text: str) -> str:
    """Tabs may not indent in YAML; where they meant a column they meant one that an editor shows."""
    lines = []
    for line in text.splitlines(keepends=True):
        bare = line.lstrip(" \t")
        lines.append(line[: len(line) - len(bare)].expandtabs(8) + bare)
    return "".join(lines)


def put_registries(work: Work, text: str, title: str) -> None:
    error = parse_registries(text).error
    if error:
        raise CannotError(f"the edited registries.yaml would not be read: {error}")
    if work.write(registries_path(work), text, title, mode=_MODE):
        work.restart = work.unit


def _sound(work: Work, edit: RegistriesEdit) -> None:
    """Spelling, places and names, as far as they are known to be wrong."""
    done = edit.respell()
    if done:
        work.note(f"keys that are dropped get their right name and place: {', '.join(done)}")
    registries = _read(edit)
    namespace = work.namespace
    near = near_mirror_key(registries, namespace)
    if near and all(mirror.key != namespace for mirror in registries.mirrors):
        # A copy, here and below: the same object in two places would be written as an anchor and its alias.
        edit.table("mirrors")[namespace] = deepcopy(edit.table("mirrors")[near])
        work.note(f"the mirror of {near} is named {namespace} as well, as images have it")
    registries = _read(edit)
    authorities = endpoint_authorities(registries, namespace)
    # The endpoint that is asked first is the one that lacked its entry.
    first = authorities[0] if authorities and work.finding == "k3s-configs-key-mismatch" else ""
    key, meant = near_config_key(registries, authorities, first)
    if key:
        configs = edit.table("configs")
        if meant in configs or key in (*authorities, "docker.io"):  # which is asked by that key in its turn
            for part, value in configs[key].items():
                place = edit.table("configs", meant)
                if part not in place:
                    place[part] = deepcopy(value)
        else:
            edit.rename(configs, key, meant)
        work.note(f"the configs key {key} becomes {meant}, which is what the endpoint is asked by")
    left = _read(edit).dropped
    if left:
        work.note(f"keys that are dropped and whose meaning is not known: {', '.join(left)}", "warn")


def _read(edit: RegistriesEdit) -> K3sRegistries:
    return parse_registries(edit.result())


def _write(work: Work) -> None:
    edit = open_registries(work)
    _sound(work, edit)
    if work.finding == "plain-http-undeclared":
        _plain_http(work, edit)
    elif work.finding == "k3s-wildcard-defect":
        _for_wildcard(work, edit)
    elif (
        work.finding in ("proxy-library-prefix", "k3s-rewrite-not-applied", "rke2-runtime-pull")
        and edit.result() == edit.text
    ):
        work.by_hand.append(
            f"{work.node}: the right rewrite depends on how the proxy project names its repositories. In {registries_path(work)}, below mirrors.<name>:\n\n"
            f'  rewrite:\n    "^(.*)$": "<project>/$1"\n\nsudo systemctl restart {work.unit}'
        )
        return
    put_registries(work, edit.result(), "write registries.yaml")


def _plain_http(work: Work, edit: RegistriesEdit) -> None:
    namespace = work.namespace
    url = f"http://{namespace}"
    entry = edit.table("mirrors", namespace)
    listed = entry.get("endpoint")
    if not isinstance(listed, list):
        entry["endpoint"] = CommentedSeq([url])
    else:
        for index, item in enumerate(listed):
            if str(item).removeprefix("https://").rstrip("/").removesuffix("/v2") == namespace:
                listed[index] = url
        if url not in listed:
            listed.insert(0, url)
    work.note("insecure_skip_verify does not make it plain HTTP; the http:// endpoint does")


def _for_wildcard(work: Work, edit: RegistriesEdit) -> None:
    mirrors = edit.part("mirrors")
    if "*" in mirrors and work.namespace not in mirrors:
        endpoints = mirrors["*"].get("endpoint") if isinstance(mirrors["*"], dict) else None
        if endpoints:
            edit.table("mirrors", work.namespace)["endpoint"] = CommentedSeq([str(item) for item in endpoints])
            work.note(f'"*" is mishandled by this release; {work.namespace} gets its own entry')


# --- the same wishes as for hosts.toml, in k3s' words ------------------------------------------------------------------


def k3s_http(work: Work) -> None:
    edit = open_registries(work)
    _plain_http(work, edit)
    put_registries(work, edit.result(), f"ask {work.namespace} in plain HTTP")


def k3s_https(work: Work) -> None:
    edit = open_registries(work)
    for table in edit.part("mirrors").values():
        listed = table.get("endpoint") if isinstance(table, dict) else None
        if not isinstance(listed, list):
            continue
        for index, item in enumerate(listed):
            parts = urlsplit(str(item))
            if parts.scheme == "http" and leads_here(parts.netloc, work.namespace):
                listed[index] = str(item).replace("http://", "https://", 1)
    put_registries(work, edit.result(), "ask the registry over HTTPS")


def k3s_names(work: Work) -> None:
    edit = open_registries(work)
    _sound(work, edit)
    put_registries(work, edit.result(), "name the entries as images and endpoints have them")


def k3s_mirror_path(work: Work) -> None:
    edit = open_registries(work)
    for key, table in edit.part("mirrors").items():
        listed = table.get("endpoint") if isinstance(table, dict) else None
        if not isinstance(listed, list):
            continue
        for index, item in enumerate(listed):
            parts = urlsplit(str(item) if "://" in str(item) else f"https://{item}")
            words = [word for word in parts.path.split("/") if word and word != "v2"]
            if words:
                path = "" if leads_here(parts.netloc, str(key)) else f"/v2/{'/'.join(words)}"
                listed[index] = f"{parts.scheme}://{parts.netloc}{path}"
    put_registries(work, edit.result(), "the mirror's path in the form that it wants")


def k3s_ca(work: Work, pem: str, name: str) -> None:
    """One CA file for each endpoint of the name; what is trusted so far stays in it."""
    edit = open_registries(work)
    registries = _read(edit)
    folder = registries_path(work).rpartition("/")[0]
    for authority in dict.fromkeys(endpoint_authorities(registries, work.namespace)):
        key = authority if authority in edit.part("configs") or "*" not in edit.part("configs") else "*"
        tls = edit.table("configs", key, "tls")
        known = str(tls.get("ca_file") or "")
        path = f"{folder}/{name}"
        if known == path:
            work.write(path, _united(work, known, pem), "the CA file", new=True)
            continue
        old = work.text(known) if known and not work.files.absent(known) else None
        work.write(
            path,
            pem if old is None else old.rstrip("\n") + "\n" + pem,
            "the CA file, old and new together" if old else "the CA file",
            new=True,
        )
        tls["ca_file"] = path
        if tls.get("insecure_skip_verify") is True:
            work.note(f"insecure_skip_verify of {key} stays; take it out once the CA works", "warn")
    put_registries(work, edit.result(), "name the CA file")


def _united(work: Work, path: str, pem: str) -> str:
    text = work.text(path) or ""
    return text if pem.strip() in text else f"{text.rstrip()}\n{pem}".lstrip()


def k3s_client_cert(work: Work, certificate: str, key: str) -> None:
    edit = open_registries(work)
    folder = registries_path(work).rpartition("/")[0]
    tls = edit.table("configs", work.namespace, "tls")
    for name, field, text, mode in (
        ("client.crt", "cert_file", certificate, "0644"),
        ("client.key", "key_file", key, "0600"),
    ):
        work.write(f"{folder}/{name}", text.strip() + "\n", name, mode=mode, new=True)
        tls[field] = f"{folder}/{name}"
    put_registries(work, edit.result(), "name certificate and key")


_LOGIN_KEYS: Final = ("username", "password", "auth", "identity_token")


def k3s_login_near(work: Work, host: str) -> tuple[str, dict[str, str]]:
    """(key, login) of an entry of `configs` under a name close to a host; empty: none."""
    edit = open_registries(work)
    key, _ = near_config_key(_read(edit), (host,))
    entry = edit.part("configs").get(key) if key else None
    auth = entry.get("auth") if isinstance(entry, dict) else None
    login = {name: str(auth[name]) for name in _LOGIN_KEYS if auth.get(name)} if isinstance(auth, dict) else {}
    return (key, login) if login else ("", {})


def k3s_auth(work: Work, host: str, login: Mapping[str, str]) -> None:
    """A login (its keys as registries.yaml has them) for one host[:port] below `configs`."""
    edit = open_registries(work)
    auth = edit.table("configs", host, "auth")
    for other in _LOGIN_KEYS:
        if other not in login and other in auth:
            raise CannotError(f"the entry of {host} has {other} as well; take it out by hand first")
    for name, value in login.items():
        auth[name] = value
    put_registries(work, edit.result(), f"give the runtime a login for {host}")


# --- restart and template ---------------------------------------------------------------------------------------------


def _restart(work: Work) -> None:
    path = registries_path(work)
    setup = work.setup.k3s
    if setup is None or setup.registries is None:
        raise CannotError(f"{path} was not read")
    if setup.registries.error:
        raise CannotError(
            f"{path} is not YAML ({setup.registries.error}); the service would not start with it, mend it first"
        )
    if setup.near_file and not setup.exists:
        edit = open_registries(work)
        put_registries(work, edit.result(), f"the settings of {setup.near_file} under the name that is read")
        return
    if setup.newer_than_process is False:
        work.note(f"{work.unit} was started after the last change of registries.yaml")
        return
    if setup.newer_than_process is None:
        work.note("whether registries.yaml is newer than the service is not known", "unknown")
    work.restart = work.unit
    work.note("running containers go on; the node may be NotReady for some seconds")


def _template(work: Work) -> None:
    registries_path(work)
    setup = work.setup.k3s
    if setup is None or setup.template != "full":
        work.note("no template that replaces the generated file was seen")
        return
    agent = f"/var/lib/rancher/{work.rancher}/agent/etc/containerd"
    templates = [path for path in work.files.below(agent) if path.endswith(".tmpl")]
    work.by_hand.append(
        f"{work.node}: which lines of {', '.join(templates)} are wanted beside what {work.rancher} generates cannot be told from outside. Keep only those, behind one first line:\n\n"
        '  {{ template "base" . }}\n\n'
        f"Compare with {agent}/config.toml, then restart the service (one server at a time):\n\n  sudo systemctl restart {work.unit}"
    )


FIXES: tuple[Fix, ...] = (
    node_fix("write-registries-yaml", _write),
    node_fix("restart-k3s", _restart),
    node_fix("reduce-template", _template),
)
