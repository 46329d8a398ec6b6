"""Ctrl-C, SIGTERM and SIGHUP as one exception, raised in the main thread.

`docker stop`, systemd, SLURM and the preemption of a spot instance send SIGTERM; a closed terminal sends SIGHUP. No
TensorFlow here.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# SIGHUP exists on POSIX only; SIGBREAK (Ctrl-Break, a closed console window) on Windows only.
_NUMBERS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
]
# One request may be several signals: systemd sends SIGHUP after SIGTERM, a closed terminal sends SIGHUP twice.
_ECHO_SECONDS = 1.0


class Stopped(KeyboardInterrupt):
    """Raised when a signal stops the program.

    A `KeyboardInterrupt`, so that code which handles Ctrl-C handles SIGTERM as well.

    Args:
        number: int. Number of the signal.
        at_once: bool, default False. See the attribute.

    Attributes:
        exit_code: int. The conventional exit code: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
        at_once: bool. A second signal interrupted a block that `defer_signals` protects: objects that the block
            changes may be inconsistent and must not be saved.

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

    Ignored signals (`nohup`) stay ignored, and other handlers stay installed; so blocks may nest. Signals that follow
    within a second are part of the same request. In other threads the block has no effect, as only the main thread
    receives signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last_request = -_ECHO_SECONDS

    def stop(number: int, frame: Any) -> None:
        nonlocal last_request
        now = time.monotonic()
        if now - last_request >= _ECHO_SECONDS:
            last_request = now
            raise Stopped(number)

    defaults = (signal.SIG_DFL, signal.default_int_handler)
    before = {n: signal.getsignal(n) for n in _NUMBERS if signal.getsignal(n) in defaults}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Defers signals until the end of the block, so that they do not interrupt it.

    A second signal, more than a second after the first, interrupts the block, with `Stopped.at_once` set. Blocks may
    nest: signals are deferred to the end of the outermost. In other threads, which signals never interrupt, the block
    has no effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Callable[..., Any]] = {}
    for number in _NUMBERS:
        handler = signal.getsignal(number)
        if callable(handler):
            before[number] = handler
    pending: list[tuple[int, float]] = []
    deferring = True

    def defer(number: int, frame: Any) -> None:
        if not deferring:  # a signal during the restoring of the handlers
            before[number](number, frame)
        elif pending and time.monotonic() - pending[0][1] >= _ECHO_SECONDS:
            raise Stopped(number, at_once=True)
        else:
            pending.append((number, time.monotonic()))

    try:
        for number in before:
            signal.signal(number, defer)
        yield
    except KeyboardInterrupt:  # a second signal; the first one must not be raised again
        pending.clear()
        raise
    finally:
        deferring = False
        for number, handler in before.items():
            signal.signal(number, handler)
        if pending:
            before[pending[0][0]](pending[0][0], None)
