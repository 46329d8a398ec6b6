"""Structured logging: one JSON object a line on standard error. Contents of requests are never logged."""

from __future__ import annotations

import datetime
import json
import logging
import sys
import threading
from typing import Any

_MAX_LENGTH = 1000  # characters of one value
_lock = threading.Lock()


def event(name: str, level: str = "info", **fields: Any) -> None:
    """Writes one line.

    Args:
        name: str. The kind of event, always the same word.
        level: str, default "info"; "warning" and "error" for events that need attention.
        **fields: numbers and short strings; None is left out.
    """
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    line = {"time": time, "level": level, "event": name}
    line |= {key: _truncated(value) for key, value in fields.items() if value is not None}
    with _lock:
        print(json.dumps(line, ensure_ascii=True, default=str), file=sys.stderr, flush=True)


def capture() -> None:
    """Routes warnings and errors that other packages log into the same format."""
    root = logging.getLogger()
    root.handlers[:] = [_JsonLines()]
    root.setLevel(logging.WARNING)


class _JsonLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        exception = record.exc_info[1] if record.exc_info else None
        event(
            "message",
            record.levelname.lower(),
            logger=record.name,
            message=record.getMessage(),
            error=None if exception is None else f"{type(exception).__name__}: {exception}",
        )


def _truncated(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MAX_LENGTH:
        return value[:_MAX_LENGTH] + "..."
    return value
