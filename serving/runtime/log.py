"""Logs for machines: one JSON object a line on standard error. Images and texts of requests never go in."""

from __future__ import annotations

import datetime
import json
import logging
import sys
import threading
from typing import Any

_LONGEST = 1000  # characters of one value
_lock = threading.Lock()


def event(name: str, level: str = "info", **fields: Any) -> None:
    """Writes one line.

    Args:
        name: str. What happened, the same word each time.
        level: str, default "info"; "warning" and "error" for what somebody should look at.
        **fields: numbers and short strings; None is left out.
    """
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    line = {"time": time, "level": level, "event": name}
    line |= {key: _bounded(value) for key, value in fields.items() if value is not None}
    with _lock:
        print(json.dumps(line, ensure_ascii=True, default=str), file=sys.stderr, flush=True)


def capture() -> None:
    """Has what other packages log come out the same way, warnings and worse."""
    root = logging.getLogger()
    root.handlers[:] = [_Lines()]
    root.setLevel(logging.WARNING)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        trouble = record.exc_info[1] if record.exc_info else None
        event(
            "message",
            record.levelname.lower(),
            logger=record.name,
            message=record.getMessage(),
            error=None if trouble is None else f"{type(trouble).__name__}: {trouble}",
        )


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST:
        return value[:_LONGEST] + "..."
    return value
