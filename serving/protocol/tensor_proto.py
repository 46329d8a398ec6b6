"""Converts arrays to TensorProto messages and back, for every type of TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from captioner.engines.remote.messages import FIELDS, TYPE_NAMES, array, message_classes
from captioner.errors import EngineError
from serving.protocol.status import invalid

_MAX_ITEM_BYTES = 16


def arrays_of(tensors: Mapping[str, Any], limit: int = 1 << 30) -> dict[str, np.ndarray]:
    """The arrays in a map of tensor messages.

    Args:
        tensors: mapping of str to `Tensor` message.
        limit: int, default 2^30. Maximum bytes of one array: a small message may claim any size.

    Returns:
        dict of str to array; strings are objects that hold bytes.

    Raises:
        ServingError: INVALID_ARGUMENT, if a tensor cannot be read.
    """
    return {name: _array(name, tensor, limit) for name, tensor in tensors.items()}


def _array(name: str, tensor: Any, limit: int) -> np.ndarray:
    if math.prod(max(dim.size, 0) for dim in tensor.tensor_shape.dim) * _MAX_ITEM_BYTES > limit:
        raise invalid(f"tensor parsing error: {name} (larger than {limit} bytes)")
    try:
        if tensor.dtype in TYPE_NAMES:
            return array(tensor)
        import tensorflow as tf
        from tensorflow.core.framework.tensor_pb2 import TensorProto

        return np.asarray(tf.make_ndarray(TensorProto.FromString(tensor.SerializeToString())))
    except (EngineError, ValueError, TypeError, KeyError, ImportError):
        raise invalid(f"tensor parsing error: {name}") from None


def tensor_of(values: np.ndarray) -> Any:
    """An array as a tensor message, with its values in the field of their type, where clients expect them.

    Args:
        values: array.

    Returns:
        `Tensor` message.

    Example:
        >>> tensor_of(np.array([1, 2], np.float32)).float_val
        [1.0, 2.0]
    """
    kinds = message_classes()
    shape = kinds.TensorShape(dim=[kinds.Dim(size=size) for size in values.shape])
    if values.dtype.name in FIELDS:
        number, field = FIELDS[values.dtype.name]
        return kinds.Tensor(dtype=number, tensor_shape=shape, **{field: values.reshape(-1).tolist()})
    import tensorflow as tf

    number = tf.dtypes.as_dtype(values.dtype).as_datatype_enum
    return kinds.Tensor(
        dtype=number, tensor_shape=shape, tensor_content=np.ascontiguousarray(values).tobytes()
    )
