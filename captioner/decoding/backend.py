"""The array backend of search: `xp` is TensorFlow, or the same few functions in NumPy.

Search is written once, with TensorFlow's names, and runs in two places: inside graphs, and on devices that have NumPy
alone. The modules of this package and of `captioner.rerank` use `from captioner.decoding.backend import xp`, which is
TensorFlow except inside a `numpy_backend()` block.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

_use_numpy = contextvars.ContextVar("captioner_use_numpy", default=False)


class _Backend:
    """Looks names up in TensorFlow, or among the NumPy functions below."""

    def __getattr__(self, name: str) -> Any:
        if _use_numpy.get():
            return getattr(_NUMPY, name)
        import tensorflow

        return getattr(tensorflow, name)


xp: Any = _Backend()
Array: TypeAlias = Any  # a tensor of TensorFlow, or an array of NumPy inside `numpy_backend()`


@contextlib.contextmanager
def numpy_backend() -> Iterator[None]:
    """Context in which `xp` is NumPy: search takes and returns NumPy arrays, and TensorFlow is not imported.

    Example:
        >>> with numpy_backend():
        ...     xp.math.top_k(np.float32([[1, 3, 2]]), 2).indices
        array([[1, 2]], dtype=int32)
    """
    token = _use_numpy.set(True)
    try:
        yield
    finally:
        _use_numpy.reset(token)


def do_not_convert(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: AutoGraph leaves the function as it is, for its loops are `xp.while_loop` already.

    `tf.autograph.experimental.do_not_convert`, without importing TensorFlow where NumPy is the backend.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if _use_numpy.get():
            return function(*args, **kwargs)
        return xp.autograph.experimental.do_not_convert(function)(*args, **kwargs)

    return call


def set_static_shapes(tree: Any, like: Any) -> Any:
    """Gives the tensors of `tree` the static shapes of those in `like`, and returns it.

    Layers may lose static shapes, which `tf.while_loop` needs to stay the same. Does nothing in NumPy.
    """
    if _use_numpy.get():
        return tree

    def with_shape(leaf: Any, other: Any) -> Any:
        leaf.set_shape(other.shape)
        return leaf

    return xp.nest.map_structure(with_shape, tree, like)


# The NumPy functions: as much of TensorFlow's as search uses, with the same values, dtypes and order of ties.


class _TopK(NamedTuple):
    values: np.ndarray
    indices: np.ndarray


_SMALL_K = 16


def _top_k(x: Any, k: int) -> _TopK:
    """The k largest along the last axis, the lower index first among equals."""
    rows = np.reshape(x, (-1, np.shape(x)[-1]))
    row_numbers = np.arange(len(rows))
    if k > _SMALL_K:
        indices = np.argsort(-rows, axis=1, kind="stable")[:, :k].astype(np.int32)
    else:  # far quicker than sorting a vocabulary for a few beams
        remaining, indices = np.array(rows, np.float32), np.empty((len(rows), k), np.int32)
        for rank in range(k):
            best = remaining.argmax(axis=1)
            indices[:, rank] = best
            remaining[row_numbers, best] = -np.inf
    values = rows[row_numbers[:, None], indices]
    shape = (*np.shape(x)[:-1], k)
    return _TopK(values.reshape(shape), indices.reshape(shape))


def _gather(params: Any, indices: Any, batch_dims: int = 0) -> np.ndarray:
    """The entries at `indices` of the axis after `batch_dims` batch axes, which both arguments have."""
    params, indices = np.asarray(params), np.asarray(indices)
    if not batch_dims:
        return params[indices]
    lead, tail = indices.shape[:batch_dims], params.shape[batch_dims + 1 :]
    # The batch axes and the gathered one are flattened; each batch starts at its own offset.
    offsets = params.shape[batch_dims] * np.arange(math.prod(lead)).reshape(
        *lead, *[1] * (indices.ndim - batch_dims)
    )
    return params.reshape(-1, *tail)[indices + offsets]


def _where(condition: Any, yes: Any, no: Any) -> np.ndarray:
    """`np.where`; a Python number takes the dtype of the other branch, two of them TensorFlow's default."""
    dtype = getattr(yes, "dtype", None) or getattr(no, "dtype", None) or _constant(yes).dtype
    return np.where(condition, np.asarray(yes, dtype), np.asarray(no, dtype))


