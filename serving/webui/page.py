"""The web page of the server: its files, and the JSON that it asks for. Nothing in it leads to another server.

    GET /                  the page
    GET /web/FILE          its style and its scripts
    GET /page/models       what can be chosen, and what the server takes
    POST /page/caption     an image in, all there is to know of its caption out

`serving.http.app` reads requests, bounds them and counts them.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from captioner import checks
from captioner.errors import CaptionerError, DataError, ImageError, SpecError
from captioner.image import loading
from captioner.outputs.alt_text import LONGEST, SHORTEST, AltText, alt_text
from captioner.types import Caption
from serving.http.rest import Reply, error_body
from serving.protocol.status import ServingError, invalid
from serving.runtime import log
from serving.runtime.batching import Gate
from serving.webui.choices import Choices, checked, rerankers, strategies
from serving.webui.models import Loaded, Served

FILES = Path(__file__).parent / "static"
_NAMELESS = "image"  # what stands in front of messages for want of a name, and is taken off again
_LONGEST_ALT = 1000  # characters of an alternative text that may be asked for
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SAFE = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Page:
    """Answers what the page asks for.

    Args:
        choices: `Choices`.
        gate: `Gate`, for what is done to images before a model sees them.
        most: int. Bytes of the largest image that may be sent.
    """

    def __init__(self, choices: Choices, gate: Gate, most: int):
        self._choices, self._gate, self._most = choices, gate, most
        self._files = {f"/web/{path.name}": path for path in FILES.iterdir() if path.suffix in _KINDS}
        self._files.pop("/web/index.html")
        self._files["/"] = FILES / "index.html"

    @staticmethod
    def takes(target: str) -> bool:
        """Whether a request is for the page and not for TensorFlow Serving's interface.

        Example:
            >>> Page.takes("/page/caption?model=x"), Page.takes("/v1/models/x")
            (True, False)
        """
        path = target.partition("?")[0]
        return path == "/" or path.startswith(("/web/", "/page/"))

    def answer(
        self, method: str, target: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Reply:
        """Answers one request.

        Args:
            method: str.
            target: str. Path and query as they were sent.
            body: bytes. An image, if it is one that is to be captioned.
            headers: mapping of lower-case names.
            timeout: float. Seconds that a model may take.

        Returns:
            `Reply`; errors are a JSON object with one sentence in `error`.
        """
        path, _, query = target.partition("?")
        try:
            reply = self._answer(method, path, query, body, headers, timeout)
        except ServingError as error:
            reply = Reply(error.http, error_body(error.message), about={"code": error.code})
        except CaptionerError as error:
            wrong = ServingError(_code(error), str(error))
            reply = Reply(wrong.http, error_body(wrong.message), about={"code": wrong.code})
        reply.headers = {**_SAFE, **reply.headers}
        reply.about["method"] = "caption" if path == "/page/caption" else "page"
        return reply

    def _answer(
        self, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Reply:
        wanted = "POST" if path == "/page/caption" else "GET"
        if method != wanted and not (method == "HEAD" and wanted == "GET"):
            about = {"code": "UNIMPLEMENTED"}
            return Reply(405, error_body(f"expected {wanted} {path}, got {method}"), {"Allow": wanted}, about)
        if path == "/page/models":
            return _json(
                {
                    "models": self._choices.rows(),
                    "strategies": strategies(),
                    "rerankers": rerankers(),
                    "max_bytes": self._most,
                }
            )
        if path == "/page/caption":
            if _of_another_site(headers):
                raise ServingError(
                    "PERMISSION_DENIED",
                    "pages of other sites may not caption here; a proxy in front has to pass the header Host on",
                )
            return _json(self._caption(_asked(query), body, timeout))
        if path not in self._files:
            raise ServingError("NOT_FOUND", f"there is nothing at {path[:100]}")
        file = self._files[path]
        return Reply(200, file.read_bytes(), {"Content-Type": f"{_KINDS[file.suffix]}; charset=utf-8"})

    def _caption(self, asked: Mapping[str, str], body: bytes, timeout: float) -> dict[str, Any]:
        start = time.perf_counter()
        model = self._choices[asked.get("model", "")]
        strategy = asked.get("strategy") or None
        if strategy is not None:
            checked(strategy)
        most = _length(asked.get("max_length") or str(LONGEST))
        caption = model.caption(self._image(body, timeout), strategy, timeout)
        if caption.error is not None:
            raise ImageError(caption.error)
        alternatives = [_shown(model, other, most) for other in caption.alternatives]
        took = round((time.perf_counter() - start) * 1000, 1)
        return {**_shown(model, caption, most), "alternatives": alternatives, "ms": took}

    def _image(self, body: bytes, timeout: float) -> bytes:
        """The image as engines take it; what only Pillow reads waits for its turn, for it takes memory.

        Raises:
            ImageError: whatever is wrong with it.
        """
        light = loading.kind(body) in ("JPEG", "PNG", "GIF") and loading.passes(body)
        try:
            with contextlib.nullcontext() if light else self._gate.running(timeout):
                return loading.to_bytes(body, _NAMELESS)
        except ImageError as error:
            raise ImageError(str(error).removeprefix(f"{_NAMELESS}: ")) from None
        except ServingError:
            raise
        except Exception as error:  # libraries raise what they like at a damaged file
            log.event("unreadable_image", "warning", error=f"{type(error).__name__}: {error}"[:200])
            raise ImageError("this image cannot be read: it is damaged, or of an unusual kind") from None


def _of_another_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser asks for a page of another site; other clients say nothing of pages."""
    if site := headers.get("sec-fetch-site"):
        return site == "cross-site"
    # Older browsers say no more than the origin, as all do over plain http but to this machine.
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()


def _shown(model: Served | Loaded, caption: Caption, most: int) -> dict[str, Any]:
    """A caption as the page gets it."""
    text = AltText("")
    if caption.text.strip():
        # Without the hedge: the page says beside the text that a caption is doubtful.
        text = alt_text(caption, most, model.confidence(caption), hedge=False)
    return {
        "caption": caption.text,
        "words": list(caption.words),
        "word_logp": [round(value, 6) for value in caption.word_logp],
        "logp": round(caption.logp, 6),
        "score": round(caption.score, 6),
        "attention": None if caption.attention is None else _rounded(caption.attention),
        "alt_text": asdict(text),
    }


def _rounded(attention: np.ndarray) -> list:
    # Digits of float32 that nobody can see would make the answer four times as long.
    return np.round(attention.astype(np.float64), 4).tolist()


def _asked(query: str) -> dict[str, str]:
    try:
        return {name: values[-1] for name, values in parse_qs(query, max_num_fields=16).items()}
    except ValueError:
        raise invalid("expected model, strategy and max_length in the query, got too much else") from None


def _length(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else text[:40]
    return checks.integer(number, "max_length", SHORTEST, _LONGEST_ALT, "characters")


def _json(value: Mapping[str, Any]) -> Reply:
    return Reply(200, json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def _code(error: CaptionerError) -> str:
    theirs = isinstance(error, ImageError | SpecError | DataError)
    return "INVALID_ARGUMENT" if theirs else "FAILED_PRECONDITION"
