"""The engine `http`: TensorFlow Serving over REST. Needs httpx, not TensorFlow.

Uses the row format ("instances", "predictions") and not the column format ("inputs", "outputs"): TensorFlow Serving
writes the numbers of a row in one line, but those of a column one a line and indented. For three captions of up to 20
words on a 7x7 grid that is 32 kB an image against 136 kB. Over gRPC it is 13 kB.
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

_CONNECT = 10.0  # seconds to connect
_KIND_OF_STATUS = {401: "denied", 403: "denied", 404: "missing", 407: "denied", 413: "large", 429: "busy"}
_KIND_OF_STATUS |= {502: "away", 503: "busy", 504: "time"}

T = TypeVar("T")


class RestEngine(RemoteEngine):
    """Requests captions over REST: `http://host:port/name`, encrypted with `https://`.

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
    """Sends requests over REST.

    Args:
        place: Address.
        options: Options.

    Raises:
        MissingDependency: if httpx is not installed.
        EngineError: if the certificate that the options name cannot be read.
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
        return _decode("status", _versions, self._request("GET", "", None, left))

    def metadata(self, left: float) -> tuple[int | None, dict[str, Any]]:
        """See `Transport.metadata`."""
        return _decode("metadata", _signatures, self._request("GET", "/metadata", None, left))

    def explain(self, images: Sequence[bytes], left: float) -> tuple[Mapping[str, np.ndarray], int | None]:
        """See `Transport.explain`. Responses do not hold the version."""
        rows = ",".join(f'{{"b64":"{base64.b64encode(image).decode()}"}}' for image in images)
        body = f'{{"signature_name":"{EXPLAIN}","instances":[{rows}]}}'
        answer = self._request("POST", ":predict", body.encode(), left)
        return _decode("predictions", _columns, answer), None

    def encoded_size(self, image: bytes) -> int:
        """See `Transport.encoded_size`."""
        return (len(image) + 2) // 3 * 4

    def close(self) -> None:
        """See `Transport.close`."""
        self._client.close()

    def _request(self, method: str, what: str, body: bytes | None, left: float) -> Any:
        """The JSON value of the response."""
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
    """The failure of a response with a status other than 200."""
    try:
        message = str(_json(data)["error"])
    except (Failure, KeyError, TypeError):
        message = ""
    kind = _KIND_OF_STATUS.get(status, "failed")
    if not message and (status < 401 or status == 404):
        kind = "foreign"  # no error in the format of TensorFlow Serving
    elif "not found in signature def" in message:
        kind = "foreign"
    elif LABEL in message:
        kind = "label"
    elif TOO_LARGE.search(message):
        kind = "large"
    elif message and status in (429, 503):  # from the server itself, so it can be reached
        kind = unavailable(message, "busy")
    if not message and 300 <= status < 400 and "location" in headers:
        message = f"go to {headers['location']}"
    after = _seconds(headers.get("retry-after", ""))
    return Failure(kind, f"HTTP {status}: {message}" if message else f"HTTP {status}", after)


def _seconds(text: str) -> float:
    """The seconds in a Retry-After header; 0 if it holds a date."""
    return min(float(text), 60.0) if text.isascii() and text.isdigit() else 0.0


def _json(data: bytes) -> Any:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        return json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        start = data[:1000].decode("utf-8", "replace")  # messages truncate it further
        raise Failure("foreign", f"the answer is not JSON ({error}): {start!r}") from None


def _versions(answer: Any) -> list[tuple[int, str, str]]:
    return [
        (int(entry["version"]), str(entry["state"]), str(entry.get("status", {}).get("error_message", "")))
        for entry in answer["model_version_status"]
    ]


def _signatures(answer: Any) -> tuple[int, dict[str, dict[str, list[str]]]]:
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    return int(answer["model_spec"]["version"]), {
        name: {side: sorted(signature[side]) for side in ("inputs", "outputs")}
        for name, signature in sorted(signatures.items())
    }


def _columns(answer: Any) -> dict[str, np.ndarray]:
    rows = answer["predictions"]
    if not all(row.keys() == rows[0].keys() for row in rows):
        raise ValueError("rows with different names")
    return {name: np.asarray([row[name] for row in rows]) for name in rows[0]}


def _decode(what: str, decoder: Callable[[Any], T], answer: Any) -> T:
    """The result of a decoder on a response; a `Failure` if it does not have the expected format."""
    try:
        return decoder(answer)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise Failure("foreign", f"expected {what} as TensorFlow Serving words it, got {reason}") from None
