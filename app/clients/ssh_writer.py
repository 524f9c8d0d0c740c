"""Changing files of a node and restarting its units: the only scripts that write. Only the gateway holds this.

A file is written beside its place, synced and renamed; the one before is kept as a backup with its mode, owner and times. Nothing
is written when the file is not the one that was expected. The script and the file's text go over standard input, never into arguments.
"""

from __future__ import annotations

import base64
import hashlib
import re
import textwrap
from shlex import quote

import paramiko

from app.clients import clock as system
from app.clients.script import PRELUDE, path_of, unit_of
from app.clients.ssh import PATH, Links
from app.clients.ssh_link import LinkError
from app.clients.threads import Threads
from app.errors import RefusedError, VerifyFailedError
from app.ports import Clock

_MODE = re.compile(r"0?[0-7]{3}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

# One writer at a time on a node: the lock ends with the shell that holds it, however that ends.
_HEAD = r"""
umask 077
die() { c=$1; shift; printf '%s\n' "$*"; exit "$c"; }
if [ -d /run ] && command -v flock >/dev/null; then exec 9>/run/harborpilot.lock; flock -w 10 9 || die 3 'another change of this node is under way'; fi
digest() { if [ -e "$1" ]; then sha256sum <"$1" | cut -c 1-64; else echo absent; fi; }
flush() { sync "$1" 2>/dev/null || sync; }
"""

_REPLACE = r"""
p={path} b={backup} want={expect}
[ -L "$p" ] && p=$(readlink -f -- "$p")
now=$(digest "$p")
[ "$now" = "$want" ] || die 3 "$p is not what was expected (it has $now)"
d=${{p%/*}} made=
if ! [ -d "$d" ]; then
    q=$d; while [ -n "$q" ] && ! [ -e "$q" ]; do made="$q
$made"; q=${{q%/*}}; done
    (umask 022; mkdir -p -- "$d") || die 4 "the folder $d cannot be made"
    mkdir -p /var/lib/harborpilot/made && printf '%s' "$made" >/var/lib/harborpilot/made/{key}
fi
t=$(mktemp "$d/.harborpilot.XXXXXX") || die 4 "no file can be made in $d"
trap 'rm -f -- "$t"' EXIT
base64 -d >"$t" <<'{word}' || die 4 'writing failed'
{text}
{word}
[ "$(digest "$t")" = {digest} ] || die 4 'what was written is not what was meant (disk full?)'
if [ "$now" = absent ]; then chmod {mode} "$t"; chown 0:0 "$t"; command -v restorecon >/dev/null && restorecon "$t" 2>/dev/null
else
    if [ -e "$b" ]; then [ "$(digest "$b")" = "$now" ] || die 3 "the backup $b is there and holds something else"
    else cp -p -- "$p" "$b.part" && flush "$b.part" && mv -f -- "$b.part" "$b" || die 4 "the backup $b cannot be written"; fi
    chmod "$(stat -c %a -- "$p")" "$t" && chown "$(stat -c %u:%g -- "$p")" "$t" || die 4 'mode and owner cannot be kept'
    command -v chcon >/dev/null && chcon --reference="$p" "$t" 2>/dev/null
fi
flush "$t"
[ "$(digest "$p")" = "$want" ] || die 3 "$p was changed meanwhile"
mv -f -- "$t" "$p" || die 4 "renaming to $p failed"
trap - EXIT
flush "$d"
digest "$p"
"""

_RESTORE = r"""
p={path} b={backup} want={expect}
[ -L "$p" ] && p=$(readlink -f -- "$p")
now=$(digest "$p")
[ "$now" = "$want" ] || die 3 "$p is not what was written (it has $now); it is left alone"
if [ -n "$b" ]; then
    [ -f "$b" ] || die 3 "the backup $b is gone"
    t=$(mktemp "${{p%/*}}/.harborpilot.XXXXXX") || die 4 "no file can be made beside $p"
    trap 'rm -f -- "$t"' EXIT
    cp -p -- "$b" "$t" && flush "$t" && mv -f -- "$t" "$p" || die 4 "$p cannot be put back"
    trap - EXIT
    command -v chcon >/dev/null && chcon --reference="$b" "$p" 2>/dev/null
    rm -f -- "$b"
else
    rm -f -- "$p" || die 4 "$p cannot be removed"
    m=/var/lib/harborpilot/made/{key}
    if [ -f "$m" ]; then sort -r "$m" | while IFS= read -r q; do [ -n "$q" ] && rmdir -- "$q" 2>/dev/null; done; rm -f "$m"; fi
fi
flush "${{p%/*}}" 2>/dev/null
exit 0
"""

_RESTART = r"""
systemctl daemon-reload
r=$(systemctl restart {unit} 2>&1) || die 6 "$r
$(journalctl -q --no-pager -n 15 -u {unit} 2>/dev/null)"
n=0; good=0
while [ $n -lt {seconds} ]; do
    if [ "$(systemctl is-active {unit} 2>/dev/null)" = active ]; then good=$((good+1)); else good=0; fi
    [ $good -ge 3 ] && exit 0
    sleep 1; n=$((n+1))
done
die 6 "{unit} is $(systemctl is-active {unit} 2>/dev/null) after {seconds} s
$(journalctl -q --no-pager -n 15 -u {unit} 2>/dev/null)"
"""

_TRUST = r"""
if command -v update-ca-certificates >/dev/null; then update-ca-certificates 2>&1 || die 4 'update-ca-certificates failed'
elif command -v update-ca-trust >/dev/null; then update-ca-trust extract 2>&1 || die 4 'update-ca-trust failed'
else die 5 'the node has neither update-ca-certificates nor update-ca-trust'; fi
"""

_CHECK = r"""
runtime
[ -n "$RB" ] || die 5 'no containerd was found on the node'
o=$("$RB" -c "$RC" config dump 2>&1 >/dev/null) || {{ printf '%s\n' "$o"; exit 6; }}
exit 0
"""


class SshWriter:
    """Writes over the same connections that are read over; as root, or by `sudo -n`."""

    def __init__(
        self, links: Links, threads: Threads | None = None, clock: Clock | None = None, timeout: float = 120.0
    ) -> None:
        self._links = links
        self._threads = threads or Threads()
        self._clock = clock or system.SystemClock()
        self._timeout = timeout

    async def replace(
        self, node: str, path: str, text: str, *, expect_sha256: str | None, mode: str = "0644", backup: str
    ) -> str:
        """Replace a file; see `NodeWriter.replace`."""
        if not _MODE.fullmatch(mode):
            raise RefusedError(f"{mode!r} is not a file mode.")
        data = text.encode()
        digest = hashlib.sha256(data).hexdigest()
        body = "\n".join(textwrap.wrap(base64.b64encode(data).decode(), 76))
        await self._run(
            node, f"write {path}",
            _REPLACE.format(path=path_of(path), backup=path_of(backup), expect=_expect(expect_sha256), key=_key(path), word=system.nonce(), text=body, digest=digest, mode=mode),
        )  # fmt: skip
        return digest

    async def restore(self, node: str, path: str, *, backup: str | None, expect_sha256: str) -> None:
        """Put a file back; see `NodeWriter.restore`. Folders that were made for it go with it when they are empty."""
        await self._run(
            node,
            f"restore {path}",
            _RESTORE.format(
                path=path_of(path),
                backup=path_of(backup) if backup else "''",
                expect=_expect(expect_sha256),
                key=_key(path),
            ),
        )

    async def restart(self, node: str, unit: str, seconds: int = 60) -> None:
        """Restart a unit and wait until it has been active for three looks, a second apart.

        Its files are loaded anew in any case: of a drop-in that was put back with its old time systemd does not say so.
        """
        await self._run(node, f"restart {unit}", _RESTART.format(unit=unit_of(unit), seconds=int(seconds)))

    async def run_trust_update(self, node: str) -> None:
        """Rebuild the operating system's CA bundle."""
        await self._run(node, "update the CA bundle", _TRUST)

    async def check_runtime_config(self, node: str) -> str:
        """What `containerd config dump` says against the files on disk; empty when nothing. k3s and RKE2: on the generated file."""
        try:
            await self._run(node, "check containerd's configuration", PRELUDE + _CHECK.format())
        except VerifyFailedError as error:
            return error.what
        return ""

    async def _run(self, node: str, what: str, body: str) -> str:
        code, said = await self._threads.run(self._blocking, node, body)
        if code == 0:
            return said
        if code == 6:
            raise VerifyFailedError(said or f"{node}: {what} failed")
        raise RefusedError(f"{node}: cannot {what}: {said or f'exit code {code}'}", _next_step(said))

    def _blocking(self, node: str, body: str) -> tuple[int, str]:
        word = system.nonce()
        try:
            link = self._links.get(node)
            stream = link.shell("sh -s", timeout=15)
        except LinkError as error:
            raise RefusedError(f"{node}: {error.detail}") from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            self._links.drop(node)
            raise RefusedError(
                f"{node}: the connection was lost before anything was written ({error}).", "Try again."
            ) from error
        # The inner shell is the one that writes; the outer one tells its exit code.
        inner = f"LC_ALL=C; PATH={PATH}; export LC_ALL PATH\n{{\n{_HEAD}\n{body}\n}} 2>&1\nexit 0\n"
        outer = (
            f"LC_ALL=C; PATH={PATH}; export LC_ALL PATH; if [ \"$(id -u)\" = 0 ]; then S=; else S='sudo -n'; fi\n"
            f"printf '\\n%s B w\\n' {word}\n$S sh -s <<'{word}S' 2>&1\n{inner}\n{word}S\nprintf '\\n%s E %s\\n' {word} $?\nexit\n"
        )
        end = self._clock.monotonic() + self._timeout
        data, mark = b"", f"\n{word} E ".encode()
        try:
            stream.settimeout(self._timeout)
            stream.sendall(outer.encode())
            while mark not in data or not data.endswith(b"\n") or len(data.rpartition(mark)[2]) < 2:
                left = end - self._clock.monotonic()
                if left <= 0:
                    raise TimeoutError("no answer in time")
                stream.settimeout(left)
                part = stream.recv(65536)
                if not part:
                    break
                data += part
        except (OSError, EOFError, paramiko.SSHException) as error:
            self._links.drop(node)
            raise RefusedError(
                f"{node}: the connection was lost while writing ({error or type(error).__name__}).",
                "The file is either the old one or the new one, never half: look at it before going on.",
            ) from error
        finally:
            stream.close()
        text, _, code = data.partition(f"\n{word} B w\n".encode())[2].rpartition(mark)
        shown = readable(text.decode("utf-8", "replace"))
        return (int(code.strip()) if code.strip().isdigit() else 1), shown


def readable(text: str) -> str:
    """What a script said, cut to what a person reads."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines()[:30])[:4000]


def _expect(digest: str | None) -> str:
    if digest is None:
        return "absent"
    if not _DIGEST.fullmatch(digest):
        raise RefusedError("The digest of the file as it was is missing, so nothing is written.")
    return digest


def _key(path: str) -> str:
    return quote(hashlib.sha256(path.encode()).hexdigest()[:32])


def _next_step(said: str) -> str:
    if "password is required" in said or "not in the sudoers" in said or "not allowed" in said:
        return "Writing needs root: log in as root, or allow `sudo -n sh` for this user."
    return "Plan again: the plan rests on the file as it was." if "expected" in said or "meanwhile" in said else ""
