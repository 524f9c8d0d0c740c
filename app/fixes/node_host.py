"""Fixes of the host around the runtime: proxies, names, logins; and those for which only commands are given (MODES 3.7, 3.8, 3.11)."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from app.fixes.base import Fix, FixContext, Need
from app.fixes.node_base import CannotError, Work, ask, given, known_nodes
from app.fixes.node_containerd import LOGIN, login_near, set_auth
from app.fixes.node_k3s import k3s_auth, k3s_login_near
from app.fixes.node_plan import node_fix
from app.fixes.node_toml import EditError
from app.parsers.proxy_env import ProxySettings, exempt, parse_unit
from app.probes.host_proxy import runtime_proxy
from app.probes.registry_scene import registry_of
from app.pullplan.containerd import hostname

DROPIN: Final = "zz-harborpilot-proxy.conf"
"""Read last, so that it wins over other drop-ins of the unit."""
BASE_NO_PROXY: Final = ("localhost", "127.0.0.1", "::1", ".svc", ".cluster.local")


def _login_host(work: Work) -> str:
    """host[:port] that the runtime looks the login up by."""
    host = work.target.get("host") or ""
    if not host:
        plan = work.inputs
        host = (
            urlsplit(plan.failure.url).netloc
            if plan is not None and work.finding == "mirror-needs-own-credential"
            else ""
        )
    return host or work.namespace


def _misnamed(work: Work, host: str) -> tuple[str, dict[str, str]]:
    """(key, login) that stands under a wrong key. Where another finding accuses the login itself it is no use."""
    if work.finding not in ("node-auth-key-mismatch", "k3s-configs-key-mismatch"):
        return "", {}
    return k3s_login_near(work, host) if work.rancher else login_near(work, host)


def _login_needs(context: FixContext) -> tuple[Need, ...]:
    """Nothing, where each node has the login already, under another name."""
    works = known_nodes(context)
    try:
        if works and all(_misnamed(work, _login_host(work))[1] for work in works):
            return ()
    except (CannotError, EditError):
        pass
    return LOGIN(context)


def _auth(work: Work) -> None:
    host = _login_host(work)
    login = {key: value for key in ("username", "password") if (value := given(work.context, key))}
    if not login:
        near, login = _misnamed(work, host)
        if near:
            work.note(f"the login of {near} is written for {host} as well, by which the runtime looks it up")
    if not login or (set(login) < {"username", "password"}):
        raise CannotError("user name and password are wanted")
    if work.rancher:
        k3s_auth(work, host, login)
    else:
        set_auth(work, host, login)
    work.note("pods with a pull secret of their own use that; every other pod on the node can use this login", "warn")


# --- proxies ----------------------------------------------------------------------------------------------------------


def _unit_file(work: Work) -> str:
    return f"/etc/systemd/system/{work.unit}.service.d/{DROPIN}"


def _dropin(values: dict[str, str]) -> str:
    lines = [f'Environment="{name}={value.replace("%", "%%")}"' for name, value in values.items() if value]
    return "# The proxy of the container runtime.\n[Service]\n" + "\n".join(lines) + "\n"


def _names(work: Work) -> tuple[str, ...]:
    """Variables of the runtime: k3s and RKE2 hand those with a prefix to containerd alone."""
    return (
        ("CONTAINERD_HTTP_PROXY", "CONTAINERD_HTTPS_PROXY", "CONTAINERD_NO_PROXY")
        if work.rancher
        else ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    )


def _write_dropin(work: Work, http: str, https: str, no_proxy: str, title: str) -> None:
    path = _unit_file(work)
    values = dict(zip(_names(work), (http, https, no_proxy), strict=True))
    known = work.files.text(path)
    if known is not None:
        values = {**parse_unit(known), **{name: value for name, value in values.items() if value}}
    mode = "0600" if "@" in http + https else "0644"
    work.outlook = False
    if work.write(path, _dropin(values), title, mode=mode, new=True):
        work.restart = work.unit
    for name in (
        f"/etc/default/{work.unit}",
        f"/etc/sysconfig/{work.unit}",
        f"/etc/systemd/system/{work.unit}.service.env",
    ):
        if re.search(r"(?mi)^\s*(?:export\s+)?\w*(?:https?|no)_proxy=", work.files.text(name) or ""):
            raise CannotError(
                f"{name} sets proxies as well, and an environment file wins over a drop-in; change it there"
            )


def _current(work: Work) -> ProxySettings | None:
    return runtime_proxy(work.files, work.scene).proxy


def _set_proxy(work: Work) -> None:
    proxy = given(work.context, "proxy")
    parts = urlsplit(proxy)
    if parts.scheme not in ("http", "https", "socks5") or not parts.hostname:
        raise CannotError(
            f"the proxy has to be an address such as http://proxy.corp.example:3128, not {parts.netloc or 'that'}"
        )
    now = _current(work)
    listed = (
        given(work.context, "no-proxy")
        or (now.no_proxy if now is not None else "")
        or ",".join([*BASE_NO_PROXY, *_own_addresses(work)])
    )
    _write_dropin(work, proxy, proxy, listed, "the runtime's proxy")
    work.note(f"reached without the proxy: {listed}", "warn", "a wrong list sends cluster traffic to the proxy")


def _own_addresses(work: Work) -> list[str]:
    """The node's own address and its range of pods, as the API has them."""
    item = work.files.node_object
    status, spec = item.get("status") or {}, item.get("spec") or {}
    found = [
        str(one.get("address"))
        for one in status.get("addresses") or ()
        if isinstance(one, dict) and one.get("type") == "InternalIP"
    ]
    return [*found, *[str(one) for one in spec.get("podCIDRs") or ()]]


