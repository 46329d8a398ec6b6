"""The base of remote engines, for any protocol: batching of requests, retries and error messages."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

import numpy as np

from captioner.engines.base import Engine
from captioner.engines.remote.address import Address, Options, Scheme, parse_address
from captioner.engines.remote.failures import MESSAGES, RETRIES, Failure, one_line
from captioner.errors import EngineError
from captioner.registry import parse_spec
from captioner.signature import EXPLAIN, captions_from, missing
from captioner.types import Caption

# `check` may take 10 seconds or a sixth of `timeout`, whichever is more, so that `load` does not hang.
_CHECK_SECONDS, _CHECK_SHARE = 10.0, 1 / 6
# Exponential backoff: seconds before the first retry, and the most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_OVERHEAD = 256  # bytes of a request beside its images, and beside each of them

T = TypeVar("T")


class Transport(abc.ABC):
    """A protocol: sends requests and decodes responses, for many threads at a time.

    Each method takes `left`, the seconds until its deadline, and raises `Failure`.
    """

    protocol: ClassVar[str]

    @abc.abstractmethod
    def status(self, left: float) -> list[tuple[int, str, str]]:
        """The model's versions: (number, state, error message)."""

    @abc.abstractmethod
    def metadata(self, left: float) -> tuple[int | None, dict[str, Any]]:
        """The version that answers requests, and {signature: {"inputs" or "outputs": names}}."""

    @abc.abstractmethod
    def explain(self, images: Sequence[bytes], left: float) -> tuple[Mapping[str, np.ndarray], int | None]:
        """The outputs of the signature `explain`, and the version that computed them or None."""

    @abc.abstractmethod
    def encoded_size(self, image: bytes) -> int:
        """Bytes of an image in a request."""

    @abc.abstractmethod
    def close(self) -> None:
        """Closes connections."""


