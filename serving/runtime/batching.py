"""Dynamic batching: concurrent requests that are alike become one run of the model."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from serving.protocol.predict import Signature, Version, client_disconnected
from serving.protocol.status import ServingError, invalid
from serving.runtime import log
from serving.runtime.admission import AdmissionControl

Arrays = Mapping[str, np.ndarray]
_MAX_TIMEOUT = 86_400.0  # seconds; clients may ask for more than a lock can count


class BatchingVersion(Version):
    """A version whose runs wait for a worker and, with `max_batch_size`, are batched.

    Requests for the same outputs of the same signature, whose inputs differ in nothing but their rows, become one
    run, if the signature's inputs and outputs all lead with an open axis. If that run fails, each request is run
    by itself, so that an invalid request fails alone. A batch has a thread of its own: every request in it keeps its
    own deadline, and one whose deadline has passed, or whose client has disconnected, is left out.

    Args:
        version: `Version` that does the work.
        admission: `AdmissionControl`.
        max_batch_size: int, default 0. Maximum rows of a batch, and of one request then; below 2 for no batching.
        batching_window: float, default 0. Seconds that a batch stays open for further requests.
        on_run: callable, default None. Called with the rows of every run.
        max_rows: int, default 0, which is no limit. Maximum rows of a request that is not batched: a row of a few
            bytes may take a megabyte in the model.
    """

    def __init__(
        self,
        version: Version,
        admission: AdmissionControl,
        max_batch_size: int = 0,
        batching_window: float = 0.0,
        on_run: Callable[[int], None] | None = None,
        max_rows: int = 0,
    ):
        self.number, self.signatures, self.metadata = version.number, version.signatures, version.metadata
        self._version, self._admission, self._on_run = version, admission, on_run
        self._max_batch_size, self._window, self._max_rows = max_batch_size, batching_window, max_rows
        self._batched = {
            key: max_batch_size > 1 and _batchable(signature) for key, signature in self.signatures.items()
        }
        self._open: dict[tuple, _Batch] = {}
        self._lock = threading.Lock()
        self._batches, self._closed = 0, False

    def run(
        self, signature: str, inputs: Arrays, outputs: Sequence[str], timeout: float | None
    ) -> dict[str, np.ndarray]:
        """See `Version.run`.

        Raises:
            ServingError: besides, CANCELLED if the client disconnected before the request was run, and
                INVALID_ARGUMENT for more rows than a batch may hold.
        """
        timeout = None if timeout is None else min(timeout, _MAX_TIMEOUT)
        deadline = None if timeout is None else time.monotonic() + timeout
        request = _Request(signature, inputs, tuple(outputs), deadline, client_disconnected.get())
        rows, batched = request.rows(), self._batched[signature]
        self._check_size(request, batched)
        if not batched or rows == 0:
            with self._admission.worker(timeout):
                return self._run_request(request, rows)
        self._enqueue(request, rows)
        if not request.done.wait(timeout):
            raise ServingError("DEADLINE_EXCEEDED", "the request's deadline passed before its batch was done")
        if request.error is not None:
            raise request.error
        return request.result

    def close(self) -> None:
        """See `Version.close`; a batch that still runs is let finish."""
        with self._lock:
            idle, self._closed = not self._closed and not self._batches, True
        if idle:
            self._version.close()

    def _check_size(self, request: _Request, batched: bool) -> None:
        limit, size = self._max_batch_size if batched else self._max_rows, request.size()
        if limit and size > limit:
            option = "--batch" if batched else "--max-rows"
            raise invalid(
                f"Task size {size} is larger than maximum input batch size {limit}: send fewer at a time, or raise "
                f"{option}"
            )

    def _enqueue(self, request: _Request, rows: int) -> None:
        """Puts a request into the open batch of its kind, or into a new one if there is none with room."""
        key = request.key()
        with self._lock:
            batch = self._open.get(key)
            if batch is None or batch.rows + rows > self._max_batch_size:
                if batch is not None:
                    batch.full.set()
                batch = _Batch()
                # Started before the batch is registered: where no thread can be had, nobody waits for it.
                threading.Thread(target=self._run_batch, args=(batch,), name="batch", daemon=True).start()
                self._open[key] = batch
                self._batches += 1
            batch.requests.append(request)
            batch.rows += rows
            if batch.rows == self._max_batch_size:
                batch.full.set()

    def _run_batch(self, batch: _Batch) -> None:
        """The thread of a batch: waits for the batching window and for a worker, then runs what still is wanted."""
        failure = ServingError("INTERNAL", "the batch was not run")
        try:
            batch.full.wait(self._window)
            self._run_when_admitted(batch)
        except ServingError as error:
            failure = error
        except Exception as error:
            failure = _internal(error)
        finally:
            with self._lock:
                self._close_batch(batch)
                self._batches -= 1
                last = self._closed and not self._batches
            for request in batch.requests:
                if not request.done.is_set():
                    request.resolve(failure)
            if last:
                self._version.close()

    def _run_when_admitted(self, batch: _Batch) -> None:
        # A request that joins while the batch waits for a worker may extend the deadline, so it is computed again.
        while True:
            with self._lock:
                timeout = _remaining(_latest_deadline(batch.requests))
                if timeout is not None and timeout <= 0:
                    self._close_batch(batch)  # later requests start the next one
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(self._admission.worker(timeout))
                except ServingError:
                    if batch.open:
                        continue
                    raise
                with self._lock:
                    self._close_batch(batch)
                self._run_joined(batch)
                return

    def _close_batch(self, batch: _Batch) -> None:
        """Admits no further requests to a batch; the lock is held."""
        batch.open = False
        if batch.requests and self._open.get(batch.requests[0].key()) is batch:
            del self._open[batch.requests[0].key()]

    def _run_joined(self, batch: _Batch) -> None:
        requests = [request for request in batch.requests if not request.expired()]
        if len(requests) < 2:
            return self._run_separately(requests)
        first, sizes = requests[0], [request.rows() for request in requests]
        inputs = {name: np.concatenate([r.inputs[name] for r in requests]) for name in first.inputs}
        joined = _Request(first.signature, inputs, first.outputs, _latest_deadline(requests))
        try:
            outputs = self._run_request(joined, sum(sizes))
            if any(len(array) != sum(sizes) for array in outputs.values()):
                raise ServingError("INTERNAL", "an output does not lead with the rows of the inputs")
        except Exception:  # an invalid request must not fail the others
            return self._run_separately(requests)
        offsets = np.cumsum(sizes)[:-1]
        parts = {name: np.split(array, offsets) for name, array in outputs.items()}
        for index, request in enumerate(requests):
            request.resolve({name: arrays[index] for name, arrays in parts.items()})
        return None

    def _run_separately(self, requests: Sequence[_Request]) -> None:
        """Runs requests one by one, each within its own deadline."""
        for request in requests:
            try:
                request.resolve(self._run_request(request, request.rows()))
            except ServingError as error:
                request.resolve(error)
            except Exception as error:
                request.resolve(_internal(error))

    def _run_request(self, request: _Request, rows: int) -> dict[str, np.ndarray]:
        request.check()
        if self._on_run is not None and rows > 0:
            self._on_run(rows)
        timeout = _remaining(request.deadline)
        return self._version.run(request.signature, request.inputs, request.outputs, timeout)


@dataclass(eq=False)
class _Request:
    signature: str
    inputs: Arrays
    outputs: tuple[str, ...]
    deadline: float | None
    disconnected: Callable[[], bool] | None = None
    result: dict[str, np.ndarray] = field(default_factory=dict)
    error: ServingError | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def resolve(self, result: dict[str, np.ndarray] | ServingError) -> None:
        """Sets the result or the error, and wakes the thread that waits for it."""
        if isinstance(result, ServingError):
            # A new instance, because two threads must not raise the same.
            self.error = ServingError(result.code, result.message)
        else:
            self.result = result
        self.done.set()

    def check(self) -> None:
        """Raises ServingError if nobody waits for the result any more."""
        if self.disconnected is not None and self.disconnected():
            raise ServingError("CANCELLED", "the client disconnected before the request was run")
        if self.deadline is not None and self.deadline <= time.monotonic():
            raise ServingError("DEADLINE_EXCEEDED", "the request's deadline passed before it was run")

    def expired(self) -> bool:
        """Whether nobody waits for the result any more; the request is resolved with the error then."""
        try:
            self.check()
        except ServingError as error:
            self.resolve(error)
            return True
        return False

    def rows(self) -> int:
        """The length of the first axis that all inputs share, 0 if they share none."""
        lengths = {len(array) if array.ndim else 0 for array in self.inputs.values()}
        return lengths.pop() if len(lengths) == 1 else 0

    def size(self) -> int:
        """The largest length of a first axis."""
        return max((len(array) for array in self.inputs.values() if array.ndim), default=0)

    def key(self) -> tuple:
        """What requests must have in common to be batched."""
        kinds = ((name, array.dtype.str, array.shape[1:]) for name, array in sorted(self.inputs.items()))
        return (self.signature, self.outputs, *kinds)


class _Batch:
    def __init__(self) -> None:
        self.requests: list[_Request] = []
        self.rows, self.open, self.full = 0, True, threading.Event()


def _latest_deadline(requests: Sequence[_Request]) -> float | None:
    """The deadline of the request that waits longest, None for never."""
    deadlines = [request.deadline for request in requests]
    return None if None in deadlines else max(d for d in deadlines if d is not None)


def _internal(error: Exception) -> ServingError:
    """The error that clients get for a bug of the server, without its details; the log has them."""
    log.event("bug", "error", error=f"{type(error).__name__}: {error}")
    return ServingError("INTERNAL", "the server failed; its log says how")


def _remaining(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _batchable(signature: Signature) -> bool:
    """Whether every input and output leads with an open axis."""
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return all(spec.shape is not None and len(spec.shape) > 0 and spec.shape[0] == -1 for spec in specs)
