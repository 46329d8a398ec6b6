"""Asks a server for captions, whatever the protocol: what to send, when to repeat it, what to say when it fails."""

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
from captioner.engines.remote.address import Address, Options, Scheme, address
from captioner.engines.remote.failures import REPEATED, SAYINGS, Failure, one_line
from captioner.errors import EngineError
from captioner.registry import parse_spec
from captioner.signature import EXPLAIN, captions_from, missing
from captioner.types import Caption

# Seconds that a look at the server may take, so that `load` does not hang, and the share of `timeout`.
_CHECK, _SHARE = 10.0, 1 / 6
# Seconds before the first repeat, and at most: each pause is twice as long as the one before.
_PAUSE, _LONGEST = 0.1, 2.0
_ROOM = 256  # bytes of a request beside its images, and beside each of them

T = TypeVar("T")


class Transport(abc.ABC):
    """One protocol: puts questions on the wire and takes answers off it, for many threads at a time.

    Each method takes `left`, the seconds that it may take, and raises `Failure`.
    """

    protocol: ClassVar[str]

    @abc.abstractmethod
    def status(self, left: float) -> list[tuple[int, str, str]]:
        """The model's versions: (number, state, what the server says of it)."""

    @abc.abstractmethod
    def metadata(self, left: float) -> tuple[int | None, dict[str, Any]]:
        """The version that would answer, and {signature: {"inputs" or "outputs": names}}."""

    @abc.abstractmethod
    def explain(self, images: Sequence[bytes], left: float) -> tuple[Mapping[str, np.ndarray], int | None]:
        """The outputs of the signature `explain`, and the version that gave them if that is told."""

    @abc.abstractmethod
    def weight(self, image: bytes) -> int:
        """Bytes that an image takes in a request."""

    @abc.abstractmethod
    def close(self) -> None:
        """Closes connections."""


