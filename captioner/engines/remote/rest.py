"""Asks TensorFlow Serving, or a server like it, over REST. Needs httpx, not TensorFlow.

Rows ("instances", "predictions") and not columns ("inputs", "outputs"), because TensorFlow Serving writes a
row's numbers in one line and a column's each in a line of its own, indented by its depth: for three captions
of up to 20 words on a 7x7 grid, 32 kB an image against 136 kB. Over gRPC they are 13 kB.
"""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from captioner.engines.remote.address import Address, Options, Scheme, root_certificate
from captioner.engines.remote.base import RemoteEngine, Transport
from captioner.engines.remote.failures import LABEL, TOO_LARGE, Failure, unavailable
from captioner.errors import MissingDependency
from captioner.signature import EXPLAIN

_CONNECT = 10.0  # seconds that a connection may take to come about
_KINDS = {401: "denied", 403: "denied", 404: "missing", 407: "denied", 413: "large", 429: "busy"}
_KINDS |= {502: "away", 503: "busy", 504: "time"}

T = TypeVar("T")


class RestEngine(RemoteEngine):
    """Asks a server over REST: `http://host:port/name`, encrypted with `https://`.

    Example:
        >>> RestEngine.open("http://localhost:8501")
        Traceback (most recent call last):
        ...
        captioner.errors.EngineError: expected http://host:port/name[/versions/N or /labels/L], got http://localhost:8501
    """

    name, sources = "http", "http://host:port/name"
    schemes = {"http": Scheme(secure=False, port=80), "https": Scheme(secure=True, port=443)}

    @classmethod
    def connect(cls, place: Address, options: Options) -> Transport:
        """See `RemoteEngine.connect`."""
        return RestTransport(place, options)


class RestTransport(Transport):
    """Speaks REST.

    Args:
        place: Address.
        options: Options.

    Raises:
        MissingDependency: if httpx is not installed.
        EngineError: if there is no certificate where the options say.
    """

    protocol = "REST"

    def __init__(self, place: Address, options: Options):
        try:
            import httpx
        except ImportError as error:
            raise MissingDependency(error.name or "httpx", "serve", "asking a server over REST") from None
        self._httpx, self._limit = httpx, options.max_bytes
        scheme = "https" if place.secure else "http"
        self._url = f"{scheme}://{place.server}{place.base}/v1/models/{place.path}"
        trusted: Any = True
        if (roots := root_certificate(options)) is not None:
            trusted = ssl.create_default_context(cadata=roots.decode("ascii", "replace"))
        headers = {"Content-Type": "application/json"}
        if options.authorization:
            headers["Authorization"] = options.authorization
        self._client = httpx.Client(
            verify=trusted,
            headers=headers,
            limits=httpx.Limits(max_keepalive_connections=options.in_flight),
        )

    def status(self, left: float) -> list[tuple[int, str, str]]:
        """See `Transport.status`."""
        return _read("status", _versions, self._ask("GET", "", None, left))

    def metadata(self, left: float) -> tuple[int | None, dict[str, Any]]:
        """See `Transport.metadata`."""
        return _read("metadata", _signatures, self._ask("GET", "/metadata", None, left))

    def explain(self, images: Sequence[bytes], left: float) -> tuple[Mapping[str, np.ndarray], int | None]:
        """See `Transport.explain`. The answer does not tell the version."""
        rows = ",".join(f'{{"b64":"{base64.b64encode(image).decode()}"}}' for image in images)
        body = f'{{"signature_name":"{EXPLAIN}","instances":[{rows}]}}'
        answer = self._ask("POST", ":predict", body.encode(), left)
        return _read("predictions", _columns, answer), None

    def weight(self, image: bytes) -> int:
        """See `Transport.weight`."""
        return (len(image) + 2) // 3 * 4

    def close(self) -> None:
        """See `Transport.close`."""
        self._client.close()

    def _ask(self, method: str, what: str, body: bytes | None, left: float) -> Any:
        """The JSON value that the server answers."""
        httpx, end = self._httpx, time.monotonic() + left
        limits = httpx.Timeout(left, connect=min(left, _CONNECT))
        data = bytearray()
        try:
            with self._client.stream(method, self._url + what, content=body, timeout=limits) as answer:
                for chunk in answer.iter_bytes():
                    data += chunk
                    if len(data) > self._limit:
                        raise Failure("large", f"an answer of more than {self._limit:,} bytes")
                    if time.monotonic() > end:
                        raise Failure("time", "the answer came too slowly")
        except httpx.ConnectTimeout:
            raise Failure("away", "no connection came about") from None
        except httpx.TimeoutException as error:
            raise Failure("time", type(error).__name__) from None
        except httpx.ConnectError as error:
            unsafe = "SSL" in str(error) or "certificate" in str(error)
            raise Failure("tls" if unsafe else "away", str(error)) from None
        except httpx.TransportError as error:  # dropped, before or in the middle of the answer
            raise Failure("away", str(error) or type(error).__name__) from None
        except httpx.DecodingError as error:
            raise Failure("foreign", f"the answer cannot be unpacked: {error}") from None
        except RuntimeError:  # of a closed client
            raise Failure("failed", "the connection was closed meanwhile") from None
        if answer.status_code != 200:
            raise _failure(answer.status_code, bytes(data), answer.headers)
        return _json(bytes(data))


