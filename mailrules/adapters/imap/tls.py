"""From a host and a port to a socket that can be trusted: TCP's settings, TLS."""

from __future__ import annotations

import functools
import ipaddress
import socket
import ssl
import threading
from typing import Literal

from mailrules.core.errors import PermanentError

Security = Literal["tls", "starttls", "none"]

CONNECT = 20.0
"""Seconds to wait for a server to accept a connection."""


class TlsError(PermanentError):
    """No trustworthy TLS: nothing was sent that an eavesdropper could use."""


_MAKING = threading.Lock()


def default_context() -> ssl.SSLContext:
    """Verifies certificate and host name, TLS 1.2 at least. Shared: each costs 0.9 MB and 27 ms."""
    with _MAKING:  # a cache alone gives everybody who comes at the same moment one of their own
        return _default_context()


@functools.cache
def _default_context() -> ssl.SSLContext:
    return strict(ssl.create_default_context())


def strict(context: ssl.SSLContext) -> ssl.SSLContext:
    """At least TLS 1.2."""
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    return context


def secured(sock: socket.socket, context: ssl.SSLContext, *, host: str, port: int) -> ssl.SSLSocket:
    """The socket with TLS over it. Raises TlsError, or OSError, in words, if the network failed."""
    try:
        return context.wrap_socket(sock, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raise TlsError(
            f"{host}:{port}: the server's certificate is not trusted: {error.verify_message}. "
            "Check `host`, or have the certificate mended. If it is of a CA of your own, name "
            "that CA's file in the environment: SSL_CERT_FILE=/path/to/ca.pem."
        ) from None
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        raise OSError(f"the connection ended during the TLS handshake: {error.reason}") from None
    except ssl.SSLError as error:
        raise TlsError(
            f"{host}:{port}: no TLS with this server ({error.reason or error}). "
            "Check `port` and `security`: 993 is tls, 143 is starttls."
        ) from None
    except OSError as error:
        raise OSError(f"the connection failed during the TLS handshake: {error}") from None


def tune(sock: socket.socket) -> None:
    """No delay for small writes; find out within minutes that the peer is gone (RELIABILITY section 4)."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Keepalive sees a silent peer, the user timeout unacknowledged data. Not every system has them.
    for name, value in (
        ("TCP_KEEPIDLE", 60),
        ("TCP_KEEPINTVL", 15),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", 90_000),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def is_loopback(sock: socket.socket) -> bool:
    """Whether the peer is on this machine."""
    return ipaddress.ip_address(sock.getpeername()[0].partition("%")[0]).is_loopback