class RemoteEngine(Engine):
    """Asks a server for captions.

    Images are sent as they are, in requests of bounded number and size, several at a time. What fails because the
    server is away for a moment or busy is repeated after a pause. `close` lets calls finish and refuses later ones.

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
        """What speaks the protocol. Nothing is sent yet."""

    @classmethod
    def opens(cls, source: str) -> bool:
        """See `Engine.opens`."""
        return "://" in source and source.partition("://")[0] in cls.schemes

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """See `Engine.options`."""
        return tuple(option.name for option in dataclasses.fields(Options))

    @classmethod
    def open(cls, source: str, **given: Any) -> RemoteEngine:
        """Looks whether the server is there, serves the model, and the model is one of ours.

        Args:
            source: str. `grpc://host:port/name`; see `captioner.engines.remote.address.address`.
            **given: see `captioner.engines.remote.address.Options`.

        Returns:
            RemoteEngine.

        Raises:
            EngineError: if not, saying which.
            SpecError: if an option is unknown or wrong.
            MissingDependency: if the packages of the extra `serve` are not installed.
        """
        place, options = address(source, cls.schemes, **given)
        engine = cls(cls.connect(place, options), place, options)
        try:
            engine.check()
        except BaseException:
            engine.close()
            raise
        return engine

    def check(self) -> None:
        """Raises EngineError unless the server would answer with captions."""
        seconds = max(_CHECK, self._options.timeout * _SHARE)
        try:
            versions = self._repeat(self._transport.status, seconds)
            wanted = self._place.version
            known = sorted((v for v in versions if wanted in (None, v[0])), reverse=True)
            if not any(state == "AVAILABLE" for _, state, _ in known):
                raise self._not_served(known)
            self._version, found = self._repeat(self._transport.metadata, seconds)
        except Failure as failure:
            if failure.kind == "label":
                failure.detail += f"; there are the versions {', '.join(str(v[0]) for v in known)}"
            raise self._error(failure) from None
        # TensorFlow lists what initialises the model, too.
        self._signatures = {name: sides for name, sides in found.items() if not name.startswith("__")}
        explain = self._signatures.get(EXPLAIN, {"inputs": (), "outputs": ()})
        if lacking := missing(explain["inputs"], explain["outputs"]):
            what = f"its signature {EXPLAIN!r} lacks {', '.join(lacking)}"
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
        with self._held(new=True):
            return self._predict(images)

    @contextlib.contextmanager
    def _held(self, new: bool = False) -> Iterator[None]:
        """Keeps the connection open meanwhile: one that is closed under a request may read somebody else's answer."""
        with self._lock:
            if new and self._closed:
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
        requests, captions = self._requests(images)
        stop = threading.Event()
        pool = ThreadPoolExecutor(min(self._options.in_flight, max(len(requests), 1)), "captioner-ask")
        try:
            # One request needs no thread, and Ctrl-C then ends it at once.
            run = map if len(requests) == 1 else pool.map
            for places, found in zip(
                requests, run(lambda r: self._ask(images, r, stop), requests), strict=True
            ):
                for place, caption in zip(places, found, strict=True):
                    captions[place] = caption
        except Failure as failure:
            raise self._error(failure) from None
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
        return [captions[i] for i in range(len(images))]

    def describe(self) -> dict[str, Any]:
        """See `Engine.describe`. The version is the last one that is known to have answered."""
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

    def _requests(self, images: Sequence[bytes]) -> tuple[list[list[int]], dict[int, Caption]]:
        """Places of the images that go together, and what there is to say of those too large to go at all."""
        options = self._options
        requests: list[list[int]] = []
        refused, size = {}, 0
        for place, image in enumerate(images):
            weight = self._transport.weight(image) + _ROOM
            if weight + _ROOM > options.max_bytes:
                limit = Failure("large", f"{weight:,} bytes of at most {options.max_bytes:,}")
                refused[place] = Caption("", error=self._say(limit))
                continue
            if not requests or len(requests[-1]) >= options.batch_size or size + weight > options.max_bytes:
                requests.append([])
                size = _ROOM
            requests[-1].append(place)
            size += weight
        return requests, refused

    def _ask(self, images: Sequence[bytes], places: list[int], stop: threading.Event) -> list[Caption]:
        """Captions of some of the images; a request that proves too large goes in halves."""
        sent = [images[place] for place in places]
        try:
            with self._held():  # of its own, for `predict` leaves it behind when another request fails
                outputs, version = self._repeat(
                    lambda left: self._transport.explain(sent, left), self._options.timeout, stop
                )
        except Failure as failure:
            if failure.kind != "large":
                raise
            if len(places) == 1:
                return [Caption("", error=self._say(failure))]
            half = len(places) // 2
            return self._ask(images, places[:half], stop) + self._ask(images, places[half:], stop)
        try:
            found = captions_from(outputs)
        except EngineError as error:
            raise Failure("foreign", f"the answer cannot be used: {error}") from None
        if len(found) != len(sent):
            raise Failure("foreign", f"expected {len(sent)} captions in the answer, got {len(found)}")
        self._version = version if version is not None else self._version
        return found

    def _repeat(self, call: Callable[[float], T], seconds: float, stop: threading.Event | None = None) -> T:
        """What `call` gives within so many seconds, or at the last attempt."""
        seconds = min(seconds, self._options.timeout)
        stop, end = stop or threading.Event(), time.monotonic() + seconds
        for attempt in itertools.count():
            try:
                return call(max(end - time.monotonic(), 0.001))
            except Failure as failure:
                failure.seconds = seconds
                most = REPEATED.get(failure.kind, 0)
                most = most if self._options.retries is None or most == 0 else self._options.retries
                # Not all in step, lest clients that failed together come back together.
                pause = min(_PAUSE * 2.0 ** min(attempt, 16), _LONGEST) * random.uniform(0.75, 1.25)
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
        number, state, said = versions[0]
        if state in ("START", "LOADING"):
            wait = f"not loaded yet, version {number} is {state}: try again in a moment"
            return EngineError(f"{self._place}: {wait}")
        reason = f"its state is {state} ({self._shown(said)}): see the server's log"
        return EngineError(f"{self._place}: version {number} is not served, {reason}")

    def _say(self, failure: Failure) -> str:
        return SAYINGS[failure.kind].format(
            detail=self._shown(failure.detail), protocol=self._transport.protocol, seconds=failure.seconds
        )

    def _shown(self, said: str) -> str:
        """What a server said, as a message may show it: it may well repeat the secret that it did not like."""
        secret = self._options.authorization or ""
        for part in filter(None, (secret, secret.partition(" ")[2].strip())):
            said = said.replace(part, "...")
        return one_line(said) or "no reason given"

    def _error(self, failure: Failure) -> EngineError:
        return EngineError(f"{self._place}: {self._say(failure)}")
