"""One folder of the feature cache: an array on disk, and a file that says how much of it is filled.

    features.npy    float16 [N, L, C], allocated at once; row i belongs to image i of the split
    sums.npy        uint32 [N], a checksum (CRC-32) of each row
    state.json      the key, how many rows are written, and which images could not be read

Rows are flushed to disk before the state that counts them. A cache that is incomplete or has another key is refused
with a one-line error, and so is a row whose checksum differs.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from captioner import atomic, metadata
from captioner.errors import DataError
from captioner.signals import defer_signals

_ELSEWHERE = "set another folder with --set data.features=PATH"
_FEATURES, _SUMS, _STATE = "features.npy", "sums.npy", "state.json"


@dataclass
class State:
    """The content of `state.json`.

    Attributes:
        key: str. Everything that the features depend on.
        done: int. Rows that are written.
        bad: rows of split, image id and reason, of the images that could not be read.
        lost: numbers of these images, in the same order.
    """

    key: str
    done: int = 0
    bad: list[list[str]] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)

    def problem(self, ids: Sequence[str]) -> str | None:
        """What is wrong with the state for a split of these images, or None."""
        good = type(self.done) is int and 0 <= self.done <= len(ids)
        good = good and isinstance(self.bad, list) and isinstance(self.lost, list)
        if not good:
            return f"its state does not fit {len(ids)} images"
        for row in self.bad:
            if not isinstance(row, list) or len(row) != 3 or not all(isinstance(text, str) for text in row):
                return "its list of images that cannot be read is none of ours"
        if not all(type(number) is int and 0 <= number < self.done for number in self.lost):
            return "its list of images that cannot be read is none of ours"
        if [ids[number] for number in self.lost] != [row[1] for row in self.bad]:
            return "its list of images that cannot be read is one of other images"
        return None


class Store:
    """The array and its state; made by `existing` and `opened`.

    Args:
        place: Path of the folder.
        array: float16 [N, L, C], on disk.
        sums: uint32 [N], on disk; None for a cache of an older version, whose rows nobody can check.
        state: State.
    """

    def __init__(self, place: Path, array: Any, sums: Any, state: State):
        self.place, self.array, self.state = place, array, state
        self._sums = sums
        self._checked = np.zeros(len(array), bool)

    def write(self, first: int, rows: np.ndarray, bad: Sequence[tuple[str, int, str, str]] = ()) -> None:
        """Appends rows [n, L, C] in memory; `flush` writes them to disk.

        Args:
            first: int. The number of the first row.
            rows: float [n, L, C].
            bad: split, number, image id and reason of the images among them that could not be read.
        """
        with defer_signals():
            self.array[first : first + len(rows)] = rows
            if self._sums is not None:
                for number in range(first, first + len(rows)):
                    self._sums[number] = _sum(self.array[number])
            for split, number, name, reason in bad:
                self.state.lost.append(number)
                self.state.bad.append([split, name, reason])
            self.state.done = first + len(rows)

    def flush(self) -> None:
        """Flushes the rows to disk, and then the state that counts them.

        Raises:
            DataError: if they cannot be written.
        """
        try:
            for name, array in ((_FEATURES, self.array), (_SUMS, self._sums)):
                if array is not None:
                    array.flush()
                    atomic.flush(self.place / name)
        except OSError as error:
            raise DataError(f"cannot write {self.place}: {error.strerror or error}; {_ELSEWHERE}") from None
        atomic.write_json(self.place / _STATE, asdict(self.state))

    def rows(self, index: np.ndarray) -> np.ndarray:
        """float16 [n, L, C] of the images with these numbers.

        Raises:
            DataError: if a row is not the one that was written.
        """
        rows = np.asarray(self.array[index])
        if self._sums is not None and not self._checked[index].all():
            for number, row in zip(np.ravel(index).tolist(), rows.reshape(-1, *rows.shape[-2:]), strict=True):
                if not self._checked[number] and _sum(row) != self._sums[number]:
                    raise DataError(
                        f"damaged feature cache: row {number} of {self.place / _FEATURES} is not the one that was "
                        f"written; delete {self.place} to encode its images again"
                    )
            self._checked[index] = True
        return rows


def _sum(row: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(row).data)


def existing(
    place: Path, key: str, ids: Sequence[str], row_shape: tuple[int, int], mode: Literal["r", "r+"] = "r"
) -> Store | None:
    """The store in a folder, or None where there is none.

    Args:
        place: Path.
        key: str. The key that the cache must have.
        ids: of the split's images, in order.
        row_shape: (L, C).
        mode: "r" to read, "r+" to write more rows.

    Raises:
        DataError: if the cache is damaged or has another key.
    """
    if not ((place / _STATE).is_file() and (place / _FEATURES).is_file()):
        return None
    try:
        content = metadata.load(place / _STATE, DataError)
        lost = content.get("lost")
        if lost is None:  # of an older version
            names = {row[1] for row in content["bad"]}
            lost = [number for number, name in enumerate(ids) if name in names]
        state = State(content["key"], content["done"], content["bad"], lost)
        reason = "it is of other images or another encoder" if state.key != key else state.problem(ids)
        array = np.load(place / _FEATURES, mmap_mode=mode)
        sums = np.load(place / _SUMS, mmap_mode=mode) if (place / _SUMS).is_file() else None
        if not reason and (array.shape != (len(ids), *row_shape) or array.dtype != np.float16):
            reason = f"its array is {array.dtype} of {array.shape}"
        if not reason and sums is not None and (sums.shape != (len(ids),) or sums.dtype != np.uint32):
            reason = f"its checksums are {sums.dtype} of {sums.shape}"
    except (DataError, OSError, ValueError, KeyError, TypeError, IndexError, EOFError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    if reason:
        raise DataError(
            f"expected the feature cache {place} to be ours and whole, it is neither ({reason}); delete it"
        )
    return Store(place, array, sums, state)


def opened(place: Path, key: str, ids: Sequence[str], row_shape: tuple[int, int]) -> Store:
    """The store in a folder, opened for writing; created if new. Only for the program that has the folder's lock.

    Raises:
        DataError: as `existing`, or if the disk has no room.
    """
    store = existing(place, key, ids, row_shape, "r+")
    if store is not None:
        return store
    shape = (len(ids), *row_shape)
    need = int(np.prod(shape)) * 2
    free = shutil.disk_usage(place).free
    if free < need * 1.02:
        raise DataError(
            f"expected {need / 1e9:.2f} GB free for features in {place}, found {free / 1e9:.2f} GB; "
            f"free some space or {_ELSEWHERE}"
        )
    try:
        for name, kind, size in ((_FEATURES, "<f2", shape), (_SUMS, "<u4", shape[:1])):
            _allocate(place / name, kind, size)
    except OSError as error:
        for name in (_FEATURES, _SUMS):
            (place / name).unlink(missing_ok=True)
        raise DataError(
            f"cannot write {need / 1e9:.2f} GB of features to {place}: {error.strerror or error}; "
            f"free some space or {_ELSEWHERE}"
        ) from None
    array, sums = (np.load(place / name, mmap_mode="r+") for name in (_FEATURES, _SUMS))
    return Store(place, array, sums, State(key))


def _allocate(file: Path, kind: str, shape: tuple[int, ...]) -> None:
    """Creates an array's file, all blocks allocated: a disk that fills up later would kill the process by SIGBUS."""
    need = int(np.prod(shape)) * np.dtype(kind).itemsize
    with open(file, "wb") as handle:
        np.lib.format.write_array_header_2_0(handle, {"descr": kind, "fortran_order": False, "shape": shape})
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle.fileno(), 0, handle.tell() + need)
        else:
            for start in range(0, need, 1 << 24):
                handle.write(bytes(min(1 << 24, need - start)))
    atomic.flush(file)


def make(place: Path) -> None:
    """Makes the folder.

    Raises:
        DataError: if it cannot be made.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot make the folder {place} for features: {error.strerror or error}; {_ELSEWHERE}"
        ) from None
