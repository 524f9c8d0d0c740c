"""What would happen at a host, and whether a plan gets past the stage that failed. Three-valued: None is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.parsers.split_url import urlsplit
from app.pullplan.containerd import Host, with_port
from app.pullplan.inputs import Failure, View


@dataclass(frozen=True, slots=True)
class Outcome:
    """`ok` True: contact and TLS succeed; False: `why` says what fails; None: not known."""

    ok: bool | None
    why: str


def at_host(host: Host, views: Mapping[str, View]) -> Outcome:
    """Contact, scheme and trust of one host, by what is known of it."""
    view = views.get(host.endpoint)
    if view is None:
        return Outcome(None, "nothing is known of this host")
    if view.unreachable:
        return Outcome(False, "not reachable from here")
    if host.scheme == "http":
        if "http" in view.speaks:
            return Outcome(True, "answers plain HTTP")
        if "http" in view.silent or (not host.tls_keys and "https" in view.speaks):
            return Outcome(False, "speaks TLS, and is asked in plain HTTP")
        return Outcome(None, "not known whether it speaks HTTP")
    if "https" in view.silent:
        return Outcome(False, "answers plain HTTP, and is asked over TLS")
    if "https" not in view.speaks:
        return Outcome(None, "not known whether it speaks TLS")
    if host.skip_verify:
        return Outcome(True, "the certificate is not verified")
    judged = [view.trusted_by.get(anchor) for anchor in ("os", *host.ca)]
    if True in judged:
        return Outcome(True, "the certificate is trusted")
    if None in judged:
        return Outcome(None, "not known whether the certificate is trusted")
    return Outcome(False, "no anchor in use trusts the certificate")


def passes(
    hosts: tuple[Host, ...], failure: Failure, views: Mapping[str, View], *, credential_sent: bool | None
) -> bool | None:
    """Whether the stage that failed would be passed with these hosts."""
    if failure.stage in ("trust", "scheme", "tls"):
        return _any(at_host(host, views).ok for host in hosts)
    failed = urlsplit(failure.url)
    where = with_port(failed.netloc, failed.scheme or "https") if failed.netloc else ""
    if failure.stage in ("resolve", "connect", "proxy"):
        return _any(_reaches(host, where, views) for host in hosts)
    if failure.stage == "credential":
        if credential_sent:
            return False
        # A login for another host of the list does not help at the one that refused.
        asked = [host for host in hosts if host.endpoint == where] or hosts
        return _any(host.node_login for host in asked) if credential_sent is False else None
    return None


def _reaches(host: Host, failed: str, views: Mapping[str, View]) -> bool | None:
    if host.endpoint == failed:
        return False
    view = views.get(host.endpoint)
    if view is None or (not view.speaks and view.unreachable is None):
        return None
    return not view.unreachable


def _any(results: Iterable[bool | None]) -> bool | None:
    seen = list(results)
    if True in seen:
        return True
    return None if None in seen or not seen else False