class RemoteEngine(Engine):
    """Requests captions from a server.

    Images are sent as they are, in requests of bounded number and size, several at a time. Requests that fail because
    the server cannot be reached or is busy are retried. `close` lets calls finish and refuses later ones.

    Args:
        transport: Transport.
        place: Address.
        options: Options, default None, which is the defaults.
    """

    name: ClassVar[str] = ""  # its row in `ENGINES`
    purpose = "Runs on another server."
    schemes: ClassVar[Mapping[str, Scheme]]  # of the addresses that it opens

    def __init__(self, transport: Transport, place: Address, options: Options | None = None):
        self._transport, self._place, self._options = transport, place, options or Options()
        self._version: int | None = None
        self._signatures: dict[str, Any] = {}
        self._lock, self._users, self._closed = threading.Lock(), 0, False

    @classmethod
    @abc.abstractmethod
    def connect(cls, place: Address, options: Options) -> Transport:
        """The transport of the protocol. Nothing is sent yet."""

    @classmethod
    def opens(cls, source: str) -> bool:
        """See `Engine.opens`."""
        return "://" in source and source.partition("://")[0] in cls.schemes

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """See `Engine.options`."""
        return tuple(option.name for option in dataclasses.fields(Options))

    @classmethod
    def open(cls, source: str, **options: Any) -> RemoteEngine:
        """Connects to a server, and checks that it serves the model and that captioner exported it.

        Args:
            source: str. `grpc://host:port/name`; see `captioner.engines.remote.address.parse_address`.
            **options: see `captioner.engines.remote.address.Options`.

        Returns:
            RemoteEngine.

        Raises:
            EngineError: if one of these is not the case.
            SpecError: if an option is unknown or wrong.
            MissingDependency: if the packages of the extra `serve` are not installed.
        """
        place, parsed = parse_address(source, cls.schemes, **options)
        engine = cls(cls.connect(place, parsed), place, parsed)
        try:
            engine.check()
        except BaseException:
            engine.close()
            raise
        return engine

    def check(self) -> None:
        """Raises an `EngineError` unless the server is ready to return captions."""
        seconds = max(_CHECK_SECONDS, self._options.timeout * _CHECK_SHARE)
        try:
            versions = self._retry(self._transport.status, seconds)
            wanted = self._place.version
            known = sorted((v for v in versions if wanted in (None, v[0])), reverse=True)
            if not any(state == "AVAILABLE" for _, state, _ in known):
                raise self._not_served(known)
            self._version, signatures = self._retry(self._transport.metadata, seconds)
        except Failure as failure:
            if failure.kind == "label":
                failure.detail += f"; there are the versions {', '.join(str(v[0]) for v in known)}"
            raise self._error(failure) from None
        # TensorFlow also lists the signature that initialises variables.
        self._signatures = {name: sides for name, sides in signatures.items() if not name.startswith("__")}
        explain = self._signatures.get(EXPLAIN, {"inputs": (), "outputs": ()})
        if absent := missing(explain["inputs"], explain["outputs"]):
            what = f"its signature {EXPLAIN!r} lacks {', '.join(absent)}"
            if EXPLAIN not in self._signatures:
                what = f"no signature {EXPLAIN!r} (it has {', '.join(self._signatures) or 'none'})"
            raise self._error(Failure("foreign", f"this is no captioning model of ours: {what}"))

    def predict(self, images: Sequence[bytes], strategy: str | None = None) -> list[Caption]:
        """See `Engine.predict`. The strategy is fixed at export, so none can be asked for."""
        if strategy is not None:
            raise EngineError(
                f"{self._place}: the strategy of a served model is fixed, got {parse_spec(strategy)}: "
                f"export again with it, or load the model folder itself"
            )
        with self._connection_open(new_call=True):
            return self._predict(images)

    @contextlib.contextmanager
    def _connection_open(self, new_call: bool = False) -> Iterator[None]:
        """Context in which `close` keeps the transport: a request on a closed one may read another's response."""
        with self._lock:
            if new_call and self._closed:
                raise EngineError(f"{self._place}: it was closed: load it again")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                last = self._closed and not self._users
            if last:
                self._transport.close()

    def _predict(self, images: Sequence[bytes]) -> list[Caption]:
        requests, captions = self._batch(images)
        stop = threading.Event()
        pool = ThreadPoolExecutor(min(self._options.in_flight, max(len(requests), 1)), "captioner-request")
        try:
            # A single request needs no thread, and Ctrl-C then interrupts it at once.
            run = map if len(requests) == 1 else pool.map
            responses = run(lambda indices: self._request(images, indices, stop), requests)
            for indices, response in zip(requests, responses, strict=True):
                captions.update(zip(indices, response, strict=True))
        except Failure as failure:
            raise self._error(failure) from None
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
        return [captions[i] for i in range(len(images))]

    def describe(self) -> dict[str, Any]:
        """See `Engine.describe`. The version is the last one that is known to have responded."""
        return {
            "engine": self.name,
            "source": str(self._place),
            "strategy": "as exported",
            "model": self._place.model,
            "version": self._version,
            "signatures": {name: list(sides["outputs"]) for name, sides in self._signatures.items()},
        }

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock:
            idle, self._closed = not self._closed and not self._users, True
        if idle:
            self._transport.close()

    def _batch(self, images: Sequence[bytes]) -> tuple[list[list[int]], dict[int, Caption]]:
        """The indices of the images of each request, and captions with an error for images that are too large."""
        options = self._options
        requests: list[list[int]] = []
        refused, size = {}, 0
        for index, image in enumerate(images):
            added = self._transport.encoded_size(image) + _OVERHEAD
            if added + _OVERHEAD > options.max_bytes:
                limit = Failure("large", f"{added:,} bytes of at most {options.max_bytes:,}")
                refused[index] = Caption("", error=self._message(limit))
                continue
            if not requests or len(requests[-1]) >= options.batch_size or size + added > options.max_bytes:
                requests.append([])
                size = _OVERHEAD
            requests[-1].append(index)
            size += added
        return requests, refused

    def _request(self, images: Sequence[bytes], indices: list[int], stop: threading.Event) -> list[Caption]:
        """Captions of the images at `indices`; a request that the server finds too large is split in halves."""
        sent = [images[index] for index in indices]
        try:
            with self._connection_open():  # its own, for `predict` returns early when another request fails
                outputs, version = self._retry(
                    lambda left: self._transport.explain(sent, left), self._options.timeout, stop
                )
        except Failure as failure:
            if failure.kind != "large":
                raise
            if len(indices) == 1:
                return [Caption("", error=self._message(failure))]
            half = len(indices) // 2
            return self._request(images, indices[:half], stop) + self._request(images, indices[half:], stop)
        try:
            captions = captions_from(outputs)
        except EngineError as error:
            raise Failure("foreign", f"the answer cannot be used: {error}") from None
        if len(captions) != len(sent):
            raise Failure("foreign", f"expected {len(sent)} captions in the answer, got {len(captions)}")
        self._version = version if version is not None else self._version
        return captions

    def _retry(self, call: Callable[[float], T], seconds: float, stop: threading.Event | None = None) -> T:
        """The result of `call`, retried with exponential backoff for so many seconds."""
        seconds = min(seconds, self._options.timeout)
        stop, end = stop or threading.Event(), time.monotonic() + seconds
        for attempt in itertools.count():
            try:
                return call(max(end - time.monotonic(), 0.001))
            except Failure as failure:
                failure.seconds = seconds
                most = RETRIES.get(failure.kind, 0)
                most = most if self._options.retries is None or most == 0 else self._options.retries
                # Jitter: clients that failed together shall not retry together.
                pause = min(_FIRST_PAUSE * 2.0 ** min(attempt, 16), _LONGEST_PAUSE) * random.uniform(
                    0.75, 1.25
                )
                pause = max(failure.after, pause)
                late = time.monotonic() + pause >= end
                if attempt == most or late:
                    raise
            if stop.wait(pause):
                break
        raise Failure("failed", "given up because another request failed")

    def _not_served(self, versions: Sequence[tuple[int, str, str]]) -> Exception:
        if not versions:
            wanted = "no version" if self._place.version is None else f"version {self._place.version}"
            return Failure("missing", f"{wanted} is there")
        number, state, detail = versions[0]
        if state in ("START", "LOADING"):
            wait = f"not loaded yet, version {number} is {state}: try again in a moment"
            return EngineError(f"{self._place}: {wait}")
        reason = f"its state is {state} ({self._redacted(detail)}): see the server's log"
        return EngineError(f"{self._place}: version {number} is not served, {reason}")

    def _message(self, failure: Failure) -> str:
        return MESSAGES[failure.kind].format(
            detail=self._redacted(failure.detail), protocol=self._transport.protocol, seconds=failure.seconds
        )

    def _redacted(self, detail: str) -> str:
        """A message of the server in one line, without the secret that it may repeat."""
        secret = self._options.authorization or ""
        for part in filter(None, (secret, secret.partition(" ")[2].strip())):
            detail = detail.replace(part, "...")
        return one_line(detail) or "no reason given"

    def _error(self, failure: Failure) -> EngineError:
        return EngineError(f"{self._place}: {self._message(failure)}")
