"""The server of the page, for the browser on this machine alone.

    GET /                    the page
    GET /static/FILE         its style and its script
    GET /state               images, proposals and saved captions
    GET /images/NUMBER       an image, scaled down
    POST /captions           saves the captions of one image
    GET, POST /adapting      the state of adapting; starts it

It listens on 127.0.0.1. Requests by another host name (DNS rebinding) are refused, and so is every POST of a page of
another origin: only JSON is read, which such a page may not send unasked.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from captioner.errors import CaptionerError, DataError, EngineError, ImageError, SpecError
from training.annotation.adapting import Adapting
from training.annotation.session import Session

HOST = "127.0.0.1"
FILES = Path(__file__).parent / "static"
MAX_BODY = 64 << 10  # bytes of a request
_HOSTS = ("localhost", "127.0.0.1", "::1")
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Endpoint = Callable[[Request], Awaitable[Response]]


def application(session: Session, adapting: Adapting) -> Starlette:
    """The ASGI application.

    Args:
        session: Session.
        adapting: Adapting.

    Returns:
        Starlette. Errors are a JSON object with one sentence in `error`.
    """
    files = {path.name: path for path in FILES.iterdir() if path.suffix in _MEDIA_TYPES}

    async def static(request: Request) -> Response:
        file = files.get(request.path_params.get("name", "page.html"))
        if file is None:
            return _error(404, "there is no such file")
        return Response(file.read_bytes(), media_type=_MEDIA_TYPES[file.suffix])

    async def state(request: Request) -> Response:
        return JSONResponse(await anyio.to_thread.run_sync(session.state))

    async def image(request: Request) -> Response:
        data = await anyio.to_thread.run_sync(session.thumbnail, request.path_params["number"])
        return Response(data, media_type="image/jpeg")

    async def captions(request: Request) -> Response:
        edit = await _json(request)
        return JSONResponse(await anyio.to_thread.run_sync(session.save, edit))

    async def status(request: Request) -> Response:
        if request.method == "POST":
            await _json(request)
            await anyio.to_thread.run_sync(adapting.start)
        return JSONResponse(await anyio.to_thread.run_sync(adapting.status))

    routes = [
        Route("/", _guarded(static)),
        Route("/static/{name}", _guarded(static)),
        Route("/state", _guarded(state)),
        Route("/images/{number:int}", _guarded(image)),
        Route("/captions", _guarded(captions), methods=["POST"]),
        Route("/adapting", _guarded(status), methods=["GET", "POST"]),
    ]
    return Starlette(routes=routes)


def _guarded(endpoint: Endpoint) -> Endpoint:
    """An endpoint that refuses visitors from elsewhere, and answers errors in one sentence."""

    async def answer(request: Request) -> Response:
        if problem := _foreign(request):
            response = _error(403, problem)
        else:
            try:
                response = await endpoint(request)
            except ClientDisconnect:
                response = _error(400, "the request did not arrive")
            except (SpecError, ImageError) as error:
                response = _error(400, str(error))
            except DataError as error:
                response = _error(409, str(error))
            except CaptionerError as error:
                response = _error(500, str(error))
        response.headers.update(_SECURITY_HEADERS)
        return response

    return answer


def _foreign(request: Request) -> str:
    """Why a request may not come from the page, or an empty string."""
    host = request.headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if name not in _HOSTS:
        return f"expected the address http://{HOST}, got another host name"
    if request.method == "POST":
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        if site not in (None, "same-origin") or origin not in (None, f"http://{host}"):
            return "pages of other origins may not write here"
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return "expected JSON, of the type application/json"
    return ""


async def _json(request: Request) -> Any:
    """The body of a request.

    Raises:
        SpecError: if it is too long or no JSON.
    """
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY:
            raise SpecError(f"expected a body of at most {MAX_BODY} bytes, got more")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise SpecError("expected a body of JSON, got something else") from None


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)


def listener(port: int) -> socket.socket:
    """A socket bound to a port of this machine, 0 for any.

    Raises:
        EngineError: if the port is in use.
    """
    # With protocol 0 asyncio does not recognise TCP and leaves Nagle's algorithm on.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise EngineError(
            f"cannot listen on {HOST}:{port}: {reason}; give another --port, or 0 for any that is free"
        ) from None
    return listening


def serve(app: Starlette, listening: socket.socket) -> None:
    """Answers until Ctrl-C or SIGTERM, which raise `KeyboardInterrupt` when the server has stopped."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[listening])
