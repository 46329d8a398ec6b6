"""The REST server: `serving.http.rest` on Starlette and uvicorn, with limits on bodies, time and clients."""

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
from serving.protocol.predict import Models, client_disconnected
from serving.protocol.status import ServingError
from serving.runtime import log, metrics
from serving.runtime.admission import AdmissionControl
from serving.webui.page import Page

_SPARE_THREADS = 8  # for requests that only ask for states
_MAX_BODIES = 8  # of the largest size, in memory while they arrive
_MAX_CONNECTIONS = 512


@dataclass(frozen=True)
class Limits:
    """Limits on what a client may send and how long it may take.

    Attributes:
        body: int. Maximum bytes of a request, compressed and decompressed.
        client: float. Seconds in which a request's body must arrive, and that an idle connection is kept for.
        run: float. Seconds that a model may take.
    """

    body: int = 32 << 20
    client: float = 30.0
    run: float = 30.0


class RestApp:
    """The ASGI application for everything but metrics.

    Args:
        models: callable that returns `Models`.
        admission: `AdmissionControl`.
        counters: `Metrics`.
        limits: `Limits`.
        origins: sequence of str, default none. Origins whose web pages may read answers of TensorFlow Serving's
            interface (CORS), such as "https://example.org"; "*" for all. Never those of the page's own paths.

    Attributes:
        page: `Page`, or None where there is no web page.
    """

    def __init__(
        self,
        models: Callable[[], Models],
        admission: AdmissionControl,
        counters: metrics.Metrics,
        limits: Limits,
        origins: Sequence[str] = (),
    ):
        self._models, self._admission, self._limits = models, admission, limits
        self._counters = counters
        self._origins = frozenset(origins)
        self.page: Page | None = None
        self._arriving = 0  # bytes of incomplete bodies
        self._threads = anyio.CapacityLimiter(admission.limit + _SPARE_THREADS)

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
            disconnected = threading.Event()
            watch = asyncio.create_task(_watch(receive, disconnected))
            work = functools.partial(
                self._work, request.method, target, body, request.headers, disconnected.is_set
            )
            reply = await anyio.to_thread.run_sync(work, limiter=self._threads)
        except TimeoutError:
            reply = _error_reply(
                408, "DEADLINE_EXCEEDED", f"the request did not arrive in {self._limits.client:g} s"
            )
        except ClientDisconnect:
            log.event("client_gone", path=self._logged_path(target))
            return
        except _Rejected as error:
            reply = error.reply
        finally:
            if watch is not None:
                watch.cancel()
        self._allow_origin(request, target, reply)
        self._record(request.method, target, reply, time.perf_counter() - start, size)
        await Response(reply.body, reply.status, reply.headers)(scope, receive, send)

    def _allow_origin(self, request: Request, target: str, reply: Reply) -> None:
        """Adds the CORS headers that let pages of other origins read the answer; never with credentials."""
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

    def _work(
        self, method: str, target: str, body: bytes, headers: Any, disconnected: Callable[[], bool]
    ) -> Reply:
        """Answers in a worker thread, with a context of its own."""
        client_disconnected.set(disconnected)
        try:
            if headers.get("content-encoding", "").lower() == "gzip":
                body = _decompressed(body, self._limits.body)
            if method != "POST":
                return self._answer(method, target, body, headers)
            with self._admission.admit():
                return self._answer(method, target, body, headers)
        except ServingError as error:
            return Reply(error.http, error_body(error.message), about={"code": error.code})
        except _Rejected as error:
            return error.reply
        except Exception as error:  # a bug must neither end the server nor leak its details
            log.event(
                "bug", "error", error=f"{type(error).__name__}: {error}", path=self._logged_path(target)
            )
            return Reply(500, error_body("the server failed; its log says how"), about={"code": "INTERNAL"})

    def _answer(self, method: str, target: str, body: bytes, headers: Any) -> Reply:
        if self.page is not None and self.page.serves(target):
            return self.page.answer(method, target, body, headers, self._limits.run)
        return answer(self._models(), method, target, body, self._limits.run, headers.get("origin", ""))

    async def _body(self, request: Request) -> bytes:
        """Reads the request body.

        Raises:
            _Rejected: if it is too long, or too many are arriving.
        """
        limit, length = self._limits.body, request.headers.get("content-length", "0")
        too_long = int(length) > limit if length.isdigit() else False
        if too_long and "expect" in request.headers:
            raise _Rejected(self._too_long())  # the client waits for 100 Continue before it sends
        parts: list[bytes] = []
        size = buffered = 0
        try:
            async for part in request.stream():
                size += len(part)
                if too_long or size > limit:
                    too_long = True
                    if size > 4 * limit:
                        break
                    # Read and discarded: a client whose connection is reset would not see the error.
                    continue
                self._arriving += len(part)
                buffered += len(part)
                parts.append(part)
                if self._arriving > _MAX_BODIES * limit:
                    raise _Rejected(
                        _error_reply(429, "RESOURCE_EXHAUSTED", "too many requests are arriving: try again")
                    )
            if too_long:
                raise _Rejected(self._too_long())
            return b"".join(parts)
        finally:
            self._arriving -= buffered

    def _too_long(self) -> Reply:
        return _error_reply(
            413, "RESOURCE_EXHAUSTED", f"expected a body of at most {self._limits.body} bytes, got more"
        )

    def _record(self, method: str, target: str, reply: Reply, seconds: float, size: int) -> None:
        about = dict(reply.about)
        code = about.pop("code", "OK" if reply.status < 400 else "INVALID_ARGUMENT")
        name = about.setdefault("method", "other")
        self._counters.record_request("rest", name, code, seconds)
        level = "info" if reply.status < 400 else "warning"
        path = self._logged_path(target)
        about |= {"api": "rest", "verb": method, "path": path, "status": reply.status, "code": code}
        log.event("request", level, ms=round(seconds * 1000, 1), bytes=size, **about)

    def _logged_path(self, target: str) -> str:
        """The path for the log, without the query of a page request, which can hold user input."""
        for_page = self.page is not None and self.page.serves(target)
        return (target.partition("?")[0] if for_page else target)[:200]


