"""Admission control: how many requests may be inside the server, and how many may run at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from serving.protocol.status import ServingError


class AdmissionControl:
    """Bounds the requests inside the server, so that an overload costs refusals and not memory.

    Args:
        limit: int. Requests that may wait or run.
        workers: int. Concurrent runs of a model.

    Attributes:
        inside: int. Requests that wait or run now.
    """

    def __init__(self, limit: int, workers: int):
        self.limit, self.inside = limit, 0
        self._lock, self._workers = threading.Lock(), threading.Semaphore(workers)

    @contextlib.contextmanager
    def admit(self) -> Iterator[None]:
        """Admits one request for the duration of the context.

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
    def worker(self, timeout: float | None = None) -> Iterator[None]:
        """Waits for a free worker, and keeps it for the duration of the context.

        Args:
            timeout: float, default None, which is no limit. Seconds.

        Raises:
            ServingError: DEADLINE_EXCEEDED.
        """
        if not self._workers.acquire(timeout=timeout):
            raise ServingError("DEADLINE_EXCEEDED", "the request's deadline passed while it was queued")
        try:
            yield
        finally:
            self._workers.release()
