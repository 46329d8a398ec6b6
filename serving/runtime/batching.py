"""How many requests there may be, how many run at a time, and which of them run together."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from serving.protocol.predict import Signature, Version, caller_gone
from serving.protocol.status import ServingError, invalid
from serving.runtime import log

Arrays = Mapping[str, np.ndarray]
_LONGEST = 86_400.0  # seconds


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
    is run by itself, so that none fails because of another. A batch has a thread of its own: every request in it
    waits for its own time and no longer, and one whose time is up, or whose client has gone, is left out.

    Args:
        version: `Version` that does the work.
        gate: `Gate`.
        batch: int, default 0. Most rows of a run that was put together, and of a request then; below 2 for none.
        wait: float, default 0. Seconds that a request waits for company.
        seen: callable, default None. Told the rows of every run.
        most: int, default 0, which is no limit. Most rows of a request that is not put together with others: a row of
            a few bytes may take a megabyte in the model.
    """

    def __init__(
        self,
        version: Version,
        gate: Gate,
        batch: int = 0,
        wait: float = 0.0,
        seen: Callable[[int], None] | None = None,
        most: int = 0,
    ):
        self.number, self.signatures, self.metadata = version.number, version.signatures, version.metadata
        self._version, self._gate, self._batch, self._wait, self._seen = version, gate, batch, wait, seen
        self._batchable = {key: batch > 1 and _leads(each) for key, each in self.signatures.items()}
        self._open: dict[tuple, _Batch] = {}
        self._lock = threading.Lock()
        self._batches, self._closed, self._most = 0, False, most

    def run(
        self, signature: str, inputs: Arrays, outputs: Sequence[str], timeout: float | None
    ) -> dict[str, np.ndarray]:
        """See `Version.run`.

        Raises:
            ServingError: besides, CANCELLED if the client has gone before the request's turn came, and
                INVALID_ARGUMENT for more rows than a batch may hold.
        """
        # Clients may ask for more seconds than a lock can count.
        timeout = None if timeout is None else min(timeout, _LONGEST)
        ends = None if timeout is None else time.monotonic() + timeout
        one = _Request(signature, inputs, tuple(outputs), ends, caller_gone.get())
        rows, batched = one.rows(), self._batchable[signature]
        most, largest = self._batch if batched else self._most, one.longest()
        if most and largest > most:
            option = "--batch" if batched else "--max-rows"
            raise invalid(
                f"Task size {largest} is larger than maximum input batch size {most}: send fewer at a time, or raise "
                f"{option}"
            )
        if not batched or rows == 0:
            with self._gate.running(timeout):
                return self._once(one, rows)
        self._join(one, rows)
        if not one.done.wait(timeout):
            raise ServingError("DEADLINE_EXCEEDED", "the batch was not done when the request's time was up")
        if one.error is not None:
            raise one.error
        return one.found

    def close(self) -> None:
        """See `Version.close`; a batch that runs for requests that have left is let finish."""
        with self._lock:
            idle, self._closed = not self._closed and not self._batches, True
        if idle:
            self._version.close()

    def _join(self, one: _Request, rows: int) -> None:
        """Puts a request into a batch, which is begun if there is none with room."""
        with self._lock:
            batch = self._open.get(one.key())
            if batch is None or batch.rows + rows > self._batch:
                if batch is not None:
                    batch.full.set()
                batch = _Batch()
                # It gets no further than the lock; where no thread can be had, nobody waits for it.
                threading.Thread(target=self._serve, args=(batch,), name="batch", daemon=True).start()
                self._open[one.key()] = batch
                self._batches += 1
            batch.requests.append(one)
            batch.rows += rows
            if batch.rows == self._batch:
                batch.full.set()

    def _serve(self, batch: _Batch) -> None:
        """Waits for company and for a turn, then runs the batch for everybody in it who still waits."""
        error = ServingError("INTERNAL", "the batch was not run")
        try:
            batch.full.wait(self._wait)
            self._take_turn(batch)
        except ServingError as found:
            error = found
        except Exception as found:
            error = _bug(found)
        finally:
            with self._lock:
                self._withdraw(batch)
                self._batches -= 1
                last = self._closed and not self._batches
            for each in batch.requests:
                if not each.done.is_set():
                    each.answer(error)
            if last:
                self._version.close()

    def _take_turn(self, batch: _Batch) -> None:
        # Whoever comes while the batch waits joins it, so its time is looked at again.
        while True:
            with self._lock:
                left = _left(_longest(batch.requests))
                if left is not None and left <= 0:
                    self._withdraw(batch)  # and whoever comes now starts the next one
            with contextlib.ExitStack() as turn:
                try:
                    turn.enter_context(self._gate.running(left))
                except ServingError:
                    if batch.open:
                        continue
                    raise
                with self._lock:
                    self._withdraw(batch)
                self._together(batch)
                return

    def _withdraw(self, batch: _Batch) -> None:
        """Lets nobody join a batch any more."""
        batch.open = False
        if batch.requests and self._open.get(batch.requests[0].key()) is batch:
            del self._open[batch.requests[0].key()]

    def _together(self, batch: _Batch) -> None:
        requests = [each for each in batch.requests if not self._over(each)]
        if len(requests) < 2:
            return self._alone(requests)
        first, sizes = requests[0], [each.rows() for each in requests]
        inputs = {name: np.concatenate([each.inputs[name] for each in requests]) for name in first.inputs}
        whole = _Request(first.signature, inputs, first.outputs, _longest(requests))
        try:
            found = self._once(whole, sum(sizes))
            if any(len(array) != sum(sizes) for array in found.values()):
                raise ServingError("INTERNAL", "an output does not lead with the rows of the inputs")
        except Exception:  # whatever one of them does must not cost the others
            return self._alone(requests)
        places = np.cumsum(sizes)[:-1]
        parts = {name: np.split(array, places) for name, array in found.items()}
        for index, each in enumerate(requests):
            each.answer({name: arrays[index] for name, arrays in parts.items()})
        return None

    def _alone(self, requests: Sequence[_Request]) -> None:
        """Runs requests one by one, each within its own time."""
        for one in requests:
            try:
                one.answer(self._once(one, one.rows()))
            except ServingError as error:
                one.answer(error)
            except Exception as error:
                one.answer(_bug(error))

    def _over(self, one: _Request) -> bool:
        """Whether nobody waits for a request any more; it has its answer then."""
        try:
            one.check()
        except ServingError as error:
            one.answer(error)
            return True
        return False

    def _once(self, one: _Request, rows: int) -> dict[str, np.ndarray]:
        one.check()
        if self._seen is not None and rows > 0:
            self._seen(rows)
        return self._version.run(one.signature, one.inputs, one.outputs, _left(one.ends))


