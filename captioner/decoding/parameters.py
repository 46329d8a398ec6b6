"""Fitted parameters in `.npz` files, which may come from an untrusted source. No TensorFlow here."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from typing import IO

import numpy as np


def read_arrays(source: str | os.PathLike[str] | IO[bytes], names: Iterable[str]) -> dict[str, np.ndarray]:
    """Reads arrays of an uncompressed `.npz` file; others in it are ignored.

    Args:
        source: path, or a binary file that can seek.
        names: iterable of str.

    Returns:
        dict of name to array: numbers and text, never objects.

    Raises:
        Exception: of any kind, if the file is damaged, holds no such arrays, or is compressed. `numpy.savez` compresses
            nothing, so that no array is larger than the file.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> np.savez(file, rank=np.int32(3))
        >>> read_arrays(file, ["rank"])["rank"].item()
        3
    """
    with zipfile.ZipFile(source) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("expected arrays that are not compressed")
    if not isinstance(source, str | os.PathLike):
        source.seek(0)
    with np.load(source, allow_pickle=False) as file:
        return {name: file[name] for name in names}
