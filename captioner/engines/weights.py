"""Reading and writing the weights of a network: arrays of numbers and nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from captioner import format1
from captioner.errors import ModelError


def load_weights(model: Any, stored: Any) -> None:
    """Loads the weights of a bundle into a network.

    Args:
        model: `CaptionModel`.
        stored: `captioner.bundle.Bundle`.

    Raises:
        ModelError: if they are those of another network, not finite, or the file holds anything but numbers.
    """
    try:
        _only_numbers(stored.weights)
        if stored.format == 1:
            with _renamed(stored.weights) as path:
                model.load_weights(str(path))
            model.decoder.from_format_1()
        else:
            model.load_weights(str(stored.weights))
    except ModelError:
        raise
    except Exception as error:  # damage raises exceptions of any kind
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{stored.weights} does not fit the network of {stored.folder}: {reason}") from None
    if not finite(model):
        raise ModelError(
            f"expected finite weights in {stored.weights}, got NaN or infinity: train the model again"
        )


def finite(model: Any) -> bool:
    """Whether all weights of a network are finite numbers."""
    return all(np.isfinite(np.asarray(weight)).all() for weight in model.get_weights())


def save_weights(model: Any, path: str, half_precision: bool = False) -> None:
    """Writes the weights of a network without the state of its optimizer, which Keras would add.

    Args:
        model: `CaptionModel`.
        path: str, ending in ".weights.h5".
        half_precision: bool, default False. Kernels and matrices as float16. Vectors stay float32: they are small,
            and variances among them need the range.
    """
    optimizer = getattr(model, "optimizer", None)
    try:
        model.optimizer = None
        model.save_weights(path)
    finally:
        model.optimizer = optimizer
    if half_precision:
        _to_half_precision(path)


def _only_numbers(path: Path) -> None:
    """Refuses a file with links to other files, with objects, or with sizes beyond its own."""
    import h5py

    most = 4 * os.path.getsize(path) + (1 << 20)

    def check(group: Any, depth: int) -> None:
        if depth > 32:
            raise ModelError(f"damaged {path}: groups nested too deeply")
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ModelError(
                    f"damaged {path}: expected weights, but {name[:60]!r} is a link to somewhere else: nothing was read"
                )
            item = group[name]
            if isinstance(item, h5py.Group):
                check(item, depth + 1)
                continue
            stored = isinstance(item, h5py.Dataset) and not item.external and not item.is_virtual
            if not stored or item.dtype.kind not in "fiub" or item.nbytes > most:
                raise ModelError(f"damaged {path}: expected weights, but {name[:60]!r} holds something else")

    with h5py.File(path, "r") as file:
        check(file, 0)


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    """The weights file of a folder of format 1 with today's group names: a copy that exists inside the block."""
    import h5py

    def renames(group: Any, prefix: str) -> list[tuple[str, str]]:
        moves = []
        for name in group:
            if isinstance(group[name], h5py.Group):
                moves += renames(group[name], f"{prefix}/{name}")  # the inner ones first
                if (new := format1.layer(name, group)) != name:
                    moves.append((f"{prefix}/{name}", f"{prefix}/{new}"))
        return moves

    with h5py.File(path, "r") as file:
        moves = renames(file["decoder"], "decoder") if isinstance(file.get("decoder"), h5py.Group) else []
    if not moves:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(path, Path(folder, path.name)))
        with h5py.File(copy, "r+") as file:
            for old, new in moves:
                file.move(old, new)
        yield copy


def _to_half_precision(path: str) -> None:
    """Rewrites a file of weights as float16: HDF5 would not free the space of what is replaced in place."""
    import h5py

    half = f"{path}.half"
    with h5py.File(path, "r") as old, h5py.File(half, "w") as new:

        def copy(name: str, item: Any) -> None:
            if isinstance(item, h5py.Group):
                target = new.require_group(name)
            else:
                narrow = item.ndim > 1 and item.dtype == np.float32
                target = new.create_dataset(name, data=item[()].astype(np.float16) if narrow else item[()])
            target.attrs.update(item.attrs)

        new.attrs.update(old.attrs)
        old.visititems(copy)
    os.replace(half, path)
