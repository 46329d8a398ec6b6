"""Waiting for other threads and processes in tests."""

import time


def wait_until(condition, seconds=20.0):
    """Returns when the condition holds; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)
