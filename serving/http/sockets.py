"""The socket that the REST side of the server listens on."""

from __future__ import annotations

import socket

from captioner.errors import EngineError


def listener(host: str, port: int) -> socket.socket:
    """A socket that is bound to the port, but does not listen yet.

    Args:
        host: str.
        port: int, 0 for any.

    Raises:
        EngineError: if the port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With protocol 0 asyncio does not recognise TCP and leaves Nagle's algorithm on: answers, whose head and body are
    # written separately, then wait 40 ms for the client's acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise EngineError(
            f"cannot listen on {host}:{port} for REST: {reason}; give another --rest-port"
        ) from None
    return listening
