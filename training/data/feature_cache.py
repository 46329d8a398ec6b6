"""Features of a frozen encoder, computed once and kept on disk.

A cache is a folder named by a fingerprint of everything the numbers depend on: the network and its weights, the
preprocessing, the image size and the images. Anything else is another folder, so a stale cache cannot be used.
Work stopped in the middle goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from captioner.cli.progress import progress_bar
from captioner.errors import DataError, ImageError
from captioner.image import tf_decode
from captioner.models.encoders import Encoder
from training.data import feature_store
from training.data.datasets import BadRows, Dataset, Example
from training.data.feature_store import Store
from training.data.fingerprint import weights_fingerprint
from training.loop import lock


class Features:
    """Features of the images of one split: `features[i]` is float16 [L, C], of `examples[i]`.

    Args:
        store: Store, with a row for every image of the split.
        every: the split's examples, in the dataset's order.
        numbers: int array, default those of all images that could be read. Which of them these are, rising.

    Attributes:
        examples: the examples of these images.
        numbers: int array. Their places in the dataset's order, by which `align` brings several together.
        bad: dict of the number of an image that could not be read to the reason.
        total: int. Images of the split, with those that could not be read.
        shape: (N, L, C).
    """

    def __init__(self, store: Store, every: Sequence[Example], numbers: np.ndarray | None = None):
        self._store, self.every, self.total = store, every, len(every)
        lost = store.state.lost
        self.bad = {number: row[2] for number, row in zip(lost, store.state.bad, strict=True)}
        self.numbers = np.setdiff1d(np.arange(len(every)), lost) if numbers is None else numbers
        self.examples = [every[number] for number in self.numbers]
        self.shape: tuple[int, ...] = (len(self.numbers), *store.array.shape[1:])

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._store.rows(self.numbers[index])

    def only(self, numbers: np.ndarray) -> Features:
        """Those of the images with these numbers alone."""
        return Features(self._store, self.every, numbers)


class Joined:
    """Features of the same images by several encoders, as `Features`: one after another along C.

    Args:
        parts: sequence of Features; images that one of them lacks are left out of all.
    """

    def __init__(self, parts: Sequence[Features | Joined]):
        numbers = _common(parts)
        self._parts = [part.only(numbers) for part in parts]
        self.bad: dict[int, str] = {}
        for part in parts:
            self.bad |= part.bad
        self.every: Sequence[Example] = parts[0].every
        self.numbers, self.total = numbers, len(self.every)
        self.examples: list[Example] = self._parts[0].examples
        self.shape: tuple[int, ...] = (*self._parts[0].shape[:2], sum(part.shape[2] for part in parts))

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.concatenate([part[index] for part in self._parts], axis=-1)

    def only(self, numbers: np.ndarray) -> Joined:
        """Those of the images with these numbers alone."""
        return Joined([part.only(numbers) for part in self._parts])


def _common(parts: Sequence[Features | Joined]) -> np.ndarray:
    """Numbers of the images that all have.

    Raises:
        DataError: if they are not of the same images in the same order.
    """
    first = parts[0]
    for other in parts[1:]:
        same = other.total == first.total
        if not same or any(a.captions != b.captions for a, b in zip(first.every, other.every, strict=True)):
            raise DataError("expected features of the same images in the same order, got those of others")
    return reduce(np.intersect1d, (part.numbers for part in parts))


def align(
    features: Sequence[Features | Joined], split: str, folder: str | Path, max_bad: float = 0.01
) -> list[Features | Joined]:
    """Brings features of the same images together: by encoders, or seen in several views.

    An image that one of them lacks is left out of all, so that `result[k][i]` is of the same image for every k. It is
    counted and told, once for all.

    Args:
        features: sequence of Features or Joined, of the same dataset and split.
        split: str. For the message.
        folder: path of the feature cache, where the list of these images goes.
        max_bad: float, default 0.01. Share of images that may be left out.

    Returns:
        list, as long as `features`, of one length each.

    Raises:
        DataError: if too many images are left out, or they are not of the same images.
    """
    numbers = _common(features)
    if any(len(part) > len(numbers) for part in features):
        bad = BadRows(f"features_{split}", Path(folder, f"unreadable_{split}.jsonl"), max_bad)
        reasons = {number: reason for part in features for number, reason in part.bad.items()}
        for number in sorted(reasons):
            bad.add(split, features[0].every[number].id, reasons[number])
        bad.check(features[0].total)
    return [part.only(numbers) for part in features]


def encode_split(
    encoder: Encoder,
    dataset: Dataset,
    split: str,
    folder: str | Path = "cache/features",
    batch_size: int | None = None,
    max_bad: float = 0.01,
) -> Features | Joined:
    """Features of all images of a split, from the cache or computed now.

    Encoders that are joined on the grid that each of them has are kept apart, so that what one of them has already
    encoded is not encoded again. Of two programs that need the same features, one computes them and the other waits.

    Args:
        encoder: Encoder.
        dataset: Dataset.
        split: str.
        folder: path, default "cache/features". Holds one folder a fingerprint.
        batch_size: int, default 32 with a GPU, else 4: a CPU's cache holds no more of what a layer gives.
        max_bad: float, default 0.01. Share of images that may be unreadable; those are listed and left out.

    Returns:
        `Features`, or what reads alike.

    Raises:
        DataError: if too many images are unreadable, the disk is full, or the cache is damaged.
    """
    if _apart(encoder):
        parts = [encode_split(each, dataset, split, folder, batch_size, max_bad) for each in encoder.parts]
        return Joined(align(parts, split, folder, max_bad))
    place, key, examples = _find(encoder, dataset, split, folder)
    ids, row = [example.id for example in examples], (encoder.grid[0] * encoder.grid[1], encoder.channels)
    store = feature_store.existing(place, key, ids, row)
    if store is None or store.state.done < len(ids):
        feature_store.make(place)
        with lock.alone(
            place, "another program", "set another folder with --set data.features=PATH", wait=True
        ):
            store = feature_store.opened(place, key, ids, row)
            together = batch_size or (32 if tf.config.list_physical_devices("GPU") else 4)
            _encode(encoder, examples, store, split, together)
    bad = BadRows(f"features_{split}", place / "bad_rows.jsonl", max_bad)
    for _, name, reason in store.state.bad:
        bad.add(split, name, reason)
    bad.check(len(ids))
    return Features(store, examples)


def _apart(encoder: Encoder) -> bool:
    """Whether an encoder's features are those of others, unchanged."""
    return bool(encoder.parts) and all(part.grid == encoder.grid for part in encoder.parts)