async def _watch(receive: Any, disconnected: threading.Event) -> None:
    """Waits until the client disconnects; to be called after the body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
    disconnected.set()


class _Rejected(Exception):
    def __init__(self, reply: Reply):
        super().__init__()
        self.reply = reply


def _error_reply(status: int, code: str, message: str) -> Reply:
    headers = {"Content-Type": "application/json", "Connection": "close"}
    return Reply(status, error_body(message), headers, {"code": code})


def _decompressed(body: bytes, limit: int) -> bytes:
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        data = decoder.decompress(body, limit + 1)
        while decoder.eof and decoder.unused_data.startswith(b"\x1f\x8b") and len(data) <= limit:
            decoder, rest = zlib.decompressobj(zlib.MAX_WBITS | 16), decoder.unused_data
            data += decoder.decompress(rest, limit + 1 - len(data))
        complete = decoder.eof or len(data) > limit
    except zlib.error:
        complete = False
    if not complete:
        raise _Rejected(_error_reply(400, "INVALID_ARGUMENT", "expected a body in gzip, as its header says"))
    if len(data) > limit:
        message = f"expected a body of at most {limit} bytes when decompressed, got more"
        raise _Rejected(_error_reply(413, "RESOURCE_EXHAUSTED", message))
    return data


class HttpServer:
    """uvicorn in a thread of its own.

    Args:
        app: `RestApp`.
        counters: `Metrics`, exposed at `serving.runtime.metrics.PATH`.
        limits: `Limits`.
        host, port: str and int; port 0 for any.

    Raises:
        EngineError: if the port is in use.
    """

    def __init__(self, app: RestApp, counters: metrics.Metrics, limits: Limits, host: str, port: int):
        self._socket = listener(host, port)
        self.port = self._socket.getsockname()[1]

        def exposition(request: Request) -> Response:
            return Response(counters.exposition(), media_type=metrics.CONTENT_TYPE)

        routes = [Route(metrics.PATH, exposition), Mount("/", app=app)]
        self._config = uvicorn.Config(
            Starlette(routes=routes),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_MAX_CONNECTIONS,
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
        """Accepts no more connections and waits for running requests, at most `seconds`."""
        self._config.timeout_graceful_shutdown = max(1, int(seconds))
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(seconds + 5)
        self._socket.close()
