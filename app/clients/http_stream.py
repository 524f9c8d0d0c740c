"""A byte stream with TLS on top, over a socket or a forwarded channel, as httpcore wants it.

TLS is spoken by `ssl.SSLObject` over memory buffers, because a forwarded channel is no socket. It is always verified; the one
handshake without verification (`served_chain`) only reads the certificates and never carries a byte of a request.
"""

from __future__ import annotations

import contextlib
import ssl
import time
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import httpcore
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from app.clients.ssh_link import Stream
from app.model.exchange import TlsSeen

Opener = Callable[[], Stream]
_NAME_MISMATCH = (62, 63, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH, EMAIL, IP_ADDRESS: the chain may be good all the same."""


class HandshakeError(Exception):
    """No verified TLS; `seen` says what there was."""

    def __init__(self, seen: TlsSeen, text: str) -> None:
        super().__init__(text)
        self.seen = seen
        self.text = text


@dataclass(slots=True)
class Deadline:
    """A moment on the steady clock; every wait takes what is left."""

    at: float

    @classmethod
    def of(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


class PlainStream(httpcore.NetworkStream):
    """A socket or channel as httpcore's stream."""

    def __init__(self, raw: Stream, deadline: Deadline) -> None:
        self.raw = raw
        self.deadline = deadline
        self._waiting = b""

    def flush(self) -> None:
        """Send what was written. Small writes go out together when an answer is awaited: one by one, each would wait 40 ms
        for the far side's delayed acknowledgement, and that would be measured as the server's time."""
        waiting, self._waiting = self._waiting, b""
        if not waiting:
            return
        try:
            self.raw.settimeout(self.deadline.left)
            self.raw.sendall(waiting)
        except TimeoutError as error:
            raise httpcore.WriteTimeout("not taken in time") from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        del timeout
        with contextlib.suppress(httpcore.WriteError):
            self.flush()  # a server that has closed its side may have answered before
        try:
            self.raw.settimeout(self.deadline.left)
            return self.raw.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout("no answer in time") from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        del timeout
        self._waiting += buffer
        if len(self._waiting) > 65536:
            self.flush()

    def close(self) -> None:
        self.raw.close()

    def get_extra_info(self, info: str) -> Any:
        # httpcore asks whether an idle connection has become readable; ours are looked at when they are used.
        return False if info == "is_readable" else None


class TlsStream(PlainStream):
    """TLS over a plain stream."""

    def __init__(self, below: PlainStream, context: ssl.SSLContext, name: str) -> None:
        super().__init__(below.raw, below.deadline)
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name or None)
        self.first = b""
        """First bytes that the server sent: they tell a server without TLS."""

    def set_deadline(self, deadline: Deadline) -> None:
        self.deadline = self._below.deadline = deadline

    def handshake(self) -> None:
        self._pump(self._tls.do_handshake)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        del timeout
        try:
            return typing.cast(bytes, self._pump(lambda: self._tls.read(max_bytes)))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        except ssl.SSLError as error:
            raise httpcore.ReadError(reason(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        del timeout
        view = memoryview(bytes(buffer))
        while view:
            try:
                sent = typing.cast(int, self._pump(partial(self._tls.write, view)))
            except ssl.SSLError as error:
                raise httpcore.WriteError(reason(error)) from error
            view = view[sent:]

    @property
    def version(self) -> str:
        return self._tls.version() or ""

    def chain(self) -> tuple[str, ...]:
        """Certificates as served, leaf first, PEM."""
        found: list[Any]
        if hasattr(self._tls, "get_unverified_chain"):  # Python 3.13
            found = list(self._tls.get_unverified_chain() or ())
        else:
            inner = self._tls._sslobj  # type: ignore[attr-defined] # noqa: SLF001 the same call, not yet public in 3.11
            found = [one.public_bytes(2) for one in inner.get_unverified_chain() or ()]
        return tuple(ssl.DER_cert_to_PEM_cert(bytes(one)) for one in found)

    def _pump(self, action: Callable[[], Any]) -> Any:
        while True:
            try:
                result = action()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._below.read(65536)
                if len(self.first) < 16:
                    self.first += data[:16]
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except ssl.SSLError:
                self._flush()
                with contextlib.suppress(httpcore.NetworkError, httpcore.TimeoutException):
                    self._below.flush()  # so that the server learns from our alert why we leave
                raise
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._below.write(self._outgoing.read())


def context_for(anchors_pem: str | None) -> ssl.SSLContext:
    """Verifies as Go's clients do: any given anchor ends a chain (a leaf too), the subject's CN is no name. Raises ValueError for anchors that are none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if anchors_pem is None:
        context.load_default_certs()
    elif anchors_pem.strip():
        try:
            context.load_verify_locations(cadata=anchors_pem)
        except (ssl.SSLError, ValueError) as error:
            raise ValueError(f"the CA certificates cannot be read: {error}") from error
    return context


def secure(
    opener: Opener, name: str, anchors_pem: str | None, anchors_name: str, deadline: Deadline
) -> tuple[TlsStream, TlsSeen]:
    """A verified stream and what was seen. Raises HandshakeError; what `opener` raises for a second look is not raised."""
    seen = TlsSeen(server_name=name, anchors=anchors_name)
    try:
        context = context_for(anchors_pem)
    except ValueError as error:
        raise HandshakeError(replace(seen, state="", verified=None, verify_error=str(error)), str(error)) from error
    stream = TlsStream(PlainStream(opener(), deadline), context, name)
    try:
        stream.handshake()
    except ssl.SSLCertVerificationError as error:
        stream.close()
        text = error.verify_message or reason(error)
        accepted = error.verify_code in _NAME_MISMATCH and _accepted(opener, name, anchors_pem)
        found = _unverified(opener, name)
        raise HandshakeError(
            described(replace(seen, verified=accepted, verify_error=text, chain=found[0], version=found[1])), text
        ) from error
    except (ssl.SSLError, OSError, httpcore.NetworkError, httpcore.TimeoutException) as error:
        stream.close()
        text = reason(error)
        raise HandshakeError(replace(seen, state=_state(error, stream.first), verified=None), text) from error
    return stream, described(replace(seen, verified=True, chain=stream.chain(), version=stream.version))


def described(seen: TlsSeen) -> TlsSeen:
    """With the leaf's names and dates."""
    if not seen.chain:
        return seen
    try:
        leaf = x509.load_pem_x509_certificate(seen.chain[0].encode())
        names: tuple[str, ...] = ()
        try:
            extension = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
            assert isinstance(extension, x509.SubjectAlternativeName)  # noqa: S101 for the type checker
            names = (
                *extension.get_values_for_type(x509.DNSName),
                *(str(one) for one in extension.get_values_for_type(x509.IPAddress)),
            )
        except x509.ExtensionNotFound:
            pass
        return replace(
            seen, names=names, subject=leaf.subject.rfc4514_string(), issuer=leaf.issuer.rfc4514_string(),
            not_before=leaf.not_valid_before_utc.timestamp(), not_after=leaf.not_valid_after_utc.timestamp(),
        )  # fmt: skip
    except (ValueError, TypeError):
        return seen  # a certificate that cannot be read: the PEM is there for whoever wants to look


def reason(error: BaseException) -> str:
    """A library's words, short."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return str(error) or type(error).__name__


def _state(error: BaseException, first: bytes) -> str:
    if first.startswith(b"HTTP/"):
        return "plain-http"
    if isinstance(error, TimeoutError | httpcore.TimeoutException):
        return "stalled"
    if isinstance(error, ssl.SSLError) and first and first[:1] not in (b"\x15", b"\x16"):
        return ""  # neither TLS nor HTTP: another protocol speaks on that port
    if isinstance(error, ssl.SSLEOFError | httpcore.NetworkError | OSError) and not (
        isinstance(error, ssl.SSLError) and error.reason and "ALERT" in error.reason
    ):
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return "alert"
        return "reset"
    return "alert"


def _unverified(opener: Opener, name: str) -> tuple[tuple[str, ...], str]:
    """The chain that is served and the version of TLS, by a handshake that verifies nothing and after which nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _look(opener, name, context) or ((), "")


def _accepted(opener: Opener, name: str, anchors_pem: str | None) -> bool:
    """Whether the anchors accept the chain under whatever name."""
    context = context_for(anchors_pem)
    context.check_hostname = False
    return _look(opener, name, context) is not None


def _look(opener: Opener, name: str, context: ssl.SSLContext) -> tuple[tuple[str, ...], str] | None:
    stream = None
    try:
        stream = TlsStream(PlainStream(opener(), Deadline.of(10)), context, name)
        stream.handshake()
        return stream.chain(), stream.version
    except Exception:
        return None  # a second look that fails leaves what the first one saw
    finally:
        if stream is not None:
            stream.close()
