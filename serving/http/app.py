"""The REST side of the server: `serving.http.rest` on Starlette and uvicorn, bounding bodies, time and clients."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from serving.http.rest import Reply, answer, error_body
from serving.http.sockets import listener
from serving.protocol.predict import Models, caller_gone
from serving.protocol.status import ServingError
from serving.runtime import log, metrics
from serving.runtime.batching import Gate
from serving.webui.page import Page

_SPARE = 8  # threads for requests that only ask for states
_BODIES = 8  # so many of the largest bodies may be in memory while they arrive
_CONNECTIONS = 512


@dataclass(frozen=True)
class Limits:
    """What clients may do.

    Attributes:
        body: int. Most bytes of a request, packed and unpacked.
        client: float. Seconds in which a request's body must arrive, and that an idle connection is kept for.
        run: float. Seconds that a model may take.
    """

    body: int = 32 << 20
    client: float = 30.0
    run: float = 30.0


class RestApp:
    """The ASGI application for everything but metrics.

    Args:
        models: callable that gives `Models`.
        gate: `Gate`.
        counted: `Metrics`.
        limits: `Limits`.
        origins: sequence of str, default none. Origins whose web pages may read answers of TensorFlow Serving's
            interface (CORS), such as "https://example.org"; "*" for all. Never those of the page's own paths.

    Attributes:
        page: `Page`, or None where there is no web page.
    """

    def __init__(
        self,
        models: Callable[[], Models],
        gate: Gate,
        counted: metrics.Metrics,
        limits: Limits,
        origins: Sequence[str] = (),
    ):
        self._models, self._gate, self._counted, self._limits = models, gate, counted, limits
        self._origins = frozenset(origins)
        self.page: Page | None = None
        self._arriving = 0  # bytes of bodies that are not complete
        self._threads = anyio.CapacityLimiter(gate.limit + _SPARE)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers one request."""
        request = Request(scope, receive)
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        start, size, watch = time.perf_counter(), 0, None
        try:
            async with asyncio.timeout(self._limits.client):
                body = await self._body(request)
            start, size = time.perf_counter(), len(body)
            gone = threading.Event()
            watch = asyncio.create_task(_watch(receive, gone))
            work = functools.partial(self._work, request.method, target, body, request.headers, gone.is_set)
            reply = await anyio.to_thread.run_sync(work, limiter=self._threads)
        except TimeoutError:
            reply = _refusal(
                408, "DEADLINE_EXCEEDED", f"the request did not arrive in {self._limits.client:g} s"
            )
        except ClientDisconnect:
            log.event("client_gone", path=self._shown(target))
            return
        except _Refused as refused:
            reply = refused.reply
        finally:
            if watch is not None:
                watch.cancel()
        self._allow_origin(request, target, reply)
        self._note(request.method, target, reply, time.perf_counter() - start, size)
        await Response(reply.body, reply.status, reply.headers)(scope, receive, send)

    def _allow_origin(self, request: Request, target: str, reply: Reply) -> None:
        """Adds what lets a browser hand the answer to a page of another origin; never with credentials."""
        if not self._origins or not target.lower().startswith("/v1/"):
            return
        origin = request.headers.get("origin", "")
        if "*" in self._origins:
            origin = "*"
        else:
            reply.headers["Vary"] = "Origin"
            if origin not in self._origins:
                return
        reply.headers["Access-Control-Allow-Origin"] = origin
        if request.method == "OPTIONS":
            reply.status = 200  # also for "null", the origin of a page that was opened as a file
            reply.headers["Access-Control-Allow-Methods"] = "POST, GET"
            reply.headers["Access-Control-Allow-Headers"] = "Content-Type"

    def _work(self, method: str, target: str, body: bytes, headers: Any, gone: Callable[[], bool]) -> Reply:
        """What runs in a thread, and a context, of its own."""
        caller_gone.set(gone)
        try:
            if headers.get("content-encoding", "").lower() == "gzip":
                body = _unpacked(body, self._limits.body)
            if method != "POST":
                return self._answer(method, target, body, headers)
            with self._gate.enter():
                return self._answer(method, target, body, headers)
        except ServingError as error:
            return Reply(error.http, error_body(error.message), about={"code": error.code})
        except _Refused as refused:
            return refused.reply
        except Exception as error:  # one request must not end the server, nor show its insides
            log.event("bug", "error", error=f"{type(error).__name__}: {error}", path=self._shown(target))
            return Reply(500, error_body("the server failed; its log says how"), about={"code": "INTERNAL"})

    def _answer(self, method: str, target: str, body: bytes, headers: Any) -> Reply:
        if self.page is not None and self.page.takes(target):
            return self.page.answer(method, target, body, headers, self._limits.run)
        return answer(self._models(), method, target, body, self._limits.run, headers.get("origin", ""))

    async def _body(self, request: Request) -> bytes:
        """The whole body.

        Raises:
            _Refused: if it is too long, or too many are arriving.
        """
        most, promised = self._limits.body, request.headers.get("content-length", "0")
        too_long = int(promised) > most if promised.isdigit() else False
        if too_long and "expect" in request.headers:
            raise _Refused(self._too_long())  # the client waits for a word before it sends
        parts: list[bytes] = []
        size = held = 0
        try:
            async for part in request.stream():
                size += len(part)
                if too_long or size > most:
                    too_long = True
                    if size > 4 * most:
                        break
                    # What is too long is read all the same: a client that is cut off does not see why.
                    continue
                self._arriving += len(part)
                held += len(part)
                parts.append(part)
                if self._arriving > _BODIES * most:
                    raise _Refused(
                        _refusal(429, "RESOURCE_EXHAUSTED", "too many requests are arriving: try again")
                    )
            if too_long:
                raise _Refused(self._too_long())
            return b"".join(parts)
        finally:
            self._arriving -= held

    def _too_long(self) -> Reply:
        return _refusal(
            413, "RESOURCE_EXHAUSTED", f"expected a body of at most {self._limits.body} bytes, got more"
        )

    def _note(self, method: str, target: str, reply: Reply, seconds: float, size: int) -> None:
        about = dict(reply.about)
        code = about.pop("code", "OK" if reply.status < 400 else "INVALID_ARGUMENT")
        name = about.setdefault("method", "other")
        self._counted.answered("rest", name, code, seconds)
        level = "info" if reply.status < 400 else "warning"
        path = self._shown(target)
        about |= {"api": "rest", "verb": method, "path": path, "status": reply.status, "code": code}
        log.event("request", level, ms=round(seconds * 1000, 1), bytes=size, **about)

    def _shown(self, target: str) -> str:
        """A path as it may be logged: a query of the page can hold a visitor's words."""
        of_page = self.page is not None and self.page.takes(target)
        return (target.partition("?")[0] if of_page else target)[:200]


