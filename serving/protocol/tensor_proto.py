"""Arrays to the tensors of gRPC messages and back, for every type that TensorFlow has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from captioner.engines.remote.messages import TYPE_NAMES, TYPES, array, messages
from captioner.errors import EngineError
from serving.protocol.status import invalid

# Types that have a field of their own in a tensor message, by numpy's name.
_FIELDS = {dtype.name: (number, field) for number, _, dtype, field in TYPES}
_WIDEST = 16  # bytes of one number


def arrays_of(tensors: Mapping[str, Any], limit: int = 1 << 30) -> dict[str, np.ndarray]:
    """The arrays in a map of tensor messages.

    Args:
        tensors: mapping of str to `Tensor` message.
        limit: int, default 2^30. Most bytes of one array: a few bytes on the wire may claim any size.

    Returns:
        dict of str to array; strings are objects that hold bytes.

    Raises:
        ServingError: INVALID_ARGUMENT, if one cannot be read.
    """
    return {name: _array(name, tensor, limit) for name, tensor in tensors.items()}


def _array(name: str, tensor: Any, limit: int) -> np.ndarray:
    if math.prod(max(dim.size, 0) for dim in tensor.tensor_shape.dim) * _WIDEST > limit:
        raise invalid(f"tensor parsing error: {name} (larger than {limit} bytes)")
    try:
        if tensor.dtype in TYPE_NAMES:
            return array(tensor)
        import tensorflow as tf
        from tensorflow.core.framework.tensor_pb2 import TensorProto

        return np.asarray(tf.make_ndarray(TensorProto.FromString(tensor.SerializeToString())))
    except (EngineError, ValueError, TypeError, KeyError, ImportError):
        raise invalid(f"tensor parsing error: {name}") from None


def tensor_of(found: np.ndarray) -> Any:
    """An array as a tensor message, its values in the field of their type, where clients look for them.

    Args:
        found: array.

    Returns:
        `Tensor` message.

    Example:
        >>> tensor_of(np.array([1, 2], np.float32)).float_val
        [1.0, 2.0]
    """
    kinds = messages()
    shape = kinds.TensorShape(dim=[kinds.Dim(size=size) for size in found.shape])
    if found.dtype.name in _FIELDS:
        number, field = _FIELDS[found.dtype.name]
        return kinds.Tensor(dtype=number, tensor_shape=shape, **{field: found.reshape(-1).tolist()})
    import tensorflow as tf

    number = tf.dtypes.as_dtype(found.dtype).as_datatype_enum
    return kinds.Tensor(
        dtype=number, tensor_shape=shape, tensor_content=np.ascontiguousarray(found).tobytes()
    )
