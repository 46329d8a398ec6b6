"""Files in the old format of `torch.save`, written without torch: pickles that name its classes, then storages."""

import collections
import io
import pickle
import sys
import types
from unittest import mock

import numpy as np

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


class Storage:
    """Stands for a storage while a pickle is written."""

    def __init__(self, key, array, length=None):
        self.key, self.array = key, array
        self.length = len(array) if length is None else length


class Tensor:
    """Pickled as torch pickles a tensor: a call of `_rebuild_tensor_v2`."""

    def __init__(self, storage, offset, shape, strides, function):
        self.parts, self.function = (storage, offset, shape, strides, False, {}), function

    def __reduce__(self):
        return self.function, self.parts


def write(path, tensors, after=b"", magic=MAGIC, storages=None):
    """Writes {name: (storage, offset, shape, strides)} as `torch.save` did, then the bytes of `storages`."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(*_):
        """Only its name is pickled."""

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2, torch._utils = rebuild, utils
    kinds = {"f": "FloatStorage", "i": "LongStorage"}
    for kind in kinds.values():
        setattr(torch, kind, type(kind, (), {"__module__": "torch", "__qualname__": kind}))

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if not isinstance(obj, Storage):
                return None
            kind = getattr(torch, kinds[obj.array.dtype.kind])
            return ("storage", kind, obj.key, "cpu", obj.length, None)

    state = collections.OrderedDict(
        (name, Tensor(*parts, rebuild) if isinstance(parts, tuple) else parts)
        for name, parts in tensors.items()
    )
    if storages is None:
        storages = {parts[0].key: parts[0].array for parts in tensors.values() if isinstance(parts, tuple)}
    stream = io.BytesIO()
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        for obj in (magic, VERSION, {"little_endian": True}, state, list(storages)):
            Pickler(stream, protocol=2).dump(obj)
    for array in storages.values():
        stream.write(np.int64(len(array)).tobytes() + array.tobytes())
    path.write_bytes(stream.getvalue() + after)
    return path