def _constant(value: Any, dtype: Any = None) -> np.ndarray:
    array = np.asarray(value, dtype)
    narrow = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}
    return array if dtype is not None else array.astype(narrow.get(array.dtype, array.dtype))


def _scatter_nd(indices: Any, updates: Any, shape: Any) -> np.ndarray:
    output = np.zeros(tuple(shape), updates.dtype)
    np.add.at(output, tuple(np.moveaxis(indices, -1, 0)), updates)
    return output


def _cumsum(x: Any, axis: int, exclusive: bool) -> np.ndarray:
    total = np.cumsum(x, axis=axis, dtype=x.dtype)
    return total - x if exclusive else total


def _softmax(x: Any) -> np.ndarray:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _while_loop(condition: Callable[..., Any], body: Callable[..., Any], variables: tuple) -> tuple:
    while condition(*variables):
        variables = body(*variables)
    return variables


def _map_structure(function: Callable[..., Any], *trees: Any) -> Any:
    first = trees[0]
    if isinstance(first, dict):
        return {key: _map_structure(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, list | tuple):
        parts = [_map_structure(function, *parts) for parts in zip(*trees, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    return function(*trees)


class _TensorArray:
    """`tf.TensorArray`: elements that were never written are zeros."""

    def __init__(self, dtype: Any, size: int, element_shape: Sequence[int]):
        self._elements = np.zeros((size, *element_shape), dtype)

    def write(self, index: Any, value: Any) -> _TensorArray:
        self._elements[int(index)] = value
        return self

    def stack(self) -> np.ndarray:
        return self._elements


def _fold_in(seed: Any, number: Any) -> np.ndarray:
    return np.array([*np.ravel(seed), int(number)], np.uint32)


def _stateless_uniform(shape: Any, seed: Any, minval: float = 0.0) -> np.ndarray:
    """From NumPy's generator: other numbers than TensorFlow's, of the same distribution."""
    sample = np.random.default_rng(np.asarray(seed, np.uint32)).random(tuple(shape), np.float32)
    return np.maximum(sample, np.float32(minval))


def _uniform(shape: Sequence[int], maxval: int, dtype: Any) -> np.ndarray:
    return np.random.default_rng().integers(0, maxval, shape, dtype)


def _reduction(function: np.ufunc) -> Callable[..., Any]:
    def reduce(x: Any, axis: int | None = None, keepdims: bool = False) -> np.ndarray:
        x = np.asarray(x)
        return function.reduce(x, axis, x.dtype, keepdims=keepdims)

    return reduce


_NUMPY = SimpleNamespace(
    newaxis=None, int32=np.int32, float32=np.float32, bool=np.bool_,
    shape=np.shape, reshape=np.reshape, transpose=np.transpose, broadcast_to=np.broadcast_to,
    where=_where, gather=_gather, stack=np.stack, concat=np.concatenate, repeat=np.repeat, unstack=list,
    constant=_constant, convert_to_tensor=_constant, zeros_like=np.zeros_like, scatter_nd=_scatter_nd,
    cast=lambda x, dtype: np.asarray(x, dtype),
    fill=lambda shape, value: np.full(tuple(shape), _constant(value)),
    zeros=lambda shape, dtype=np.float32: np.zeros(tuple(shape), dtype),
    ones=lambda shape, dtype=np.float32: np.ones(tuple(shape), dtype),
    range=lambda *limits: np.arange(*limits, dtype=np.int32),
    one_hot=lambda ids, size: (np.asarray(ids)[..., None] == np.arange(size)).astype(np.float32),
    argmax=lambda x, axis, output_type: np.argmax(x, axis=axis).astype(np.int32),
    exp=np.exp, maximum=np.maximum, minimum=np.minimum, cumsum=_cumsum, matmul=np.matmul,
    searchsorted=lambda table, values: np.searchsorted(table, values).astype(np.int32),
    reduce_sum=_reduction(np.add), reduce_max=_reduction(np.maximum), reduce_min=_reduction(np.minimum),
    reduce_any=_reduction(np.logical_or), reduce_all=_reduction(np.logical_and),
    math=SimpleNamespace(log=np.log, top_k=_top_k), nn=SimpleNamespace(softmax=_softmax),
    nest=SimpleNamespace(map_structure=_map_structure), while_loop=_while_loop, TensorArray=_TensorArray,
    random=SimpleNamespace(
        uniform=_uniform, stateless_uniform=_stateless_uniform, experimental=SimpleNamespace(stateless_fold_in=_fold_in)
    ),
)  # fmt: skip