def _encode(encoder: Encoder, examples: Sequence[Example], store: Store, split: str, batch_size: int) -> None:
    """Fills a store from where its state says it is."""
    todo = range(store.state.done, len(examples))
    if not todo:
        return
    encode = tf.function(lambda pixels: encoder(pixels, training=False), autograph=False)
    bar = progress_bar(total=len(examples), initial=todo.start, desc=f"encode {split}")
    try:
        with bar, ThreadPoolExecutor(4) as pool:
            batches = _batches(examples, todo, encoder.image_size, batch_size, pool)
            for number, (first, pixels, errors) in enumerate(batches):
                missing = np.zeros((batch_size - len(pixels), *pixels.shape[1:]), np.float32)
                rows = encode(np.concatenate([pixels, missing])).numpy()[: len(pixels)]
                store.write(first, rows, [(split, i, examples[i].id, reason) for i, reason in errors])
                bar.update(len(pixels))
                if number % 20 == 19:
                    store.flush()
    except KeyboardInterrupt as stop:
        # What is encoded is kept; asked twice in the middle of a batch, what was last on disk counts.
        if not getattr(stop, "at_once", False):
            store.flush()
        raise
    store.flush()


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
    row = (encoder.grid[0] * encoder.grid[1], encoder.channels)
    store = feature_store.existing(place, key, [example.id for example in examples], row)
    if store is None or store.state.done < len(examples):
        return None
    return Features(store, examples)


def _find(
    encoder: Encoder, dataset: Dataset, split: str, folder: str | Path
) -> tuple[Path, str, Sequence[Example]]:
    """Where a split's features belong, what they depend on, and the split's examples."""
    examples = dataset.examples(split)
    key = json.dumps(
        {
            "pixels": tf_decode.VERSION,
            "size": encoder.image_size,
            "encoder": weights_fingerprint(encoder),
            "images": dataset.fingerprint,
            "split": split,
            "ids": hashlib.sha256("\n".join(e.id for e in examples).encode()).hexdigest(),
        },
        sort_keys=True,
    )
    return Path(folder) / f"{split}-{hashlib.sha256(key.encode()).hexdigest()[:16]}", key, examples


def _batches(
    examples: Sequence[Example], todo: range, size: tuple[int, int], batch_size: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[int, np.ndarray, list[tuple[int, str]]]]:
    """First index, pixels [n, H, W, 3] and (index, reason) of what could not be read, the next batch read ahead."""
    load = tf_decode.reader(size)

    def read(index: int) -> np.ndarray | str:
        try:
            return examples[index].pixels(load)
        except (ImageError, OSError) as error:
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
