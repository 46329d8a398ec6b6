"""Protobuf messages of TensorFlow Serving's gRPC services, without TensorFlow and without generated code.

Only field numbers and types are encoded; names of messages and packages are not. So these have their own package and
descriptor pool, and can be used in one process with the official stubs. They are built on first use, which makes them
independent of the version of the protobuf compiler.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from itertools import accumulate
from types import SimpleNamespace
from typing import Any

import numpy as np

from captioner.errors import EngineError, MissingDependency

PACKAGE = "captioner.serving"
# The gRPC methods of TensorFlow Serving.
PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

# Each message and its fields, "type name = number". Enums are int32 and a oneof is plain fields: they are encoded
# alike. `Any` and `Int64Value` are Google's.
_MESSAGES = {
    "Int64Value": "int64 value = 1",
    "Any": "string type_url = 1; bytes value = 2",
    "Dim": "int64 size = 1; string name = 2",
    "TensorShape": "repeated Dim dim = 2; bool unknown_rank = 3",
    "Tensor": "int32 dtype = 1; TensorShape tensor_shape = 2; int32 version_number = 3; bytes tensor_content = 4;"
    "repeated float float_val = 5; repeated double double_val = 6; repeated int32 int_val = 7;"
    "repeated bytes string_val = 8; repeated int64 int64_val = 10; repeated bool bool_val = 11",
    "ModelSpec": "string name = 1; Int64Value version = 2; string signature_name = 3; string version_label = 4",
    "PredictRequest": "ModelSpec model_spec = 1; map Tensor inputs = 2; repeated string output_filter = 3",
    "PredictResponse": "map Tensor outputs = 1; ModelSpec model_spec = 2",
    "GetModelStatusRequest": "ModelSpec model_spec = 1",
    "Status": "int32 error_code = 1; string error_message = 2",
    "ModelVersionStatus": "int64 version = 1; int32 state = 2; Status status = 3",
    "GetModelStatusResponse": "repeated ModelVersionStatus model_version_status = 1",
    "GetModelMetadataRequest": "ModelSpec model_spec = 1; repeated string metadata_field = 2",
    "GetModelMetadataResponse": "ModelSpec model_spec = 1; map Any metadata = 2",
    "TensorInfo": "string name = 1; int32 dtype = 2; TensorShape tensor_shape = 3",
    "SignatureDef": "map TensorInfo inputs = 1; map TensorInfo outputs = 2; string method_name = 3",
    "SignatureDefMap": "map SignatureDef signature_def = 1",
    "PredictLog": "PredictRequest request = 1",
    "PredictionLog": "PredictLog predict_log = 6",
}
# The states of a version, by number.
STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}

# TensorFlow's number and name of a type, the NumPy dtype, and the field for such values.
TYPES: list[tuple[int, str, np.dtype, str]] = [
    (1, "DT_FLOAT", np.dtype("<f4"), "float_val"),
    (2, "DT_DOUBLE", np.dtype("<f8"), "double_val"),
    (3, "DT_INT32", np.dtype("<i4"), "int_val"),
    (7, "DT_STRING", np.dtype(object), "string_val"),
    (9, "DT_INT64", np.dtype("<i8"), "int64_val"),
    (10, "DT_BOOL", np.dtype("?"), "bool_val"),
]
TYPE_NAMES = {number: name for number, name, _, _ in TYPES}
# The number and the field of a type, by NumPy's name.
FIELDS = {dtype.name: (number, field) for number, _, dtype, field in TYPES}
# A limit on elements, for a single value may fill a shape of any size: 2^27 numbers, 512 MB.
_MAX_ELEMENTS = 1 << 27


# Messages of two builds do not mix, so all threads must use one: `functools.lru_cache` would let each build its own.
_building = threading.Lock()
_built: SimpleNamespace | None = None


def message_classes() -> SimpleNamespace:
    """The message classes by name, the same for every thread.

    Returns:
        namespace with `PredictRequest`, `PredictResponse`, `Tensor` and so on.

    Raises:
        MissingDependency: if protobuf is not installed.

    Example:
        >>> spec = message_classes().ModelSpec(name="dogs", version_label="stable")
        >>> spec.SerializeToString()
        b'\\n\\x04dogs"\\x06stable'
    """
    global _built
    if _built is None:
        with _building:
            if _built is None:
                _built = _build()
    return _built


def _build() -> SimpleNamespace:
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise MissingDependency(
            error.name or "google.protobuf", "serve", "asking a server over gRPC"
        ) from None
    file = descriptor_pb2.FileDescriptorProto(
        name="captioner_serving.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split(";"):
            *label, kind, field, _, number = text.split()
            if label == ["map"]:
                entry = f"{field.replace('_', ' ').title().replace(' ', '')}Entry"
                nested = message.nested_type.add(name=entry)
                nested.options.map_entry = True
                _add_field(nested, "string", "key", 1)
                _add_field(nested, kind, "value", 2)
                _add_field(message, f"{name}.{entry}", field, int(number), repeated=True)
            else:
                _add_field(message, kind, field, int(number), repeated=bool(label))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptors = {name: pool.FindMessageTypeByName(f"{PACKAGE}.{name}") for name in _MESSAGES}
    return SimpleNamespace(**{n: message_factory.GetMessageClass(d) for n, d in descriptors.items()})


def _add_field(message: Any, kind: str, name: str, number: int, repeated: bool = False) -> None:
    field = message.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    if kind.partition(".")[0] in _MESSAGES:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(field, f"TYPE_{kind.upper()}")


def strings(values: Sequence[bytes]) -> Any:
    """A `Tensor` message of strings [N].

    Args:
        values: sequence of bytes.

    Returns:
        `Tensor` message.
    """
    shape = message_classes().TensorShape(dim=[message_classes().Dim(size=len(values))])
    return message_classes().Tensor(dtype=FIELDS["object"][0], tensor_shape=shape, string_val=values)


def array(tensor: Any) -> np.ndarray:
    """The array in a `Tensor` message; strings become an array of bytes objects.

    The values are in `tensor_content` or in the field for their type. A field with too few values repeats its last
    one, which is how TensorFlow encodes tensors that end in equal values.

    Args:
        tensor: `Tensor` message.

    Returns:
        array.

    Raises:
        EngineError: if captioner does not use the type, or values and shape do not agree.

    Example:
        >>> array(strings([b"a", b"b"]))
        array([b'a', b'b'], dtype=object)
    """
    row = next((row for row in TYPES if row[0] == tensor.dtype), None)
    if row is None:
        raise EngineError(f"expected a tensor of {', '.join(TYPE_NAMES.values())}, got type {tensor.dtype}")
    _, name, dtype, field = row
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    count = math.prod(shape)
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in shape) or count > _MAX_ELEMENTS:
        raise EngineError(f"expected a tensor of at most {_MAX_ELEMENTS} elements, got {name} {shape}")
    if tensor.tensor_content:
        values = _from_content(tensor.tensor_content, dtype, count)
    else:
        values = _from_list(getattr(tensor, field), dtype, count)
    if values is None:
        raise EngineError(f"expected {count} values for a tensor {name} {shape}, got another number")
    try:
        return values.reshape(shape)
    except ValueError:  # dimensions that NumPy cannot hold beside a 0
        raise EngineError(
            f"expected a tensor of at most {_MAX_ELEMENTS} elements, got {name} {shape[:8]}"
        ) from None


def _from_list(field: Sequence[Any], dtype: np.dtype, count: int) -> np.ndarray | None:
    """The values of a repeated field, or None if there are more than `count`."""
    if len(field) > count:
        return None
    values = np.empty(count, dtype)
    # Not `np.full`, which copies a string for every element: a message of 13 kB could take 13 GB.
    values.fill(field[-1] if field else b"" if dtype.kind == "O" else 0)
    values[: len(field)] = field
    return values


def _from_content(content: bytes, dtype: np.dtype, count: int) -> np.ndarray | None:
    """The values in `tensor_content`, or None if there are more or fewer than `count`."""
    if dtype.kind != "O":
        return np.frombuffer(content, dtype).copy() if len(content) == count * dtype.itemsize else None
    # Strings: the length of each as a varint, then all strings concatenated.
    lengths: list[int] = []
    at = 0
    while len(lengths) < count:
        length = shift = 0
        while True:
            if at >= len(content) or shift > 35:
                return None
            length |= (content[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if content[at - 1] < 128:
                break
        lengths.append(length)
    if at + sum(lengths) != len(content):
        return None
    ends = [at + end for end in accumulate(lengths)]
    values = np.empty(count, object)
    values[:] = [content[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    return values


def signatures(signature_map: Any) -> dict[str, dict[str, list[str]]]:
    """The names of inputs and outputs in a `SignatureDefMap` message.

    Args:
        signature_map: `SignatureDefMap` message.

    Returns:
        dict of the name of a signature to {"inputs": names, "outputs": names}.
    """
    return {
        name: {"inputs": sorted(signature.inputs), "outputs": sorted(signature.outputs)}
        for name, signature in sorted(signature_map.signature_def.items())
    }
