"""Checkpoints: arrays and JSON in one file, which is always complete."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from captioner import atomic
from captioner.errors import DataError
from training.loop import old_names
from training.loop.selection.choosing import CIDER


def write(path: str | Path, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
    """Writes arrays and JSON-able state so that `path` always holds a complete checkpoint, the old one or the new.

    Args:
        path: ends in ".npz".
        arrays: named arrays.
        state: plain JSON.

    Raises:
        DataError: if the disk is full or not writable; the old checkpoint stays.
    """
    named: dict[str, Any] = {f"a{i}": value for i, value in enumerate(arrays.values())}
    head = json.dumps({"names": list(arrays), "digest": _digest(arrays), "state": state}, allow_nan=False)
    with atomic.replacing(path) as aside, open(aside, "wb") as handle:
        np.savez(handle, head=np.frombuffer(head.encode(), np.uint8), **named)


def read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Arrays and state of a checkpoint with today's keys, or None if there is none.

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
        return arrays, old_names.current_state(head["state"])
    except Exception as error:  # what zip and numpy raise depends on which byte is wrong
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"the checkpoint {path} is damaged ({reason}); delete it to start over") from None


def values(variables: Sequence[Any]) -> dict[str, np.ndarray]:
    """Values of Keras variables by number and path."""
    return {f"{i}:{v.path}": keras.ops.convert_to_numpy(v.value) for i, v in enumerate(variables)}


def assign(variables: Sequence[Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Gives Keras variables the values that `values` returned, in the same order."""
    for variable, value in zip(variables, arrays.values(), strict=True):
        variable.assign(value)


def initial_state() -> dict[str, Any]:
    """The state of a trainer before its first step."""
    return {
        "epoch": 0, "step": 0, "best": -math.inf, "best_epoch": 0, "epochs_without_improvement": 0, "seconds": 0.0,
        "loss": 0.0, "losses": 0, "metrics": {}, "epoch_done": False, "finished": False, "stage": 0,
        "memory": 0.0,  # peak of the resident set so far, in 10^6 bytes
        "chosen_by": CIDER,  # what "best" is a value of; earlier versions knew CIDEr-D alone
        "best_metrics": {},  # on validation, in the best epoch
    }  # fmt: skip


def fits(state: Any, fresh: dict[str, Any]) -> bool:
    """Whether the state of a checkpoint has the fields and types of a trainer's state.

    Args:
        state: what `read` returned.
        fresh: dict. The state of a new trainer.

    Example:
        >>> fits({"epoch": 1, "step": 0, "best": None}, {"epoch": 0, "step": 0, "best": 0.0})
        True
        >>> fits({"epoch": "1", "step": 0, "best": None}, {"epoch": 0, "step": 0, "best": 0.0})
        False
    """
    if not isinstance(state, dict):
        return False
    for name, value in state.items():
        initial = fresh.get(name, "")  # another field is a text: the fingerprint of the data
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(initial, bool | str | dict):
            good = isinstance(value, type(initial))
        elif isinstance(initial, int):
            good = number and isinstance(value, int) and value >= 0
        else:
            good = number or (name == "best" and value is None)
        if not good:
            return False
    return {"epoch", "step", "best"} <= set(state)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, value in arrays.items():
        digest.update(f"{name} {value.shape} {value.dtype}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
