"""Converts JSON to arrays by the rules of TensorFlow Serving's REST interface, with its error messages.

Two forms: a list of rows (`instances`, answered by `predictions`) and columns (`inputs`, answered by `outputs`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.protocol.json_text import show
from serving.protocol.status import ServingError, invalid

INTEGERS = {
    "int8": (-(2**31), 2**31 - 1), "int16": (-(2**31), 2**31 - 1), "int32": (-(2**31), 2**31 - 1),
    "uint8": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1), "int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1),
}  # fmt: skip
# Of a float type: the integer up to which it holds every integer exactly, and its largest number.
_FLOATS = {"float": (2**24 - 1, float(np.finfo(np.float32).max)), "double": (2**53 - 1, np.inf)}
_NUMPY = {"float": "float32", "double": "float64", "string": "object", "half": "float16"}
_WHITESPACE = re.compile(rb"[ \t\r\n\v\f]+")


@dataclass(frozen=True)
class Spec:
    """Type and shape of one input or output of a signature.

    Attributes:
        dtype: str. TensorFlow's short name: "float", "string", "int32", "bool" ...
        shape: tuple of int, -1 for any; None where even the rank is open.
    """

    dtype: str
    shape: tuple[int, ...] | None = None

    @property
    def numpy(self) -> np.dtype:
        """The type of its arrays; strings are objects that hold bytes."""
        return np.dtype(_NUMPY.get(self.dtype, self.dtype))


def read(document: Mapping[str, Any], inputs: Mapping[str, Spec]) -> tuple[dict[str, np.ndarray], bool]:
    """The arrays in a request's body.

    Args:
        document: mapping, as `serving.protocol.json_text.parse` returns it.
        inputs: mapping of str to `Spec`, those of the signature.

    Returns:
        (dict of str to array, whether it came in rows).

    Raises:
        ServingError: INVALID_ARGUMENT, if it does not fit.

    Example:
        >>> read({"instances": [1.0, 2.0]}, {"x": Spec("float")})
        ({'x': array([1., 2.], dtype=float32)}, True)
    """
    if "instances" not in document:
        if "inputs" not in document:
            raise invalid("Missing 'inputs' or 'instances' key")
        return _columns(document["inputs"], inputs), False
    if "inputs" in document:
        raise _format_error(
            document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        )
    if not isinstance(document["instances"], list):
        raise _format_error(document, "Expecting 'instances' to be an list/array")
    if not document["instances"]:
        raise _format_error(document, "No values in 'instances' array")
    return _rows(document["instances"], inputs), True


def _rows(instances: list[Any], inputs: Mapping[str, Spec]) -> dict[str, np.ndarray]:
    if len(inputs) > 1 and not isinstance(instances[0], dict):
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    named = _is_named(instances[0])
    columns: dict[str, _Column] = {}
    for index, row in enumerate(instances):
        if _is_named(row) != named:
            expected, got = ("object", "list") if named else ("value/list", "object")
            raise invalid(f"Expecting {expected} but got {got} at item {index} of input list")
        first_input = next(iter(inputs))
        for name, value in row.items() if named else [(first_input, row)]:
            try:
                if name not in inputs:
                    raise invalid(f"JSON object: does not have named input: {name}")
                columns.setdefault(name, _Column(inputs[name])).add(value)
            except ServingError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"Failed to process element: {index}{key} of 'instances' list. "
                    f"Error: {error.code}: {error.message}"
                ) from None
        if named and set(row) != set(inputs):
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {show(row)} keys must be "
                f"equal to: {','.join(sorted(inputs))}"
            )
    return {name: column.array(len(instances)) for name, column in columns.items()}


def _columns(value: Any, inputs: Mapping[str, Spec]) -> dict[str, np.ndarray]:
    if _is_named(value):
        missing = next((name for name in sorted(inputs) if name not in value), None)
        if missing is not None:
            raise invalid(f"Missing named input: {missing} in 'inputs' object.")
        values = {name: value[name] for name in inputs}
    elif len(inputs) > 1:
        raise invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map"
        )
    else:
        values = {next(iter(inputs)): value}
    arrays = {}
    for name, tensor in values.items():
        column = _Column(inputs[name])
        column.add(tensor)
        arrays[name] = column.array(None)
    return arrays


class _Column:
    """Collects the values of one input; all that are added must have the shape of the first."""

    def __init__(self, spec: Spec):
        self.spec, self.convert = spec, _converter(spec.dtype)
        self.shape: tuple[int, ...] | None = None
        self.values: list[Any] = []

    def add(self, value: Any) -> None:
        """Adds one row, or the whole tensor."""
        shape, before = _shape(value), len(self.values)
        self._collect(value, shape, 0)
        if self.shape is None:
            self.shape = shape
        elif shape != self.shape:
            expected, got = int(np.prod(self.shape)), len(self.values) - before
            if expected != got:
                raise invalid(f"Expecting tensor size: {expected} but got: {got}")
            raise invalid(f"Expecting shape {_shape_text(self.shape)} but got: {_shape_text(shape)}")

    def array(self, rows: int | None) -> np.ndarray:
        """The values as one array of `rows` rows; None for a single tensor."""
        shape = (self.shape or ()) if rows is None else (rows, *(self.shape or ()))
        if self.spec.dtype == "string":
            array = np.empty(len(self.values), object)
            array[:] = self.values
        else:
            # As in the server's protocol buffers, small integers wrap around.
            wide = np.int64 if self.spec.dtype in ("int8", "int16", "uint8") else self.spec.numpy
            array = np.array(self.values, wide).astype(self.spec.numpy)
        try:
            return array.reshape(shape)
        except ValueError:  # numpy's limit, lower than TensorFlow's
            raise invalid(f"tensor parsing error: {len(shape)} dimensions are too many") from None

    def _collect(self, value: Any, shape: tuple[int, ...], level: int) -> None:
        if not isinstance(value, list):
            if level != len(shape):
                raise invalid(
                    f"JSON Value: {show(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                    f"Expected at level: {len(shape)}"
                )
            self.values.append(self.convert(value))
            return
        if level >= len(shape):
            raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        if len(value) != shape[level]:
            raise invalid(
                f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
            )
        for item in value:
            self._collect(item, shape, level + 1)


def _shape(value: Any) -> tuple[int, ...]:
    """The shape of a nested list, from its first elements."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def _converter(dtype: str) -> Callable[[Any], Any]:
    """A function that converts one JSON value to the type, or raises."""

    def string(value: Any) -> bytes:
        if isinstance(value, dict):
            return _from_base64(value)
        if not isinstance(value, str):
            raise _type_error(value, dtype)
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None

    def number(value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise _type_error(value, dtype)
        exact, largest = _FLOATS[dtype]
        fits = abs(value) <= exact if isinstance(value, int) and abs(value) < 2**64 else abs(value) <= largest
        if not fits and np.isfinite(float(value)):
            raise invalid(f"Cannot convert JSON value: {show(value)} to {dtype} without loss of precision.")
        return float(value)

    def integer(value: Any) -> int:
        low, high = INTEGERS[dtype]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise _type_error(value, dtype)
        return value

    def boolean(value: Any) -> bool:
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value

    def unknown(value: Any) -> Any:
        raise ServingError("UNIMPLEMENTED", f"Conversion of JSON Value: {show(value)} to type: {dtype}")

    converters = (
        {"string": string, "bool": boolean}
        | dict.fromkeys(_FLOATS, number)
        | dict.fromkeys(INTEGERS, integer)
    )
    return converters.get(dtype, unknown)


def _from_base64(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise invalid(f"JSON Value: {show(value)} not formatted correctly for base64 data")
    data = _WHITESPACE.sub(b"", value["b64"].encode("utf-8", "replace"))
    unpadded = data.rstrip(b"=")
    try:
        # Without padding, or with complete padding.
        if len(data) != len(unpadded) and len(data) % 4:
            raise binascii.Error
        return base64.b64decode(unpadded + b"=" * (-len(unpadded) % 4), validate=True)
    except binascii.Error:
        raise invalid("Unable to base64 decode") from None


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(str(size) for size in shape)}]"


def _type_error(value: Any, dtype: str) -> ServingError:
    names = {type(None): "Null", bool: str(value), dict: "Object", list: "Array", str: "String"}
    return invalid(
        f"JSON Value: {show(value)} Type: {names.get(type(value), 'Number')} is not of expected type: {dtype}"
    )


def _format_error(document: Mapping[str, Any], what: str) -> ServingError:
    return invalid(f"JSON Value: {show(dict(document))} {what}")
