"""What lies between the REST side of the server and the network: its port, and clients that are slow."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from captioner.errors import EngineError


def listener(host: str, port: int) -> socket.socket:
    """A socket that has the port, but does not listen yet.

    Args:
        host: str.
        port: int, 0 for any.

    Raises:
        EngineError: if the port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol 0 asyncio does not know that it is TCP and leaves Nagle's algorithm on: answers, whose head and
    # body are written one after the other, then wait 40 ms for the client to confirm the first.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except (OSError, OverflowError) as error:
        found.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise EngineError(
            f"cannot listen on {host}:{port} for REST: {reason}; give another --rest-port"
        ) from None
    return found


class Timed(H11Protocol):
    """uvicorn's protocol, which by itself waits forever for a request's headers, or for a client to read."""

    seconds = 30.0
    _late: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._late = self.loop.call_later(self.seconds, transport.abort)

    def handle_events(self) -> None:
        """See uvicorn's protocol."""
        super().handle_events()
        asked = self.cycle is not None and not self.cycle.response_complete
        if asked and self._late is not None:
            self._late.cancel()
            self._late = None
        elif not asked and self._late is None and self.transport is not None:
            self._late = self.loop.call_later(self.seconds, self.transport.abort)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().pause_writing()
        self._stuck = self.loop.call_later(self.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        for timer in (self._late, self._stuck):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