async def _watch(receive: Any, gone: threading.Event) -> None:
    """Waits until the client leaves; to be called when the body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


class _Refused(Exception):
    def __init__(self, reply: Reply):
        super().__init__()
        self.reply = reply


def _refusal(status: int, code: str, message: str) -> Reply:
    headers = {"Content-Type": "application/json", "Connection": "close"}
    return Reply(status, error_body(message), headers, {"code": code})


def _unpacked(body: bytes, most: int) -> bytes:
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        found = unpack.decompress(body, most + 1)
        while unpack.eof and unpack.unused_data.startswith(b"\x1f\x8b") and len(found) <= most:
            unpack, rest = zlib.decompressobj(zlib.MAX_WBITS | 16), unpack.unused_data
            found += unpack.decompress(rest, most + 1 - len(found))
        whole = unpack.eof or len(found) > most
    except zlib.error:
        whole = False
    if not whole:
        raise _Refused(_refusal(400, "INVALID_ARGUMENT", "expected a body in gzip, as its header says"))
    if len(found) > most:
        message = f"expected a body of at most {most} bytes when unpacked, got more"
        raise _Refused(_refusal(413, "RESOURCE_EXHAUSTED", message))
    return found


class HttpServer:
    """uvicorn in a thread of its own.

    Args:
        app: `RestApp`.
        counted: `Metrics`, shown at `serving.runtime.metrics.PATH`.
        limits: `Limits`.
        host, port: str and int; port 0 for any.

    Raises:
        EngineError: if the port is in use.
    """

    def __init__(self, app: RestApp, counted: metrics.Metrics, limits: Limits, host: str, port: int):
        self._socket = listener(host, port)
        self.port = self._socket.getsockname()[1]

        def page(request: Request) -> Response:
            return Response(counted.page(), media_type=metrics.CONTENT_TYPE)

        routes = [Route(metrics.PATH, page), Mount("/", app=app)]
        self._config = uvicorn.Config(
            Starlette(routes=routes),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=max(1, int(limits.client)),
        )
        self._server = uvicorn.Server(self._config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)

    def stop(self, seconds: float) -> None:
        """Takes no more connections and waits for requests that run, for so many seconds at most."""
        self._config.timeout_graceful_shutdown = max(1, int(seconds))
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(seconds + 5)
        self._socket.close()
