"""`k3s.read`, `k3s.plan`, `crio.read`: the registry files of k3s, RKE2 and CRI-O."""

from __future__ import annotations

from collections.abc import Iterable

from app.model.evidence import Evidence, Value
from app.model.material import Material
from app.model.target import Target
from app.parsers.crio import RegistriesConf, insecure_option, parse_registries_conf, signature_required
from app.parsers.k3s_registries import K3sRegistries, generate, only_defaults, wildcard_defect
from app.probes.base import Scene
from app.probes.runtime_config import contacted, namespace_of, nodes_of, whose
from app.probes.runtime_files import NodeFiles
from app.probes.runtime_setup import node_setup
from app.pullplan.containerd import Choice, choose
from app.pullplan.inputs import K3sSetup
from app.pullplan.near import near_config_key, near_mirror_key, same_place
from app.pullplan.plan import rewrite_applies, split_image
from app.pullplan.repairs_k3s import endpoint_authorities, k3s_choice
from app.pullplan.settings import effective

READ = (
    "k3s.file_ok", "k3s.parse_error", "k3s.near_file", "k3s.newer_than_process", "k3s.keys_dropped", "k3s.mirror_key_match", "k3s.configs_key_match",
    "k3s.near_key", "k3s.generated_has_it", "k3s.only_defaults", "k3s.template",
)  # fmt: skip
PLAN = (
    "k3s.scheme",
    "k3s.rewrite_applies",
    "k3s.mirrors_elsewhere",
    "k3s.wildcard_defect",
    "k3s.embedded",
    "k3s.skips_verify",
)
CRIO = ("crio.insecure_entry", "crio.insecure_option", "crio.signature_required", "crio.cert_dir_shadowed")


def _not_k3s(files: NodeFiles) -> bool | None:
    """None: not known what the node is."""
    if files.rancher:
        return False
    return True if files.versions.distro or files.versions.runtime in ("docker", "cri-o") else None


def read(material: Material, scene: Scene) -> Iterable[Evidence]:
    """registries.yaml, its keys, its template, and whether the service has taken it up."""
    namespace = namespace_of(scene)
    for name, files in nodes_of(material):
        of = whose(scene, name)
        foreign = _not_k3s(files)
        if foreign is None:
            continue
        if foreign:
            yield files.evidence("k3s.read", {fact: () if fact == "k3s.keys_dropped" else None for fact in READ}, of=of)
            continue
        node = node_setup(files)
        setup = node.k3s
        if setup is None:
            continue
        refused = files.refused(
            "k3s.read", (setup.path,), "which registries the node was given stays unknown (the file is 0600)"
        )
        if refused is not None:
            yield refused
            continue
        choice = choose(node, effective(node), namespace) if namespace else Choice(known=False)
        facts = _facts(setup, namespace, contacted(scene), choice)
        if facts:
            yield files.evidence("k3s.read", facts, of=of, excerpt=setup.text, command=f"sudo cat {setup.path}")


def _facts(setup: K3sSetup, namespace: str, failing: str, choice: Choice) -> dict[str, Value]:
    facts: dict[str, Value] = {}
    registries = setup.registries
    if setup.exists is not None:
        facts["k3s.file_ok"] = bool(setup.exists) and registries is not None and not registries.error
        facts["k3s.near_file"] = "" if setup.exists else setup.near_file
        if registries is not None:
            facts["k3s.parse_error"] = registries.error
    elif setup.near_file:
        facts["k3s.near_file"] = setup.near_file
    if setup.newer_than_process is not None:
        facts["k3s.newer_than_process"] = setup.newer_than_process
    if setup.template:
        facts["k3s.template"] = setup.template
    if registries is None or registries.error:
        return facts
    facts["k3s.keys_dropped"] = registries.dropped
    facts["k3s.only_defaults"] = only_defaults(registries)
    if namespace:
        facts |= _keys(registries, namespace, failing)
        if choice.known and choice.hosts:
            facts["k3s.generated_has_it"] = _same(setup, registries, namespace, choice)
    return facts


def _keys(registries: K3sRegistries, namespace: str, failing: str) -> dict[str, Value]:
    match = registries.mirror_for(namespace) is not None
    authorities = endpoint_authorities(registries, namespace)
    every = {
        authority for mirror in registries.mirrors for authority in endpoint_authorities(registries, mirror.key)
    } | set(authorities)
    near_config, _ = near_config_key(registries, authorities, failing)
    near_mirror = near_mirror_key(registries, namespace) if not match else ""
    facts: dict[str, Value] = {"k3s.near_key": near_mirror or near_config}
    if registries.mirrors:
        facts["k3s.mirror_key_match"] = match
    if registries.configs:
        facts["k3s.configs_key_match"] = (
            all(config.key in every or config.key in ("*", "docker.io") for config in registries.configs)
            and not near_config
        )
    return facts