def _failure(status: int, data: bytes, headers: Mapping[str, str]) -> Failure:
    try:
        said = str(_json(data)["error"])
    except (Failure, KeyError, TypeError):
        said = ""
    kind = _KINDS.get(status, "failed")
    if not said and (status < 401 or status == 404):
        kind = "foreign"  # not even an error as TensorFlow Serving words it
    elif "not found in signature def" in said:
        kind = "foreign"
    elif LABEL in said:
        kind = "label"
    elif TOO_LARGE.search(said):
        kind = "large"
    elif said and status in (429, 503):  # the server's own words: it is there
        kind = unavailable(said, "busy")
    if not said and 300 <= status < 400 and "location" in headers:
        said = f"go to {headers['location']}"
    after = _seconds(headers.get("retry-after", ""))
    return Failure(kind, f"HTTP {status}: {said}" if said else f"HTTP {status}", after)


def _seconds(text: str) -> float:
    """What Retry-After says, if that is seconds and not a date."""
    return min(float(text), 60.0) if text.isascii() and text.isdigit() else 0.0


def _json(data: bytes) -> Any:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        return json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        start = data[:1000].decode("utf-8", "replace")  # cut short when it is shown
        raise Failure("foreign", f"the answer is not JSON ({error}): {start!r}") from None


def _versions(answer: Any) -> list[tuple[int, str, str]]:
    return [
        (int(found["version"]), str(found["state"]), str(found.get("status", {}).get("error_message", "")))
        for found in answer["model_version_status"]
    ]


def _signatures(answer: Any) -> tuple[int, dict[str, dict[str, list[str]]]]:
    found = answer["metadata"]["signature_def"]["signature_def"]
    return int(answer["model_spec"]["version"]), {
        name: {side: sorted(found[name][side]) for side in ("inputs", "outputs")} for name in sorted(found)
    }


def _columns(answer: Any) -> dict[str, np.ndarray]:
    rows = answer["predictions"]
    if not all(row.keys() == rows[0].keys() for row in rows):
        raise ValueError("rows of different names")
    return {name: np.asarray([row[name] for row in rows]) for name in rows[0]}


def _read(what: str, reader: Callable[[Any], T], answer: Any) -> T:
    """What a reader makes of an answer, whatever the answer is."""
    try:
        return reader(answer)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise Failure("foreign", f"expected {what} as TensorFlow Serving words it, got {reason}") from None
