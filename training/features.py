"""Features of a frozen encoder, computed once and kept on disk.

A cache is a folder named by a fingerprint of everything the numbers depend on: the network and its weights, the
preprocessing, the image size and the pictures. Anything else is another folder, so a stale cache cannot be used.
Work stopped in the middle goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from captioner import images
from captioner.errors import DataError, ImageError
from captioner.models.encoders import Encoder
from training.datasets import BadRows, Dataset, Example


class Features:
    """Features of the pictures of one split: `features[i]` is float16 [L, C], of `examples[i]`.

    Attributes:
        examples: the examples whose picture could be read, in the dataset's order.
        shape: (N, L, C).
    """

    def __init__(self, examples: Sequence[Example], array: np.ndarray):
        self.examples, self._array, self.shape = list(examples), array, array.shape

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(self._array[index])


def weights_fingerprint(encoder: Encoder) -> str:
    """Hex digest of an encoder's structure and weights, the same in every process."""
    digest = hashlib.sha256(encoder.scaling.encode())
    numbers = {layer.name: f"layer {i}" for i, layer in enumerate(encoder.network.layers)}
    numbers[encoder.network.name] = "network"
    structure = _nameless(encoder.network.get_config(), numbers)
    digest.update(json.dumps(structure, sort_keys=True, default=str).encode())
    for variable in encoder.network.variables:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{value.shape}{value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _nameless(config: Any, numbers: dict[str, str]) -> Any:
    """A network's config without what its features do not depend on: running names, object ids, being frozen."""
    if isinstance(config, dict):
        return {
            k: _nameless(v, numbers) for k, v in config.items() if k not in ("shared_object_id", "trainable")
        }
    if isinstance(config, list | tuple):
        return [_nameless(each, numbers) for each in config]
    return numbers.get(config, config) if isinstance(config, str) else config


def encode_split(
    encoder: Encoder,
    dataset: Dataset,
    split: str,
    folder: str | Path = "cache/features",
    batch_size: int = 32,
    max_bad: float = 0.01,
) -> Features:
    """Features of all pictures of a split, from the cache or computed now.

    Args:
        encoder: Encoder.
        dataset: Dataset.
        split: str.
        folder: path, default "cache/features". Holds one folder a fingerprint.
        batch_size: int, default 32.
        max_bad: float, default 0.01. Share of pictures that may be unreadable; those are listed and left out.

    Returns:
        `Features`.

    Raises:
        DataError: if too many pictures are unreadable or the disk is full.
    """
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
    place = Path(folder) / f"{split}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    shape = (len(examples), encoder.grid[0] * encoder.grid[1], encoder.channels)
    array, state = _open(place, key, shape)
    bad = BadRows(f"features_{split}", place / "bad_rows.jsonl", max_bad)
    for row in state["bad"]:
        bad.add(*row)
    todo = range(state["done"], len(examples))
    if todo:
        encode = tf.function(lambda pixels: encoder(pixels, training=False), autograph=False)
        bar = tqdm(
            total=len(examples), initial=state["done"], desc=f"encode {split}", unit="pic", mininterval=1.0
        )
        with bar, ThreadPoolExecutor(4) as pool:
            for first, pixels, errors in _batches(examples, todo, encoder.image_size, batch_size, pool):
                for index, reason in errors:
                    bad.add(split, examples[index].id, reason)
                filled = np.concatenate(
                    [pixels, np.zeros((batch_size - len(pixels), *pixels.shape[1:]), np.float32)]
                )
                array[first : first + len(pixels)] = encode(filled).numpy()[: len(pixels)]
                bar.update(len(pixels))
                if (first // batch_size) % 20 == 19 or first + len(pixels) == len(examples):
                    array.flush()
                    _write_state(place, key, first + len(pixels), bad)
    bad.check(len(examples))
    lost = {row.row for row in bad.rows}
    if not lost:
        return Features(examples, array)
    kept = [i for i, example in enumerate(examples) if example.id not in lost]
    return Features([examples[i] for i in kept], array[kept])


def _batches(
    examples: Sequence[Example], todo: range, size: tuple[int, int], batch_size: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[int, np.ndarray, list[tuple[int, str]]]]:
    """First index, pixels [n, H, W, 3] and (index, reason) of what could not be read, the next batch read ahead."""
    load = images.reader(size)

    def read(index: int) -> np.ndarray | str:
        try:
            return load(examples[index].read()).numpy()
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


def _open(place: Path, key: str, shape: tuple[int, int, int]) -> tuple[np.memmap, dict]:
    """The cache's array and how far it is filled; made when new."""
    file, state_file = place / "features.npy", place / "state.json"
    if state_file.is_file() and file.is_file():
        state = json.loads(state_file.read_text())
        array = np.load(file, mmap_mode="r+")
        if state["key"] == key and array.shape == shape:
            return array, state
        raise DataError(f"expected the feature cache {place} to be ours and whole, it is neither; delete it")
    need = int(np.prod(shape)) * 2
    place.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place).free
    if free < need * 1.02:
        raise DataError(
            f"expected {need / 1e9:.2f} GB free for features in {place}, found {free / 1e9:.2f} GB; "
            "free some space or set another folder with --set features.folder=PATH"
        )
    try:
        with open(file, "wb") as handle:
            np.lib.format.write_array_header_2_0(
                handle, {"descr": "<f2", "fortran_order": False, "shape": shape}
            )
            # Blocks are really taken, so that a disk that fills up later cannot kill the run by SIGBUS.
            os.posix_fallocate(handle.fileno(), 0, handle.tell() + need)
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise DataError(
            f"cannot write {need / 1e9:.2f} GB of features to {place}: {error.strerror}"
        ) from None
    return np.load(file, mmap_mode="r+"), {"key": key, "done": 0, "bad": []}


def _write_state(place: Path, key: str, done: int, bad: BadRows) -> None:
    aside = place / "state.json.new"
    aside.write_text(json.dumps({"key": key, "done": done, "bad": [list(row) for row in bad.rows]}))
    aside.replace(place / "state.json")