def _same(setup: K3sSetup, registries: K3sRegistries, namespace: str, choice: Choice) -> bool:
    """Whether the first host in force is the one that the file leads to, with its CA and login."""
    wanted = k3s_choice(setup, registries, namespace).hosts
    if not wanted:
        return True
    first, now = wanted[0], next((host for host in choice.hosts if host.role != "embedded"), choice.hosts[0])
    return (first.scheme, first.authority, first.ca, first.skip_verify, first.node_login) == (
        now.scheme,
        now.authority,
        now.ca,
        now.skip_verify,
        now.node_login,
    )


def plan(material: Material, scene: Scene) -> Iterable[Evidence]:
    """What the generated settings lead to for the image."""
    namespace = namespace_of(scene)
    if not namespace:
        return
    repository = split_image(scene.incident.image)[1] if scene.incident.image else ""
    for name, files in nodes_of(material):
        target = Target.of(node=name, registry=namespace)
        of = whose(scene, name)
        foreign = _not_k3s(files)
        if foreign:
            yield files.evidence("k3s.plan", dict.fromkeys(PLAN), target=target, of=of)
        if foreign is not False:
            continue
        node = node_setup(files)
        setup = node.k3s
        facts: dict[str, Value] = {}
        choice = choose(node, effective(node), namespace)
        if choice.known and choice.hosts and (node.main is not None or node.dump is not None):
            first = next((host for host in choice.hosts if host.role != "embedded"), choice.hosts[0])
            facts["k3s.scheme"] = first.scheme
            facts["k3s.mirrors_elsewhere"] = first.role == "mirror"
        if setup is not None and setup.registries is not None and not setup.registries.error:
            hosts = k3s_choice(setup, setup.registries, namespace).hosts
            fits = (
                [fit for host in hosts if (fit := rewrite_applies(host, repository)) is not None] if repository else []
            )
            facts["k3s.rewrite_applies"] = any(fits) if fits else None
            own = [
                host for host in hosts if host.scheme == "https" and same_place(host.authority, host.scheme, namespace)
            ]
            facts["k3s.skips_verify"] = bool(own) and own[0].skip_verify
            defect = wildcard_defect(setup.registries, setup.release)
            if defect is not None:
                facts["k3s.wildcard_defect"] = defect
        if setup is not None and setup.embedded is not None:
            facts["k3s.embedded"] = setup.embedded
        if facts:
            generated = (
                generate(setup.registries, namespace, setup.release)
                if setup is not None and setup.registries is not None
                else ()
            )
            yield files.evidence(
                "k3s.plan", facts, target=target, of=of, excerpt="\n".join(item.url for item in generated)
            )


def read_crio(material: Material, scene: Scene) -> Iterable[Evidence]:
    """`registries.conf(.d)`, `policy.json`, `certs.d` of CRI-O."""
    namespace = namespace_of(scene)
    image = scene.incident.image or ""
    name_of_image = "/".join(split_image(image)[:2]) if image else namespace
    for name, files in nodes_of(material):
        of = whose(scene, name)
        runtime = files.versions.runtime
        if runtime and runtime != "cri-o":
            yield files.evidence("crio.read", dict.fromkeys(CRIO), of=of)
            continue
        if runtime != "cri-o":
            continue
        facts: dict[str, Value] = {}
        texts = [text for path in ("/etc/containers/registries.conf",) if (text := files.text(path)) is not None]
        texts += [
            text
            for path, text in sorted(files.below("/etc/containers/registries.conf.d").items())
            if path.endswith(".conf")
        ]
        confs = [parse_registries_conf(text) for text in texts]
        broken = next((conf.error for conf in confs if conf.error), "")
        if confs and not broken and name_of_image:
            merged = RegistriesConf(
                tuple(p for c in confs for p in c.insecure), prefixes=tuple(p for c in confs for p in c.prefixes)
            )
            facts["crio.insecure_entry"] = merged.is_insecure(name_of_image)
        options = [insecure_option(text) for path, text in files.below("/etc/crio").items() if path.endswith(".conf")]
        if options and None not in options:
            facts["crio.insecure_option"] = True in options
        policy = files.text("/etc/containers/policy.json")
        required = signature_required(policy, name_of_image) if policy is not None and name_of_image else None
        if required is not None:
            facts["crio.signature_required"] = required
        shadowed = _shadowed(files, namespace)
        if shadowed is not None:
            facts["crio.cert_dir_shadowed"] = shadowed
        if facts:
            yield files.evidence(
                "crio.read",
                facts,
                of=of,
                excerpt=broken or "\n".join(texts),
                command="cat /etc/containers/registries.conf",
            )


def _shadowed(files: NodeFiles, namespace: str) -> bool | None:
    """The first directory that exists wins whole: one without a CA in front of one that has it."""
    folders = [f"/etc/containers/certs.d/{namespace}", f"/etc/docker/certs.d/{namespace}"]
    found = [files.below(folder) for folder in folders]
    seen = [bool(inside) or files.listed(folder) for inside, folder in zip(found, folders, strict=True)]
    if not namespace or not any(seen):
        return None
    first, second = found
    return (
        bool(first)
        and not any(path.endswith(".crt") for path in first)
        and any(path.endswith(".crt") for path in second)
    )
