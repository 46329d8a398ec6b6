"""Converts arrays to JSON as TensorFlow Serving's REST interface does."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.protocol.status import invalid


def write(outputs: Mapping[str, np.ndarray], rows: bool) -> dict[str, Any]:
    """The body of a response, of values that JSON can hold.

    Args:
        outputs: mapping of str to array.
        rows: bool. Whether the request was in row format.

    Returns:
        dict.

    Raises:
        ServingError: if an output has no rows, or not as many as the others.

    Example:
        >>> write({"y": np.array([0.2, 3], np.float32)}, rows=True)
        {'predictions': [0.2, 3.0]}
    """
    named = dict(sorted(outputs.items()))
    if not rows:
        values = {name: _nested(name, array) for name, array in named.items()}
        return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
    count = -1
    for name, array in named.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if count not in (-1, len(array)):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {count}")
        count = len(array)
    values = {name: _nested(name, array) for name, array in named.items()}
    if len(values) == 1:
        return {"predictions": next(iter(values.values()))}
    return {
        "predictions": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    }


def _nested(name: str, array: np.ndarray) -> Any:
    """Nested lists that JSON can hold. Floats have as many digits as their type needs."""
    flat = array.reshape(-1)
    if array.dtype.kind in "OSU":
        as_bytes = name.endswith("_bytes")
        values: list[Any] = [_text(value, as_bytes) for value in flat.tolist()]
    elif array.dtype.kind == "f":
        values = _floats(flat)
    elif array.dtype.kind in "iub":
        values = flat.tolist()
    else:
        raise invalid(f"Failed to write JSON value for tensor type: {array.dtype}")
    nested = np.empty(len(values), object)
    nested[:] = values
    return nested.reshape(array.shape).tolist()


def _floats(flat: np.ndarray) -> list[float]:
    if flat.dtype == np.float64:
        return flat.tolist()
    short = np.array([float(f"{v:.6g}") for v in flat.tolist()], np.float64)
    exact = short.astype(flat.dtype) == flat
    return [
        s if e else float(f"{v:.9g}") for s, e, v in zip(short.tolist(), exact, flat.tolist(), strict=True)
    ]


def _text(value: Any, as_bytes: bool) -> Any:
    value = value.encode() if isinstance(value, str) else bytes(value)
    if as_bytes:
        return {"b64": base64.b64encode(value).decode()}
    return value.decode("utf-8", "surrogateescape")
