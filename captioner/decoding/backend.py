"""The array functions that search is written in: TensorFlow's, or the same few of them in NumPy.

Search is written once, by TensorFlow's names, and runs in two places: inside graphs, and on devices that have NumPy
alone. The modules of this package say `from captioner.decoding.backend import tf`; that name stands for TensorFlow,
unless `numpy_arrays()` is in force.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

_in_numpy = contextvars.ContextVar("captioner_in_numpy", default=False)


class _Arrays:
    """TensorFlow, or the functions below."""

    def __getattr__(self, name: str) -> Any:
        if _in_numpy.get():
            return getattr(_NUMPY, name)
        import tensorflow

        return getattr(tensorflow, name)


tf: Any = _Arrays()


@contextlib.contextmanager
def numpy_arrays() -> Iterator[None]:
    """Within it, search runs in NumPy: what goes in and comes out are NumPy arrays, and TensorFlow is not imported.

    Example:
        >>> with numpy_arrays():
        ...     tf.math.top_k(np.float32([[1, 3, 2]]), 2).indices
        array([[1, 2]], dtype=int32)
    """
    token = _in_numpy.set(True)
    try:
        yield
    finally:
        _in_numpy.reset(token)


def without_autograph(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose code TensorFlow takes as it is, wherever it is traced: its loops are spelled out."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if _in_numpy.get():
            return function(*args, **kwargs)
        return tf.autograph.experimental.do_not_convert(function)(*args, **kwargs)

    return call


def shaped_like(new: Any, old: Any) -> Any:
    """The tree `new`, its leaves known to have the shapes of those of `old`.

    Layers may forget static shapes that a loop in a graph insists on; NumPy's arrays always know theirs.
    """
    if _in_numpy.get():
        return new

    def shaped(leaf: Any, other: Any) -> Any:
        leaf.set_shape(other.shape)
        return leaf

    return tf.nest.map_structure(shaped, new, old)


# The NumPy functions. They do what TensorFlow's do for what search asks of them, and no more: the same values, types
# and order among equals.


class _Best(NamedTuple):
    values: np.ndarray
    indices: np.ndarray


_FEW = 16


def _top_k(x: Any, k: int) -> _Best:
    """The k largest along the last axis, the first of equals first."""
    rows = np.reshape(x, (-1, np.shape(x)[-1]))
    every = np.arange(len(rows))
    if k > _FEW:
        indices = np.argsort(-rows, axis=1, kind="stable")[:, :k].astype(np.int32)
    else:  # far quicker than sorting a vocabulary for a few beams
        left, indices = np.array(rows, np.float32), np.empty((len(rows), k), np.int32)
        for place in range(k):
            best = left.argmax(axis=1)
            indices[:, place] = best
            left[every, best] = -np.inf
    values = rows[every[:, None], indices]
    shape = (*np.shape(x)[:-1], k)
    return _Best(values.reshape(shape), indices.reshape(shape))


def _gather(params: Any, indices: Any, batch_dims: int = 0) -> np.ndarray:
    """What `indices` name along the first axis behind `batch_dims` leading ones, which both have."""
    params, indices = np.asarray(params), np.asarray(indices)
    if not batch_dims:
        return params[indices]
    lead, tail = indices.shape[:batch_dims], params.shape[batch_dims + 1 :]
    # As one long axis, on which each batch has a stretch of its own.
    starts = params.shape[batch_dims] * np.arange(math.prod(lead)).reshape(
        *lead, *[1] * (indices.ndim - batch_dims)
    )
    return params.reshape(-1, *tail)[indices + starts]


def _where(condition: Any, yes: Any, no: Any) -> np.ndarray:
    """NumPy's, where a bare number takes the type of the other choice, and two of them that of TensorFlow."""
    kind = getattr(yes, "dtype", None) or getattr(no, "dtype", None) or _constant(yes).dtype
    return np.where(condition, np.asarray(yes, kind), np.asarray(no, kind))


def _constant(value: Any, dtype: Any = None) -> np.ndarray:
    array = np.asarray(value, dtype)
    narrow = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}
    return array if dtype is not None else array.astype(narrow.get(array.dtype, array.dtype))


def _scatter_nd(indices: Any, updates: Any, shape: Any) -> np.ndarray:
    found = np.zeros(tuple(shape), updates.dtype)
    np.add.at(found, tuple(np.moveaxis(indices, -1, 0)), updates)
    return found


def _cumsum(x: Any, axis: int, exclusive: bool) -> np.ndarray:
    total = np.cumsum(x, axis=axis, dtype=x.dtype)
    return total - x if exclusive else total


def _softmax(x: Any) -> np.ndarray:
    grown = np.exp(x - x.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)


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
    """What each step wrote; zeros where none did."""

    def __init__(self, dtype: Any, size: int, element_shape: Sequence[int]):
        self.found = np.zeros((size, *element_shape), dtype)

    def write(self, index: Any, value: Any) -> _TensorArray:
        self.found[int(index)] = value
        return self

    def stack(self) -> np.ndarray:
        return self.found


def _fold_in(seed: Any, number: Any) -> np.ndarray:
    return np.array([*np.ravel(seed), int(number)], np.uint32)


def _stateless_uniform(shape: Any, seed: Any, minval: float = 0.0) -> np.ndarray:
    """From NumPy's own generator: the draws are not those of TensorFlow."""
    drawn = np.random.default_rng(np.asarray(seed, np.uint32)).random(tuple(shape), np.float32)
    return np.maximum(drawn, np.float32(minval))


def _uniform(shape: Sequence[int], maxval: int, dtype: Any) -> np.ndarray:
    return np.random.default_rng().integers(0, maxval, shape, dtype)


def _reduced(function: np.ufunc) -> Callable[..., Any]:
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
    reduce_sum=_reduced(np.add), reduce_max=_reduced(np.maximum), reduce_min=_reduced(np.minimum),
    reduce_any=_reduced(np.logical_or), reduce_all=_reduced(np.logical_and),
    math=SimpleNamespace(log=np.log, top_k=_top_k), nn=SimpleNamespace(softmax=_softmax),
    nest=SimpleNamespace(map_structure=_map_structure), while_loop=_while_loop, TensorArray=_TensorArray,
    random=SimpleNamespace(
        uniform=_uniform, stateless_uniform=_stateless_uniform, experimental=SimpleNamespace(stateless_fold_in=_fold_in)
    ),
)  # fmt: skip
