"""Features of a frozen encoder, computed once and kept on disk.

A cache is a folder named by a fingerprint of everything the numbers depend on: the network and its weights, the
preprocessing, the image size and the pictures. Anything else is another folder, so a stale cache cannot be used.
Work stopped in the middle goes on where it was.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from captioner import images
from captioner.errors import DataError, ImageError
from captioner.models.encoders import Encoder
from training.checkpoint import write_text
from training.datasets import BadRows, Dataset, Example
from training.fingerprint import weights_fingerprint

_ELSEWHERE = "set another folder with --set data.features=PATH"


class Features:
    """Features of the pictures of one split: `features[i]` is float16 [L, C], of `examples[i]`.

    Args:
        examples: the split's examples.
        array: float16 [N, L, C], on disk.
        lost: numbers of the examples whose picture could not be read.

    Attributes:
        examples: the examples whose picture could be read, in the dataset's order.
        shape: (N, L, C), those alone.
    """

    def __init__(self, examples: Sequence[Example], array: np.ndarray, lost: Collection[int] = ()):
        self._rows = np.setdiff1d(np.arange(len(examples)), list(lost))
        self._array, self.examples = array, [examples[i] for i in self._rows]
        self.shape = (len(self._rows), *array.shape[1:])

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self._array[self._rows[index]])


class Joined:
    """Features of the same pictures by several encoders, as `Features`: one after another along C.

    Args:
        parts: sequence of Features.
    """

    def __init__(self, parts: Sequence[Features | Joined]):
        self._parts = parts
        self.examples: list[Example] = parts[0].examples
        self.shape: tuple[int, ...] = (*parts[0].shape[:2], sum(part.shape[2] for part in parts))

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.concatenate([part[index] for part in self._parts], axis=-1)


def encode_split(
    encoder: Encoder,
    dataset: Dataset,
    split: str,
    folder: str | Path = "cache/features",
    batch_size: int | None = None,
    max_bad: float = 0.01,
) -> Features | Joined:
    """Features of all pictures of a split, from the cache or computed now.

    Encoders that are joined on the grid that each of them has are kept apart, so that what one of them has already
    encoded is not encoded again.

    Args:
        encoder: Encoder.
        dataset: Dataset.
        split: str.
        folder: path, default "cache/features". Holds one folder a fingerprint.
        batch_size: int, default 32 with a GPU, else 4: a CPU's cache holds no more of what a layer gives.
        max_bad: float, default 0.01. Share of pictures that may be unreadable; those are listed and left out.

    Returns:
        `Features`, or what reads alike.

    Raises:
        DataError: if too many pictures are unreadable or the disk is full.
    """
    if _apart(encoder):
        return Joined(
            [encode_split(each, dataset, split, folder, batch_size, max_bad) for each in encoder.parts]
        )
    place, key, examples = _find(encoder, dataset, split, folder)
    shape = (len(examples), encoder.grid[0] * encoder.grid[1], encoder.channels)
    found = _existing(place, key, shape, "r")
    if found is None or found[1]["done"] < len(examples):
        _make(place)
        with _alone(place):
            found = _open(place, key, shape)
            together = batch_size or (32 if tf.config.list_physical_devices("GPU") else 4)
            _encode(encoder, examples, found[0], found[1], place, together)
    array, state = found
    bad = BadRows(f"features_{split}", place / "bad_rows.jsonl", max_bad)
    for _, row, reason in state["bad"]:
        bad.add(split, row, reason)
    bad.check(len(examples))
    return Features(examples, array, _lost(state, examples))


def _apart(encoder: Encoder) -> bool:
    """Whether an encoder's features are those of others, unchanged."""
    return bool(encoder.parts) and all(part.grid == encoder.grid for part in encoder.parts)


