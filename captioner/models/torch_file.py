"""Reads the arrays of a file that `torch.save` wrote in its old format, without torch and without running its pickle.

The old format (torch before 1.6) is five pickles in a row, a magic number, the version, facts of the machine, the
object and the keys of its storages, then of every storage its number of elements as int64 and its bytes. A pickle can
name any function; this reader knows the five names below and refuses every other.
"""

from __future__ import annotations

import collections
import io
import math
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from captioner.errors import ModelError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_STORAGES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
_NOT_OLD = "expected a file that torch.save wrote in its old format"


class _Storage:
    """Type and length of a storage, whose bytes follow the pickles."""

    def __init__(self, dtype: np.dtype, length: int) -> None:
        self.dtype, self.length = dtype, length
        self.array = np.zeros(0, dtype)


class _Tensor:
    """A view of a storage: offset, shape and strides, in elements."""

    def __init__(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def numpy(self) -> np.ndarray:
        counts = (self.offset, *self.shape, *self.strides)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        stored = len(self.storage.array)
        if any(not isinstance(n, int) or n < 0 for n in counts):
            raise ModelError("a tensor whose sizes are no numbers")
        count: int = math.prod(list(self.shape))
        if count > stored or (count and last >= stored):
            raise ModelError("a tensor lies outside its storage")
        item = self.storage.dtype.itemsize
        strides = tuple(stride * item for stride in self.strides)
        view = np.lib.stride_tricks.as_strided(self.storage.array[self.offset :], self.shape, strides)
        return view.copy()


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Builds dicts, lists, numbers, strings, storages and tensors; refuses any other name."""

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"names {module}.{name}, which weights have no use for")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, length, view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or view is not None:
            raise pickle.UnpicklingError("a storage of an unknown kind")
        return self.storages.setdefault(str(key), _Storage(dtype, int(length)))


def read_torch(file: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a state dict that `torch.save` wrote in its old format.

    Args:
        file: path of the `.pth`.

    Returns:
        {name: array}, float32 or int64, in the order of the file.

    Raises:
        ModelError: if the file has another format, names anything but tensors, is cut short or not to be read.

    Example:
        >>> arrays = read_torch("efficientnet-lite0-57934424.pth")  # doctest: +SKIP
        >>> arrays["_conv_stem.weight"].shape  # doctest: +SKIP
        (32, 3, 3, 3)
    """
    try:
        stream = io.BytesIO(Path(file).read_bytes())
        if _Unpickler(stream).load() != _MAGIC or _Unpickler(stream).load() != _VERSION:
            raise ModelError(_NOT_OLD)
        _Unpickler(stream).load()  # facts of the machine
        unpickler = _Unpickler(stream)
        state = unpickler.load()
        for key in _Unpickler(stream).load():
            _fill(unpickler.storages[key], stream)
        if not isinstance(state, dict) or not all(isinstance(tensor, _Tensor) for tensor in state.values()):
            raise ModelError("expected a state dict: names and tensors, nothing else")
        return {str(name): tensor.numpy() for name, tensor in state.items()}
    except OSError as error:
        raise ModelError(f"{os.fspath(file)} cannot be read: {error.strerror or error}") from None
    except ModelError as error:
        raise ModelError(f"{os.fspath(file)}: {error}") from None
    except Exception as error:  # a pickle of strangers can raise anything
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"{os.fspath(file)}: {_NOT_OLD}, got another or a damaged one ({first})") from None


def _fill(storage: _Storage, stream: io.BytesIO) -> None:
    """Reads a storage's length and bytes; what the pickle and the file say of its length must agree."""
    length = int(np.frombuffer(stream.read(8), "<i8")[0])
    size = length * storage.dtype.itemsize
    left = stream.getbuffer().nbytes - stream.tell()
    if length != storage.length or not 0 <= size <= left:
        raise ModelError(f"a storage of {storage.length} numbers is cut short or of another length")
    storage.array = np.frombuffer(stream.read(size), storage.dtype)
