"""Importing TensorFlow and starting TensorFlow Lite lazily, without their log messages."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator

from captioner.errors import EngineError, MissingDependency

# Log messages of these libraries before their log level applies; TensorFlow Lite has no log level.
_LOG_LINES = re.compile(
    rb"WARNING: All log messages before absl::|[IW]\d{4} \d\d:\d\d:|INFO: Created TensorFlow Lite XNNPACK delegate"
)
_lock = threading.Lock()


def import_tensorflow(purpose: str) -> None:
    """Imports TensorFlow, and Keras on top of it, quietly.

    Sets `KERAS_BACKEND=tensorflow`, `TF_CPP_MIN_LOG_LEVEL=3` (errors that matter are raised, too) and
    `TF_ENABLE_ONEDNN_OPTS=1` (faster on processors with AVX2 alone, where it is off by default), unless the
    environment has values already; if the user sets a log level, no message is suppressed.

    Args:
        purpose: str. What it is needed for; the error message begins with it.

    Raises:
        MissingDependency: if TensorFlow or Keras is not installed.
        EngineError: if Keras runs on another backend.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _lock:  # standard error is one for all threads
        quiet = "tensorflow" not in sys.modules and "TF_CPP_MIN_LOG_LEVEL" not in os.environ
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with _without_log_lines() if quiet else contextlib.nullcontext():
            try:
                import keras
                import tensorflow  # noqa: F401
            except ImportError as error:
                raise MissingDependency(error.name or "tensorflow", "tf", purpose) from None
    if keras.backend.backend() != "tensorflow":
        raise EngineError(
            f"{purpose} needs Keras on the tensorflow backend, got {keras.backend.backend()}: "
            f"set KERAS_BACKEND=tensorflow"
        )


@contextlib.contextmanager
def starting_tflite() -> Iterator[None]:
    """Context for building and allocating an interpreter, which suppresses its log messages.

    Unless the user sets a log level, `TF_CPP_MIN_LOG_LEVEL` below 3.
    """
    with _lock:
        quiet = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3") == "3"
        with _without_log_lines() if quiet else contextlib.nullcontext():
            yield


@contextlib.contextmanager
def _without_log_lines() -> Iterator[None]:
    """Captures what native code writes to standard error, then passes on all but the log messages."""
    sys.stderr.flush()
    try:
        terminal = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            captured.seek(0)
            for line in captured:
                if not _LOG_LINES.match(line):
                    os.write(2, line)