def _encode(
    encoder: Encoder, examples: Sequence[Example], array: Any, state: dict, place: Path, batch_size: int
) -> None:
    """Fills `array` from where `state` says it is, and brings `state` along, here and on disk."""
    todo = range(state["done"], len(examples))
    if not todo:
        return
    state["lost"] = _lost(state, examples)
    encode = tf.function(lambda pixels: encoder(pixels, training=False), autograph=False)
    split = place.name.rpartition("-")[0]
    bar = tqdm(total=len(examples), initial=todo.start, desc=f"encode {split}", unit="pic", mininterval=1.0)
    with bar, ThreadPoolExecutor(4) as pool:
        for first, pixels, errors in _batches(examples, todo, encoder.image_size, batch_size, pool):
            for index, reason in errors:
                state["lost"].append(index)
                state["bad"].append((split, examples[index].id, reason))
            missing = np.zeros((batch_size - len(pixels), *pixels.shape[1:]), np.float32)
            array[first : first + len(pixels)] = encode(np.concatenate([pixels, missing])).numpy()[
                : len(pixels)
            ]
            bar.update(len(pixels))
            state["done"] = first + len(pixels)
            if ((first - todo.start) // batch_size) % 20 == 19 or state["done"] == len(examples):
                array.flush()
                write_text(place / "state.json", json.dumps(state))


def cached_split(
    encoder: Encoder, dataset: Dataset, split: str, folder: str | Path = "cache/features"
) -> Features | Joined | None:
    """Features of a split if the cache has them all, else None; computes and writes nothing.

    Args:
        encoder: Encoder.
        dataset: Dataset.
        split: str.
        folder: path, default "cache/features".

    Returns:
        `Features`, or what reads alike, or None.

    Raises:
        DataError: if the cache is damaged.
    """
    if not Path(folder).is_dir():
        return None
    if _apart(encoder):
        parts = [cached_split(each, dataset, split, folder) for each in encoder.parts]
        there = [part for part in parts if part is not None]
        return Joined(there) if len(there) == len(parts) else None
    place, key, examples = _find(encoder, dataset, split, folder)
    shape = (len(examples), encoder.grid[0] * encoder.grid[1], encoder.channels)
    found = _existing(place, key, shape, "r")
    if found is None or found[1]["done"] < len(examples):
        return None
    return Features(examples, found[0], _lost(found[1], examples))


def _find(
    encoder: Encoder, dataset: Dataset, split: str, folder: str | Path
) -> tuple[Path, str, Sequence[Example]]:
    """Where a split's features belong, what they depend on, and the split's examples."""
    examples = dataset.examples(split)
    key = json.dumps(
        {
            "pixels": images.VERSION,
            "size": encoder.image_size,
            "encoder": weights_fingerprint(encoder),
            "pictures": dataset.fingerprint,
            "split": split,
            "ids": hashlib.sha256("\n".join(e.id for e in examples).encode()).hexdigest(),
        },
        sort_keys=True,
    )
    return Path(folder) / f"{split}-{hashlib.sha256(key.encode()).hexdigest()[:16]}", key, examples


def _lost(state: dict, examples: Sequence[Example]) -> list[int]:
    """Numbers of the pictures that could not be read."""
    ids = {row[1] for row in state["bad"]}
    return list(state.get("lost", [i for i, example in enumerate(examples) if example.id in ids]))


def _batches(
    examples: Sequence[Example], todo: range, size: tuple[int, int], batch_size: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[int, np.ndarray, list[tuple[int, str]]]]:
    """First index, pixels [n, H, W, 3] and (index, reason) of what could not be read, the next batch read ahead."""
    load = images.reader(size)

    def read(index: int) -> np.ndarray | str:
        try:
            return examples[index].pixels(load)
        except ImageError as error:
            return str(error)

    starts = list(range(todo.start, todo.stop, batch_size))
    submit = lambda start: [pool.submit(read, i) for i in range(start, min(start + batch_size, todo.stop))]  # noqa: E731
    ahead = submit(starts[0])
    for number, start in enumerate(starts):
        results = [each.result() for each in ahead]
        ahead = submit(starts[number + 1]) if number + 1 < len(starts) else []
        errors = [(start + i, r) for i, r in enumerate(results) if isinstance(r, str)]
        blank = np.zeros((*size, 3), np.float32)
        yield start, np.stack([blank if isinstance(r, str) else r for r in results]), errors


def _make(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot make the folder {place} for features: {error.strerror or error}; {_ELSEWHERE}"
        ) from None


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Waits while another program encodes into the same folder: then there is nothing left to do."""
    with open(place / "lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"waiting for another program that encodes into {place}", flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _existing(
    place: Path, key: str, shape: tuple[int, int, int], mode: Literal["r", "r+"]
) -> tuple[Any, dict] | None:
    """The cache's array and how far it is filled, or None where there is none."""
    file, state_file = place / "features.npy", place / "state.json"
    if not (state_file.is_file() and file.is_file()):
        return None
    try:
        state = json.loads(state_file.read_text())
        array = np.load(file, mmap_mode=mode)
        if state["key"] == key and array.shape == shape:
            return array, state
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"expected the feature cache {place} to be ours and whole, it is neither; delete it")


def _open(place: Path, key: str, shape: tuple[int, int, int]) -> tuple[Any, dict]:
    """The cache's array and how far it is filled; made when new."""
    found = _existing(place, key, shape, "r+")
    if found is not None:
        return found
    file, need = place / "features.npy", int(np.prod(shape)) * 2
    free = shutil.disk_usage(place).free
    if free < need * 1.02:
        raise DataError(
            f"expected {need / 1e9:.2f} GB free for features in {place}, found {free / 1e9:.2f} GB; "
            f"free some space or {_ELSEWHERE}"
        )
    try:
        with open(file, "wb") as handle:
            np.lib.format.write_array_header_2_0(
                handle, {"descr": "<f2", "fortran_order": False, "shape": shape}
            )
            # Blocks are really taken, so that a disk that fills up later cannot kill the run by SIGBUS.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle.fileno(), 0, handle.tell() + need)
            else:
                for start in range(0, need, 1 << 24):
                    handle.write(bytes(min(1 << 24, need - start)))
    except OSError as error:
        file.unlink(missing_ok=True)
        raise DataError(
            f"cannot write {need / 1e9:.2f} GB of features to {place}: {error.strerror or error}; "
            f"free some space or {_ELSEWHERE}"
        ) from None
    return np.load(file, mmap_mode="r+"), {"key": key, "done": 0, "bad": []}
