"""Ctrl-C, SIGTERM and SIGHUP as one exception, raised where it can be handled.

SIGTERM is how `docker stop`, systemd, SLURM and a spot machine that is taken back ask; SIGHUP says that the terminal
is gone. No TensorFlow here.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# SIGHUP is POSIX alone; SIGBREAK (Ctrl-Break, a console window that is closed) is Windows alone.
_NUMBERS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
]
# One request may come as several signals: systemd sends SIGHUP behind SIGTERM, a closed terminal sends SIGHUP twice.
_ECHO_SECONDS = 1.0


class Stopped(KeyboardInterrupt):
    """The program was asked to stop by a signal.

    A `KeyboardInterrupt`, so that what is prepared for Ctrl-C is prepared for SIGTERM too.

    Args:
        number: int. The signal's.
        at_once: bool, default False. See the attribute.

    Attributes:
        exit_code: int. What shells expect after this signal: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
        at_once: bool. Asked a second time, in the middle of a block that `defer_signals` protects: what the block
            changes in memory may be half done and must not be written.

    Example:
        >>> Stopped(signal.SIGTERM).exit_code
        143
    """

    def __init__(self, number: int, at_once: bool = False):
        super().__init__(f"signal {number}")
        self.exit_code, self.at_once = 128 + number, at_once


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block Ctrl-C, SIGTERM and SIGHUP raise `Stopped` in the main thread, so that `finally` blocks run.

    Signals that are ignored (`nohup`) stay ignored, and those that somebody else handles stay theirs; so blocks may
    nest. Signals that follow within a second are part of the same request. In other threads the block changes nothing,
    as only the main thread hears of signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = -_ECHO_SECONDS

    def stop(number: int, frame: Any) -> None:
        nonlocal asked
        now = time.monotonic()
        if now - asked >= _ECHO_SECONDS:
            asked = now
            raise Stopped(number)

    untouched = (signal.SIG_DFL, signal.default_int_handler)
    before = {n: signal.getsignal(n) for n in _NUMBERS if signal.getsignal(n) in untouched}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Makes signals that would raise wait until the block is done, so that it is done wholly or not at all.

    Asked a second time, more than a second after the first, it stops at once, with `Stopped.at_once` set. Blocks may
    nest: a signal waits for the outermost. In other threads the block changes nothing, as nothing interrupts those.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Callable[..., Any]] = {}
    for number in _NUMBERS:
        handler = signal.getsignal(number)
        if callable(handler):
            before[number] = handler
    came: list[tuple[int, float]] = []
    waiting = True

    def wait(number: int, frame: Any) -> None:
        if not waiting:  # one came while handlers were being put back
            before[number](number, frame)
        elif came and time.monotonic() - came[0][1] >= _ECHO_SECONDS:
            raise Stopped(number, at_once=True)
        else:
            came.append((number, time.monotonic()))

    try:
        for number in before:
            signal.signal(number, wait)
        yield
    except KeyboardInterrupt:  # at once: the first request is answered too
        came.clear()
        raise
    finally:
        waiting = False
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            before[came[0][0]](came[0][0], None)
