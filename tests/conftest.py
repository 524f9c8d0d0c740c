"""What every test gets: a scrubbed environment, a home of its own, no network, and snapshots in one top-level folder."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_textual_snapshot as pts
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen

ROOT = Path(__file__).resolve().parent.parent
SCRUBBED = (
    "KUBECONFIG", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSH_AUTH_SOCK", "DOCKER_CONFIG",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HARBORPILOT_CONFIG_DIR", "HARBORPILOT_STATE_DIR",
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_environment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """No setting of the machine reaches a test, and no test writes outside its own folder; times are drawn in UTC.

    Tests marked `live` keep the environment: they talk to the test bed that it describes.
    """
    if request.node.get_closest_marker("live"):
        yield
        return
    for name in SCRUBBED:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name, folder in (
        ("CONFIG", ".config"),
        ("STATE", ".local/state"),
        ("CACHE", ".cache"),
        ("DATA", ".local/share"),
    ):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / folder))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class NetworkUsedError(AssertionError):
    """A test that is not marked `live` tried to leave the machine."""


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only loopback and Unix sockets may be connected to."""
    if request.node.get_closest_marker("live"):
        return
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(sock: socket.socket, address: Any) -> None:
        if sock.family == getattr(socket, "AF_UNIX", None):
            return
        host = address[0] if isinstance(address, tuple) else address
        if not (str(host).startswith("127.") or host in {"::1", "localhost"}):
            raise NetworkUsedError(f"a test tried to connect to {address!r}")

    def guarded(self: socket.socket, address: Any) -> None:
        check(self, address)
        connect(self, address)

    def guarded_ex(self: socket.socket, address: Any) -> int:
        check(self, address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_ex)


# --- snapshots ---


class TopLevelSvg(pts.SVGImageExtension):
    """Pictures live in `snapshots/<test module>/`, where a reviewer finds them."""

    @classmethod
    def dirname(cls, *, test_location: Any) -> str:
        return str(ROOT / "snapshots" / test_location.basename)


@pytest.fixture(autouse=True)
def snapshots_at_top_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pts, "SVGImageExtension", TopLevelSvg)


SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x60": (200, 60)}


@pytest.fixture
def snap_screen(snap_compare: Any) -> Callable[..., None]:
    """Compare a screen, built from a literal state, with its picture.

    A crashed app draws an empty picture that would be accepted, and a failing worker is as silent. So the screen has to be
    on top, and the app must have no exception, before the picture counts.
    """

    def compare(
        screen: Screen[Any],
        size: str = "80x24",
        *,
        press: Iterable[str] = (),
        theme: str = "dark",
        top: type[Screen[Any]] | None = None,
    ) -> None:
        from tests.screens.host import Host

        app: App[None] = Host(screen, theme=theme)
        seen: list[type[Screen[Any]]] = []

        async def run_before(pilot: Pilot[Any]) -> None:
            await pilot.pause()
            for key in press:
                await pilot.press(key)
            await pilot.app.workers.wait_for_complete()
            await pilot.pause()
            seen.append(type(pilot.app.screen))

        same = snap_compare(app, terminal_size=SIZES[size], run_before=run_before)
        assert app._exception is None, f"the app failed: {app._exception!r}"
        assert seen == [top or type(screen)], f"on top was {seen}"
        assert same, "the picture differs: see snapshot_report.html"

    return compare


async def settle(pilot: Pilot[Any]) -> None:
    """Wait until messages and workers are done."""
    await pilot.pause()
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


Settle = Callable[[Pilot[Any]], Awaitable[None]]
