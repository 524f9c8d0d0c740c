"""`token.anon`, `token.login` and `bearer.probe`: which key signs, what a login is answered, how many refuse a token.

Sources: harbor-and-kubernetes.md A.3 to A.5, observed-harbor.md 1, 2 and 4.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import parse_qs

from app.model.evidence import Evidence, Of, Price, Value
from app.model.exchange import Exchange
from app.model.material import Material
from app.model.target import Target
from app.parsers.clock import parse_time
from app.parsers.split_url import urlsplit
from app.parsers.token import PUBLISHED_KEY_IDS, TokenSeen, from_mapping, read_token_answer, read_tokens_json
from app.probes.core_roster import core_pods
from app.probes.registry_ping import is_realm_url, realm_answer
from app.probes.registry_scene import Registry, Seen, evidence, image_of, refused, unparsable

_DATE_BOUND = 1.0
"""`issued_at` and `Date` are both cut to whole seconds."""
_POD_DOCUMENT = "harbor/core-token-"


@dataclass(frozen=True, slots=True)
class Minted:
    """One token answer with the id of its try."""

    seen: TokenSeen
    vantage: str
    source: str
    login: bool = False
    anonymous_status: bool = True
    """Its status is what an anonymous request with a scope is answered."""


def minted(registry: Registry) -> tuple[list[Minted], list[Evidence]]:
    """All token answers, anonymous or not, and what could not be read."""
    material = registry.material
    found: list[Minted] = []
    troubles: list[Evidence] = []
    text = material.text("harbor/tokens.json")
    if text is not None:
        try:
            found += [
                Minted(seen, "operator", "harbor/tokens.json", bool(seen.subject)) for seen in read_tokens_json(text)
            ]
        except ValueError as error:
            troubles.append(unparsable("token.anon", "harbor/tokens.json", str(error), registry.target()))
    for document in material.glob(f"{_POD_DOCUMENT}*.json"):
        pod = document.path.removeprefix(_POD_DOCUMENT).removesuffix(".json")
        answer = read_token_answer(document.text)
        if answer is None:
            troubles.append(unparsable("token.anon", document.path, "no token answer", registry.target(core_pod=pod)))
            continue
        found.append(
            Minted(
                replace(answer, pod=pod, status=200, taken_at=document.taken_at, connection=pod),
                f"core-pod/{pod}",
                document.path,
            )
        )
    for number, seen in enumerate(registry.token_services, 1):
        exchange = seen.exchange
        if (
            exchange.purpose in ("token", "token-login")
            and exchange.status is not None
            and _is_token_service(registry, seen)
        ):
            token = from_mapping(
                exchange.token,
                date=parse_time(exchange.headers.get("date")),
                status=exchange.status,
                ms=exchange.ms,
                connection=f"{exchange.vantage}-{exchange.connection or number}".replace("/", "-"),
                pod=exchange.backend,
                taken_at=exchange.taken_at,
            )
            found.append(
                Minted(
                    token,
                    exchange.vantage,
                    seen.source,
                    bool(exchange.login),
                    bool(_scopes(exchange)) and not exchange.partial,
                )
            )
    return found, troubles


def _is_token_service(registry: Registry, seen: Seen) -> bool:
    """The realm as named, or Harbor's own path on the registry's host: the same service, whatever host the realm names."""
    exchange = seen.exchange
    if is_realm_url(registry, exchange):
        return True
    return (
        registry.is_harbor
        and exchange.method == "GET"
        and seen in registry.ours
        and urlsplit(exchange.url).path == "/service/token"
    )


def _configured_ttl(material: Material) -> float | None:
    """Harbor's setting, in minutes there, where no token was seen."""
    for document in material.glob("harbor/configurations.json"):
        try:
            minutes = json.loads(document.text)["token_expiration"]["value"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(minutes, (int, float)) and minutes > 0:
            return float(minutes) * 60.0
    return None


def anonymous(registry: Registry) -> Iterable[Evidence]:
    """`token.kid`, `token.date_gap` and the rest by core pod where it is known, else by connection."""
    answers, troubles = minted(registry)
    yield from troubles
    cost = "which key this pod signs with is not known"
    yield from refused("token.anon", registry.material, _POD_DOCUMENT, cost, _by_hand(registry))
    roster = {"core-pod": ready_pods(registry.material)} if ready_pods(registry.material) else {}
    ttl: float | None = None
    pods = {one.seen.pod for one in answers if one.seen.pod}
    for one in answers:
        seen = one.seen
        facts: dict[str, Value] = {}
        bounds: dict[str, float] = {}
        if seen.kid:
            facts["token.kid"] = seen.kid
        gap = date_gap(seen)
        if gap is not None:
            facts["token.date_gap"], bounds["token.date_gap"] = gap, _DATE_BOUND
        if not one.login and one.anonymous_status and seen.status is not None:
            facts["token.anon_status"] = seen.status
        if seen.empty is not None and seen.status == 200:
            facts["token.empty"] = seen.empty
        ttl = seen.ttl if seen.ttl is not None else ttl
        if not facts:
            continue
        target = registry.target(core_pod=seen.pod or None, connection=None if seen.pod else seen.connection)
        shown = [f"kid {seen.kid or 'not given'}", f"status {seen.status}"]
        if gap is not None:
            shown.append(f"issued_at minus Date {gap:g} s")
        yield Evidence(
            "token.anon", target, one.vantage, facts=facts, bounds=bounds, roster=roster, taken_at=seen.taken_at if seen.taken_at is not None else seen.date,
            excerpt=f"{', '.join(shown)} ({one.source})",
            command=_by_hand(registry),
        )  # fmt: skip
    facts = {}
    if ttl is None:
        ttl = _configured_ttl(registry.material)
    if ttl is not None:
        facts["token.ttl"] = ttl
    kids = {one.seen.kid for one in answers if one.seen.kid}
    if kids:
        facts["token.key_public"] = bool(kids & PUBLISHED_KEY_IDS)
    if pods:
        facts["token.backends"] = len(pods)
    if facts:
        yield Evidence(
            "token.anon",
            registry.target(),
            "operator",
            facts=facts,
            roster=roster,
            command=_by_hand(registry),
            excerpt=f"{len(kids)} key ids in {len(answers)} answers",
        )


def date_gap(seen: TokenSeen) -> float | None:
    """The minting core's clock against the host in front of it, from one answer; seconds."""
    return None if seen.issued_at is None or seen.date is None else seen.issued_at - seen.date


def ready_pods(material: Material) -> tuple[str, ...]:
    """Names of all ready core pods; empty where it is not known that these are all."""
    return core_pods(material) or ()


def _by_hand(registry: Registry) -> str:
    image = image_of(registry.scene)
    name = image.repository if image else "library/<name>"
    return f"curl -s 'https://{registry.name or '<host>'}/service/token?service=harbor-registry&scope=repository:{name}:pull'"


# --- login ------------------------------------------------------------------------------------------------------------


def login(registry: Registry) -> Iterable[Evidence]:
    """Each try of a credential at the token service: status and time without scope, name and rights with one."""
    account = registry.scene.variables.get("account")
    tries = [
        seen
        for seen in registry.token_services
        if _used_login(registry, seen.exchange)
        and _is_token_service(registry, seen)
        and _is_ours(seen.exchange, account)
    ]
    for number, seen in enumerate(tries, 1):
        exchange = seen.exchange
        if exchange.status is None or _is_no_token_service(exchange):
            continue
        secret = exchange.login.removeprefix("secret ") if exchange.login.startswith("secret ") else None
        target = registry.target(secret=secret, core_pod=exchange.backend or None, **{"try": str(number)})
        if not _scopes(exchange):
            name = {"trimmed": "token.login_trimmed", "fields": "token.login_fields"}.get(
                exchange.login_variant, "token.login"
            )
            facts: dict[str, Value] = {name: exchange.status}
            if exchange.ms is not None and name == "token.login":
                facts["token.login_ms"] = exchange.ms
            if (
                exchange.token
                and exchange.status == 200
                and (subject := from_mapping(exchange.token).subject) is not None
            ):
                facts["token.sub"] = subject
            yield evidence("token.login", seen, facts, target=target, of=Of.THIS, price=Price.CREDENTIAL)
        elif exchange.login_variant in ("", "exact"):
            yield from _scoped(registry, seen, target)


def _used_login(registry: Registry, exchange: Exchange) -> bool:
    """Harbor gives a token without scope to nobody but a known account: an excerpt that left the login out shows one all the same."""
    if exchange.purpose == "token-login":
        return True
    return (
        registry.is_harbor
        and exchange.partial
        and exchange.purpose == "token"
        and exchange.status == 200
        and not _scopes(exchange)
    )


def _is_ours(exchange: Exchange, account: Value) -> bool:
    """Not a try of another account than the one in question."""
    if exchange.login.startswith("account ") and isinstance(account, str) and account:
        return exchange.login.removeprefix("account ") == account
    return True


def _is_no_token_service(exchange: Exchange) -> bool:
    return realm_answer(exchange) in ("html", "redirect")


def _scopes(exchange: Exchange) -> list[str]:
    return [
        scope
        for value in parse_qs(urlsplit(exchange.url).query).get("scope", [])
        for scope in value.split(" ")
        if scope
    ]


def _scoped(registry: Registry, seen: Seen, target: Target) -> Iterable[Evidence]:
    token = from_mapping(seen.exchange.token)
    if not token.claims:
        return
    facts: dict[str, Value] = {}
    if token.subject is not None:
        facts["token.sub"] = token.subject
    if not token.subject and registry.is_harbor:
        # Asked with a scope, Harbor answers a refused login with 200 and a token of nobody (observed-harbor.md 4.1): what that
        # token grants is not what the account may do.
        facts["token.login"] = 401
        if seen.exchange.ms is not None:
            facts["token.login_ms"] = seen.exchange.ms
        yield evidence("token.login", seen, facts, target=target, of=Of.THIS, price=Price.CREDENTIAL)
        return
    image = image_of(registry.scene)
    actions = actions_for(token, image.repository if image else None)
    if actions is not None:
        facts["token.actions"] = actions
    yield evidence("token.login", seen, facts, target=target, of=Of.THIS, price=Price.CREDENTIAL)


def actions_for(token: TokenSeen, repository: str | None) -> tuple[str, ...] | None:
    """Rights on a repository, or on another one of its project: Harbor grants by project. None: the token speaks of others."""
    if repository is not None:
        exact = token.actions(repository)
        if exact is not None:
            return exact
    access = token.claims.get("access")
    names = (
        [str(entry.get("name", "")) for entry in access if isinstance(entry, dict)] if isinstance(access, list) else []
    )
    project = repository.partition("/")[0] if repository else None
    same = [name for name in names if "/" in name and (project is None or name.partition("/")[0] == project)]
    return token.actions(same[0]) if len(same) == 1 else None


# --- bearer ------------------------------------------------------------------------------------------------------------


def bearer(registry: Registry) -> Iterable[Evidence]:
    """How many fresh connections refuse one Bearer token, and whether a pod refuses all or some."""
    tries = [seen for seen in registry.ours if seen.exchange.purpose == "bearer" and seen.exchange.status in (200, 401)]
    if not tries:
        return
    refused = [seen for seen in tries if seen.exchange.status == 401]
    facts: dict[str, Value] = {"bearer.refused_share": len(refused) / len(tries)}
    by_pod: dict[str, set[int]] = {}
    for seen in tries:
        if seen.exchange.backend and seen.exchange.status is not None:
            by_pod.setdefault(seen.exchange.backend, set()).add(seen.exchange.status)
    if len(by_pod) >= 2:
        facts["bearer.per_pod"] = "mixed" if any(len(answers) > 1 for answers in by_pod.values()) else "all-or-nothing"
    yield evidence(
        "bearer.probe",
        tries[-1],
        facts,
        target=registry.target(),
        of=Of.THIS,
        excerpt=f"{len(refused)} of {len(tries)} refused, {len(by_pod) or 'unknown'} pods reached",
    )