def _extend(work: Work) -> None:
    now = _current(work)
    if now is None:
        raise CannotError("the environment of the runtime was not read")
    if not now.any:
        work.note("the runtime has no proxy")
        return
    wanted: dict[str, int] = {hostname(work.namespace): _port(work.namespace)}
    for seen in registry_of(work.context.material, work.scene).seen:
        parts = urlsplit(seen.exchange.url)
        if parts.hostname and seen.exchange.purpose in ("token", "blob", "storage"):
            wanted[parts.hostname] = parts.port or (443 if parts.scheme == "https" else 80)
    if work.target.get("host"):
        wanted[hostname(str(work.target.get("host")))] = _port(str(work.target.get("host")))
    missing = [name for name, port in wanted.items() if not exempt(now.no_proxy, name, port)]
    known = work.files.text(_unit_file(work))
    if known is not None:
        said = parse_unit(known).get(_names(work)[2], "")
        missing = [name for name in missing if not exempt(said, name, wanted[name])]
    if not missing:
        work.note(f"{', '.join(wanted)} is reached without the proxy already, or will be after a restart")
        return
    listed = ",".join([*(word for word in now.no_proxy.split(",") if word.strip()), *missing])
    _write_dropin(work, "", "", listed, f"reach {', '.join(missing)} without the proxy")


def _port(authority: str) -> int:
    tail = authority.rpartition(":")[2]
    return int(tail) if ":" in authority and tail.isdigit() else 443


def _reload(work: Work) -> None:
    service = work.files.service
    loaded = runtime_proxy(work.files, work.scene).loaded
    work.outlook = False
    if service is not None and not service.need_reload and loaded is not False:
        work.note("systemd has loaded the unit's files, and the process is newer than they are")
        return
    work.restart = work.unit
    work.note("systemctl daemon-reload comes before the restart")


# --- names ------------------------------------------------------------------------------------------------------------


def _address_needs(context: FixContext) -> tuple[Need, ...]:
    if given(context, "address"):
        return ()
    seen = sorted({address for work in known_nodes(context) for address in _addresses(work)})
    hint = f" (other places see {', '.join(seen)})" if seen else ""
    return (Need("address", f"Address of the registry, as its owner or a healthy node has it{hint}"),)


def _addresses(work: Work) -> tuple[str, ...]:
    """What other places resolve the name to."""
    name = hostname(work.namespace)
    return tuple(
        address
        for seen in registry_of(work.context.material, work.scene).seen
        if seen.node != work.node and (urlsplit(seen.exchange.url).hostname or "") == name
        for address in seen.exchange.addresses
    )


