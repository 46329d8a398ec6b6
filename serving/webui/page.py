"""The web page of the server: its static files and its JSON API. It makes no requests to other servers.

    GET /                  the page
    GET /web/FILE          its style and its scripts
    GET /page/models       models, strategies and the largest image
    POST /page/caption     the caption of the image in the body, with alternatives and attention

`serving.http.app` reads requests, limits them and counts them.
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
from captioner.types import DECLINED, Caption
from serving.http.rest import Reply, error_body
from serving.protocol.status import ServingError, invalid
from serving.runtime import log
from serving.runtime.admission import AdmissionControl
from serving.webui.choices import Choices, check_strategy, rerankers, strategies
from serving.webui.models import PageModel

FILES = Path(__file__).parent / "static"
_NAME = "image"  # prefix of error messages, which is removed again
_MAX_ALT_TEXT = 1000  # characters of an alternative text that may be requested
_MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Page:
    """Answers the requests of the page.

    Args:
        choices: `Choices`.
        admission: `AdmissionControl`, for conversions of images before a model sees them.
        max_bytes: int. Of the largest image that may be sent.
    """

    def __init__(self, choices: Choices, admission: AdmissionControl, max_bytes: int):
        self._choices, self._admission, self._max_bytes = choices, admission, max_bytes
        self._files = {f"/web/{path.name}": path for path in FILES.iterdir() if path.suffix in _MEDIA_TYPES}
        self._files.pop("/web/index.html")
        self._files["/"] = FILES / "index.html"

    @staticmethod
    def serves(target: str) -> bool:
        """Whether a request is for the page and not for TensorFlow Serving's interface.

        Example:
            >>> Page.serves("/page/caption?model=x"), Page.serves("/v1/models/x")
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
            target: str. Raw path and query.
            body: bytes. The image, for a caption.
            headers: mapping with lower-case names.
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
            failure = ServingError(_code(error), str(error))
            reply = Reply(failure.http, error_body(failure.message), about={"code": failure.code})
        reply.headers = {**_SECURITY_HEADERS, **reply.headers}
        reply.about["method"] = "caption" if path == "/page/caption" else "page"
        return reply

    def _answer(
        self, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Reply:
        expected = "POST" if path == "/page/caption" else "GET"
        if method != expected and not (method == "HEAD" and expected == "GET"):
            about = {"code": "UNIMPLEMENTED"}
            return Reply(
                405, error_body(f"expected {expected} {path}, got {method}"), {"Allow": expected}, about
            )
        if path == "/page/models":
            return _json(
                {
                    "models": self._choices.rows(),
                    "strategies": strategies(),
                    "rerankers": rerankers(),
                    "max_bytes": self._max_bytes,
                }
            )
        if path == "/page/caption":
            if _cross_site(headers):
                raise ServingError(
                    "PERMISSION_DENIED",
                    "pages of other sites may not caption here; a proxy in front has to forward the header Host",
                )
            return _json(self._caption(_parameters(query), body, timeout))
        if path not in self._files:
            raise ServingError("NOT_FOUND", f"there is nothing at {path[:100]}")
        file = self._files[path]
        return Reply(200, file.read_bytes(), {"Content-Type": f"{_MEDIA_TYPES[file.suffix]}; charset=utf-8"})

    def _caption(self, parameters: Mapping[str, str], body: bytes, timeout: float) -> dict[str, Any]:
        start = time.perf_counter()
        model = self._choices[parameters.get("model", "")]
        strategy = parameters.get("strategy") or None
        if strategy is not None:
            check_strategy(strategy)
        max_length = _max_length(parameters.get("max_length") or str(LONGEST))
        caption = model.caption(self._image(body, timeout), strategy, timeout)
        if caption.error is not None:
            raise ImageError(caption.error)
        alternatives = [_json_caption(model, other, max_length) for other in caption.alternatives]
        elapsed = round((time.perf_counter() - start) * 1000, 1)
        answer = _json_caption(model, caption, max_length)
        return {**answer, "language": model.language(), "alternatives": alternatives, "ms": elapsed}

    def _image(self, body: bytes, timeout: float) -> bytes:
        """The image as engines take it; formats that only Pillow reads wait for a worker, because they take memory.

        Raises:
            ImageError: if it cannot be read, whatever the reason.
        """
        cheap = loading.kind(body) in ("JPEG", "PNG", "GIF") and loading.passes(body)
        try:
            with contextlib.nullcontext() if cheap else self._admission.worker(timeout):
                return loading.to_bytes(body, _NAME)
        except ImageError as error:
            raise ImageError(str(error).removeprefix(f"{_NAME}: ")) from None
        except ServingError:
            raise
        except Exception as error:  # libraries raise nearly anything for a damaged file
            log.event("unreadable_image", "warning", error=f"{type(error).__name__}: {error}"[:200])
            raise ImageError(
                "this image cannot be read: it is damaged, or its format is not supported"
            ) from None


def _cross_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser sends the request for a page of another site; other clients send no such headers."""
    if site := headers.get("sec-fetch-site"):
        return site == "cross-site"
    # Older browsers send only the origin, as do all over plain HTTP to other machines.
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()


def _json_caption(model: PageModel, caption: Caption, max_length: int) -> dict[str, Any]:
    """A caption as JSON for the page."""
    text = AltText("")
    if caption.caption.strip() or caption.outcome == DECLINED:
        # Without the hedge: the page shows a low confidence beside the text.
        text = alt_text(
            caption, max_length, model.confidence(caption), hedge=False, language=model.language()
        )
    outcome = {"text": caption.text, "outcome": caption.outcome, "ood_score": caption.ood_score}
    return {
        "caption": caption.caption,
        **({} if caption.outcome is None else outcome),
        "words": list(caption.words),
        "word_logp": [round(value, 6) for value in caption.word_logp],
        "logp": round(caption.logp, 6),
        "score": round(caption.score, 6),
        "attention": None if caption.attention is None else _rounded(caption.attention),
        "alt_text": asdict(text),
    }


def _rounded(attention: np.ndarray) -> list:
    # More digits would be invisible and make the answer four times as long.
    return np.round(attention.astype(np.float64), 4).tolist()


def _parameters(query: str) -> dict[str, str]:
    try:
        return {name: values[-1] for name, values in parse_qs(query, max_num_fields=16).items()}
    except ValueError:
        raise invalid(
            "expected model, strategy and max_length in the query, got too many other fields"
        ) from None


def _max_length(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else text[:40]
    return checks.integer(number, "max_length", SHORTEST, _MAX_ALT_TEXT, "characters")


def _json(value: Mapping[str, Any]) -> Reply:
    return Reply(200, json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def _code(error: CaptionerError) -> str:
    invalid_request = isinstance(error, ImageError | SpecError | DataError)
    return "INVALID_ARGUMENT" if invalid_request else "FAILED_PRECONDITION"