@dataclass(eq=False)
class _Request:
    signature: str
    inputs: Arrays
    outputs: tuple[str, ...]
    ends: float | None
    gone: Callable[[], bool] | None = None
    found: dict[str, np.ndarray] = field(default_factory=dict)
    error: ServingError | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def answer(self, answer: dict[str, np.ndarray] | ServingError) -> None:
        """Ends the wait of whoever asked."""
        if isinstance(answer, ServingError):
            # A fresh one, because two threads must not raise the same.
            self.error = ServingError(answer.code, answer.message)
        else:
            self.found = answer
        self.done.set()

    def check(self) -> None:
        """Raises ServingError if nobody waits any more."""
        if self.gone is not None and self.gone():
            raise ServingError("CANCELLED", "the client has gone before the request's turn came")
        if self.ends is not None and self.ends <= time.monotonic():
            raise ServingError("DEADLINE_EXCEEDED", "the request's time was up before its turn came")

    def rows(self) -> int:
        """The length that all inputs lead with, 0 if there is none."""
        lengths = {len(array) if array.ndim else 0 for array in self.inputs.values()}
        return lengths.pop() if len(lengths) == 1 else 0

    def longest(self) -> int:
        """The largest length that an input leads with."""
        return max((len(array) for array in self.inputs.values() if array.ndim), default=0)

    def key(self) -> tuple:
        """What requests must have in common to run together."""
        alike = ((name, array.dtype.str, array.shape[1:]) for name, array in sorted(self.inputs.items()))
        return (self.signature, self.outputs, *alike)


class _Batch:
    def __init__(self) -> None:
        self.requests: list[_Request] = []
        self.rows, self.open, self.full = 0, True, threading.Event()


def _longest(requests: Sequence[_Request]) -> float | None:
    """When the last of some requests gives up, None for never."""
    ends = [each.ends for each in requests]
    return None if None in ends else max(end for end in ends if end is not None)


def _bug(error: Exception) -> ServingError:
    """What clients are told of an error that is no `ServingError`: not its insides."""
    log.event("bug", "error", error=f"{type(error).__name__}: {error}")
    return ServingError("INTERNAL", "the server failed; its log says how")


def _left(ends: float | None) -> float | None:
    return None if ends is None else max(0.0, ends - time.monotonic())


def _leads(signature: Signature) -> bool:
    """Whether everything that goes in or comes out leads with an open axis."""
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return all(spec.shape is not None and len(spec.shape) > 0 and spec.shape[0] == -1 for spec in specs)
