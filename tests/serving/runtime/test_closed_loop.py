"""Closed-loop load: concurrency, latencies and failures."""

import math
import threading
import time

from captioner.errors import EngineError
from serving.runtime.closed_loop import measure

IMAGES = [b"one", b"two", b"three"]


def unavailable(image):
    time.sleep(0.001)
    raise EngineError("unavailable")


def test_closed_loop_concurrency_and_latency():
    lock, active, peak = threading.Lock(), [0], [0]

    def ask(image):
        with lock:
            active[0] += 1
            peak[0] = max(peak[0], active[0])
        time.sleep(0.05)
        with lock:
            active[0] -= 1

    row = measure("x", ask, IMAGES, clients=3, seconds=0.5)
    assert peak[0] == 3 and row.failed == 0
    assert 50 <= row.p50 <= row.p99 and 3 <= row.requests <= 3 * 11
    assert row.rate <= 3 / 0.05


def test_failures_are_counted_separately():
    calls = iter(range(10**6))

    def ask(image):
        time.sleep(0.001)
        if next(calls) % 2:
            raise EngineError("the server is full")

    row = measure("x", ask, IMAGES, clients=1, seconds=0.2)
    assert row.failed > 0 < row.requests and abs(row.failed - row.requests) <= 1
    assert row.reason == "the server is full"
    failing = measure("x", unavailable, IMAGES, clients=2, seconds=0.05)
    assert failing.requests == 0 < failing.failed and math.isnan(failing.p50) and failing.rate == 0


def test_unexpected_exception_does_not_hang_others():
    row = measure("x", lambda image: 1 / 0, IMAGES, clients=2, seconds=0.05)
    assert row.failed > 0 and row.reason.startswith("ZeroDivisionError")
