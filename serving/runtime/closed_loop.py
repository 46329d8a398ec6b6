"""Closed-loop load: several clients, each of which sends its next image when its last request was answered."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from captioner.errors import CaptionerError

Ask = Callable[[bytes], None]  # captions one image, or raises CaptionerError


@dataclass(frozen=True)
class Measurement:
    """Throughput and latency of one target.

    Attributes:
        target: str. "grpc", "http", "saved_model" or "encoder".
        clients: int.
        requests: int. Those that were answered.
        failed: int.
        seconds: float.
        p50, p95, p99: float. Percentiles of the latency in milliseconds; nan where no request was answered.
        reason: str. The error of the first failed request.
    """

    target: str
    clients: int
    requests: int
    failed: int
    seconds: float
    p50: float
    p95: float
    p99: float
    reason: str = ""

    @property
    def rate(self) -> float:
        """Throughput: requests answered a second."""
        return self.requests / self.seconds if self.seconds else 0.0


def measure(target: str, ask: Ask, images: Sequence[bytes], clients: int, seconds: float) -> Measurement:
    """Runs concurrent clients for a while.

    Args:
        target: str. A name for the row.
        ask: callable. Called by several threads at a time.
        images: sequence of bytes. Each client starts at another one.
        clients: int.
        seconds: float. After that, each client finishes the request that it is in.

    Returns:
        `Measurement`. The first request of each client is not counted: it opens connections and traces graphs.
    """
    latencies: list[list[float]] = [[] for _ in range(clients)]
    failures: list[str] = []
    barrier = threading.Barrier(clients + 1)
    start = [0.0]

    def client(index: int) -> None:
        order = itertools.islice(itertools.cycle(range(len(images))), index % len(images), None)
        _try(ask, images[next(order)], [])
        barrier.wait()
        barrier.wait()  # the clock is started between the two
        end = start[0] + seconds
        while (sent := time.perf_counter()) < end:
            if _try(ask, images[next(order)], failures):
                latencies[index].append(time.perf_counter() - sent)

    threads = [threading.Thread(target=client, args=(index,), daemon=True) for index in range(clients)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start[0] = time.perf_counter()
    barrier.wait()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start[0]
    milliseconds = sorted(1000 * latency for latency in itertools.chain(*latencies))
    p50, p95, p99 = (percentile(milliseconds, fraction) for fraction in (0.5, 0.95, 0.99))
    reason = failures[0] if failures else ""
    return Measurement(target, clients, len(milliseconds), len(failures), elapsed, p50, p95, p99, reason)


def _try(ask: Ask, image: bytes, failures: list[str]) -> bool:
    try:
        ask(image)
    except CaptionerError as error:
        failures.append(str(error))
    except Exception as error:  # a client that dies would leave the others waiting for it
        failures.append(f"{type(error).__name__}: {error}")
    else:
        return True
    return False


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """The smallest value that at least a fraction of the values do not exceed (nearest rank); nan for none.

    Example:
        >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5), percentile([1.0, 2.0, 3.0, 4.0], 0.99)
        (2.0, 4.0)
    """
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)] if ordered else math.nan
