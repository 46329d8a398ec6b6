"""Checkpoints that a crash cannot destroy: written aside, forced to disk, then renamed over the last one."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from captioner.errors import DataError


def write(path: str | Path, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
    """Writes arrays and JSON-able state so that `path` is always a whole checkpoint, the old one or the new.

    Args:
        path: ends in ".npz".
        arrays: named arrays.
        state: plain JSON.

    Raises:
        DataError: if the disk is full or not writable; the old checkpoint stays.
    """
    path = Path(path)
    aside = path.with_suffix(".new")
    named: dict[str, Any] = {f"a{i}": value for i, value in enumerate(arrays.values())}
    head = json.dumps({"names": list(arrays), "digest": _digest(arrays), "state": state})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "wb") as handle:
            np.savez(handle, head=np.frombuffer(head.encode(), np.uint8), **named)
            handle.flush()
            os.fsync(handle.fileno())
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise DataError(f"cannot write the checkpoint {path}: {error.strerror or error}") from None


def read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Arrays and state of a checkpoint, or None where there is none.

    Raises:
        DataError: if the file is damaged.
    """
    path = Path(path)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as data:
            head = json.loads(bytes(data["head"]))
            arrays = {name: data[f"a{i}"] for i, name in enumerate(head["names"])}
        if _digest(arrays) != head["digest"]:
            raise ValueError("checksum differs")
        return arrays, head["state"]
    except Exception as error:  # what zip and numpy raise depends on which byte is wrong
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"the checkpoint {path} is damaged ({reason}); delete it to start over") from None


def write_text(path: str | Path, text: str) -> None:
    """Writes a small UTF-8 file so that it is always whole, the old one or the new.

    Args:
        path: str or Path.
        text: str.

    Raises:
        DataError: if the disk is full or not writable; the old file stays.
    """
    path = Path(path)
    aside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(text, encoding="utf-8", newline="")
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None


@contextmanager
def held() -> Iterator[None]:
    """Makes Ctrl-C wait until the block is done, so that a checkpoint never holds half of it."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came: list[Any] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        before(signal.SIGINT, came[0])


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, value in arrays.items():
        digest.update(f"{name} {value.shape} {value.dtype}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
