"""Checkpoints that a crash cannot destroy: written aside, checked, then renamed over the last one."""

from __future__ import annotations

import hashlib
import json
import os
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
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"the checkpoint {path} is damaged ({error}); delete it to start over") from None
    return arrays, head["state"]


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, value in arrays.items():
        digest.update(f"{name} {value.shape} {value.dtype}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