def _hosts_line(work: Work) -> None:
    given_address = given(work.context, "address").strip()
    try:
        address = str(ipaddress.ip_address(given_address))
    except ValueError as error:
        raise CannotError(f"{given_address!r} is not an address") from error
    name = hostname(str(work.target.get("host") or work.namespace)).strip("[]")
    text = work.whole("/etc/hosts")
    lines = text.splitlines(keepends=True)
    done = False
    for index, line in enumerate(lines):
        words = line.partition("#")[0].split()
        if name not in words[1:]:
            continue
        if words[0] == address:
            done = True
        elif ipaddress.ip_address(words[0].partition("%")[0]).version == ipaddress.ip_address(address).version:
            rest = [word for word in words[1:] if word != name]
            comment = line[line.index("#") :] if "#" in line else "\n"
            lines[index] = f"{words[0]} {' '.join(rest)} {comment}" if rest else ""
    new = "".join(lines)
    if not done:
        new += ("" if not new or new.endswith("\n") else "\n") + f"{address} {name}\n"
    work.write("/etc/hosts", new, f"{name} is {address}")
    work.outlook = False
    work.note("take the line out again once DNS is right", "warn")


# --- commands only ----------------------------------------------------------------------------------------------------


def _ntp(work: Work) -> None:
    work.by_hand.append(
        f"{work.node}: find out what keeps time, mend it, and let it slew.\n\n"
        "timedatectl; systemctl status chronyd chrony systemd-timesyncd ntpd --no-pager\nchronyc tracking; chronyc sources -v        # or: timedatectl timesync-status\n"
        "sudo systemctl enable --now chronyd            # chrony on Debian and Ubuntu; or systemd-timesyncd\n\n"
        "A step, only where a jump is harmless (databases, leases, tokens and etcd may break; etcd members one at a time):\nsudo chronyc makestep\n\n"
        "Harbor Pilot never steps a clock."
    )


def _images(work: Work) -> str:
    tool = {
        "k3s": "k3s crictl",
        "rke2": "/var/lib/rancher/rke2/bin/crictl --runtime-endpoint unix:///run/k3s/containerd/containerd.sock",
    }
    return tool.get(work.rancher, "crictl")


def _disk(work: Work) -> None:
    root = f"/var/lib/rancher/{work.rancher}/agent/containerd" if work.rancher else "/var/lib/containerd"
    work.by_hand.append(
        f"{work.node}: look first, then make room. Removed images are pulled again when they are needed.\n\n"
        f"df -hP {root}; df -iP {root}\nsudo {_images(work)} imagefsinfo\nsudo du -xsh /var/log /var/lib/* 2>/dev/null | sort -h | tail\n\n"
        f"sudo {_images(work)} rmi --prune\nsudo journalctl --vacuum-size=200M"
    )


def _ctr(work: Work) -> str:
    return {
        "k3s": "k3s ctr",
        "rke2": "/var/lib/rancher/rke2/bin/ctr --address /run/k3s/containerd/containerd.sock",
    }.get(work.rancher, "ctr")


def _purge(work: Work) -> None:
    image = work.context.case.incident.image or "<image>"
    work.by_hand.append(
        f"{work.node}: remove the damaged image; the next pull fetches it anew.\n\n"
        f"sudo {_images(work)} rmi {image}\nsudo {_images(work)} pull {image}\n\n"
        f"Where content is said to be missing, its leases go too, then garbage is collected:\n\nsudo {_ctr(work)} -n k8s.io leases ls\n"
        f"sudo {_ctr(work)} -n k8s.io leases rm --sync <lease>\nsudo {_ctr(work)} -n k8s.io content prune references"
    )


def _import(work: Work) -> None:
    image = work.context.case.incident.image or "<image>"
    place = (
        f"\n\nOr lay the archive into /var/lib/rancher/{work.rancher}/agent/images/ and restart {work.rancher}."
        if work.rancher
        else ""
    )
    work.by_hand.append(
        f"{work.node}: save the image where it can be pulled, carry it over, import it for the kubelet.\n\n"
        f"skopeo copy docker://{image} docker-archive:image.tar:{image}\nscp image.tar {work.node}:/tmp/\nssh {work.node} sudo {_ctr(work)} -n k8s.io images import /tmp/image.tar\n"
        f"ssh {work.node} sudo {_images(work)} images{place}\n\nGarbage collection may remove it again; each node needs it."
    )


FIXES: tuple[Fix, ...] = (
    node_fix("set-node-auth", _auth, _login_needs),
    node_fix(
        "set-runtime-proxy",
        _set_proxy,
        ask(Need("proxy", "Address of the proxy, such as http://proxy.corp.example:3128")),
    ),
    node_fix("extend-no-proxy", _extend),
    node_fix("reload-units", _reload),
    node_fix("hosts-line", _hosts_line, _address_needs),
    node_fix("repair-ntp", _ntp),
    node_fix("free-node-disk", _disk),
    node_fix("purge-image-content", _purge),
    node_fix("import-image", _import),
)
