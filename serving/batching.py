"""How many requests there may be, how many run at a time, and which of them run together."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from serving.predict import Signature, Version
from serving.status import ServingError

Arrays = Mapping[str, np.ndarray]


class Gate:
    """Bounds the requests inside the server, so that an overload costs refusals and not memory.

    Args:
        limit: int. Requests that may wait or run.
        workers: int. Runs of a model at a time.
    """

    def __init__(self, limit: int, workers: int):
        self.limit, self.inside = limit, 0
        self._lock, self._slots = threading.Lock(), threading.Semaphore(workers)

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Lets one request in.

        Raises:
            ServingError: RESOURCE_EXHAUSTED if the server is full.
        """
        with self._lock:
            if self.inside >= self.limit:
                raise ServingError(
                    "RESOURCE_EXHAUSTED",
                    f"{self.limit} requests are waiting or running already: try again later",
                )
            self.inside += 1
        try:
            yield
        finally:
            with self._lock:
                self.inside -= 1

    @contextlib.contextmanager
    def running(self, timeout: float | None = None) -> Iterator[None]:
        """Waits for a worker.

        Raises:
            ServingError: DEADLINE_EXCEEDED.
        """
        if not self._slots.acquire(timeout=timeout):
            raise ServingError("DEADLINE_EXCEEDED", "the request waited for its turn until its time was up")
        try:
            yield
        finally:
            self._slots.release()


class Queued(Version):
    """A version whose runs wait for their turn and, if asked to, are put together.

    Requests for the same outputs of the same signature, with inputs alike but for the number of rows, become
    one run, if the signature's inputs and outputs all lead with an open axis. If that run fails, each request
    is run by itself, so that none fails because of another.

    Args:
        version: `Version` that does the work.
        gate: `Gate`.
        batch: int, default 0. Most rows of a run that was put together; below 2 for none.
        wait: float, default 0. Seconds that a request waits for company.
        seen: callable, default None. Told the rows of every run.
    """

    def __init__(
        self,
        version: Version,
        gate: Gate,
        batch: int = 0,
        wait: float = 0.0,
        seen: Callable[[int], None] | None = None,
    ):
        self.number, self.signatures, self.metadata = version.number, version.signatures, version.metadata
        self._version, self._gate, self._batch, self._wait, self._seen = version, gate, batch, wait, seen
        self._batchable = {key: batch > 1 and _leads(each) for key, each in self.signatures.items()}
        self._open: dict[tuple, _Batch] = {}
        self._lock = threading.Lock()

    def run(
        self, signature: str, inputs: Arrays, outputs: Sequence[str], timeout: float | None
    ) -> dict[str, np.ndarray]:
        """See `Version.run`."""
        ends = None if timeout is None else time.monotonic() + timeout
        one = _Request(signature, inputs, tuple(outputs), ends)
        rows = one.rows()
        if not self._batchable[signature] or not 0 < rows < self._batch:
            with self._gate.running(timeout):
                return self._once(one, rows)
        batch, leads = self._join(one, rows)
        if leads:
            self._lead(batch)
        elif not batch.done.wait(timeout):
            raise ServingError("DEADLINE_EXCEEDED", "the batch was not done when the request's time was up")
        if one.error is not None:
            # A fresh one, because two threads must not raise the same.
            raise ServingError(one.error.code, one.error.message)
        return one.found

    def close(self) -> None:
        """See `Version.close`."""
        self._version.close()

    def _join(self, one: _Request, rows: int) -> tuple[_Batch, bool]:
        """The batch that a request is part of, and whether it is the first in it."""
        with self._lock:
            batch = self._open.get(one.key())
            if batch is not None and batch.rows + rows <= self._batch:
                batch.add(one, rows)
                if batch.rows == self._batch:
                    batch.full.set()
                return batch, False
            if batch is not None:
                batch.full.set()
            batch = self._open[one.key()] = _Batch()
            batch.add(one, rows)
            return batch, True

    def _lead(self, batch: _Batch) -> None:
        """Waits for company and for a turn, then runs the batch for everybody in it."""
        try:
            batch.full.wait(self._wait)
            with self._gate.running():
                with self._lock:  # whoever comes now starts the next one
                    key = batch.requests[0].key()
                    if self._open.get(key) is batch:
                        del self._open[key]
                self._together(batch)
        except Exception as error:
            for each in batch.requests:
                each.error = each.error or _as_serving_error(error)
            raise
        finally:
            batch.done.set()

    def _together(self, batch: _Batch) -> None:
        if len(batch.requests) == 1:
            return self._alone(batch.requests[0])
        first, sizes = batch.requests[0], [each.rows() for each in batch.requests]
        inputs = {
            name: np.concatenate([each.inputs[name] for each in batch.requests]) for name in first.inputs
        }
        ends = [each.ends for each in batch.requests]
        longest = None if None in ends else max(end for end in ends if end is not None)
        try:
            found = self._once(replace(first, inputs=inputs, ends=longest), batch.rows)
            if any(len(array) != batch.rows for array in found.values()):
                raise ServingError("INTERNAL", "an output does not lead with the rows of the inputs")
        except ServingError as error:
            for each in batch.requests:
                if error.code == "DEADLINE_EXCEEDED":
                    each.error = error
                else:
                    self._alone(each)
            return None
        places = np.cumsum(sizes)[:-1]
        parts = {name: np.split(array, places) for name, array in found.items()}
        for index, each in enumerate(batch.requests):
            each.found = {name: arrays[index] for name, arrays in parts.items()}
        return None

    def _alone(self, one: _Request) -> None:
        try:
            one.found = self._once(one, one.rows())
        except ServingError as error:
            one.error = error

    def _once(self, one: _Request, rows: int) -> dict[str, np.ndarray]:
        left = None if one.ends is None else one.ends - time.monotonic()
        if left is not None and left <= 0:
            raise ServingError("DEADLINE_EXCEEDED", "the request's time was up before its turn came")
        if self._seen is not None and rows > 0:
            self._seen(rows)
        return self._version.run(one.signature, one.inputs, one.outputs, left)


@dataclass(eq=False)
class _Request:
    signature: str
    inputs: Arrays
    outputs: tuple[str, ...]
    ends: float | None
    found: dict[str, np.ndarray] = field(default_factory=dict)
    error: ServingError | None = None

    def rows(self) -> int:
        """The length that all inputs lead with, 0 if there is none."""
        lengths = {len(array) if array.ndim else 0 for array in self.inputs.values()}
        return lengths.pop() if len(lengths) == 1 else 0

    def key(self) -> tuple:
        """What requests must have in common to run together."""
        alike = ((name, array.dtype.str, array.shape[1:]) for name, array in sorted(self.inputs.items()))
        return (self.signature, self.outputs, *alike)


class _Batch:
    def __init__(self) -> None:
        self.requests: list[_Request] = []
        self.rows = 0
        self.full, self.done = threading.Event(), threading.Event()

    def add(self, one: _Request, rows: int) -> None:
        self.requests.append(one)
        self.rows += rows


def _leads(signature: Signature) -> bool:
    """Whether everything that goes in or comes out leads with an open axis."""
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return all(spec.shape is not None and len(spec.shape) > 0 and spec.shape[0] == -1 for spec in specs)


def _as_serving_error(error: Exception) -> ServingError:
    return (
        error
        if isinstance(error, ServingError)
        else ServingError("INTERNAL", f"{type(error).__name__}: {error}")
    )
