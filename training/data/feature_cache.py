"""Features of a frozen encoder, computed once and cached on disk.

A cache is a folder named by a fingerprint of everything the numbers depend on: the network and its weights, the
preprocessing, the image size and the images. Anything else is another folder, so a stale cache cannot be used.
Encoding that was interrupted is resumed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
        all_examples: the split's examples, in the dataset's order.
        numbers: int array, default those of all images that could be read. Numbers of the images, ascending.

    Attributes:
        examples: the examples of these images.
        numbers: int array. Their indices in the dataset's order, by which `align` matches several.
        bad: dict of the number of an image that could not be read to the reason.
        total: int. Images of the split, including unreadable ones.
        shape: (N, L, C).
    """

    def __init__(self, store: Store, all_examples: Sequence[Example], numbers: np.ndarray | None = None):
        self._store, self.all_examples, self.total = store, all_examples, len(all_examples)
        unreadable = store.state.lost
        self.bad = {number: row[2] for number, row in zip(unreadable, store.state.bad, strict=True)}
        self.numbers = np.setdiff1d(np.arange(len(all_examples)), unreadable) if numbers is None else numbers
        self.examples = [all_examples[number] for number in self.numbers]
        self.shape: tuple[int, ...] = (len(self.numbers), *store.array.shape[1:])

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._store.rows(self.numbers[index])

    def subset(self, numbers: np.ndarray) -> Features:
        """The features of the images with these numbers."""
        return Features(self._store, self.all_examples, numbers)


class ConcatFeatures:
    """Features of the same images by several encoders, concatenated along C; read like `Features`.

    Args:
        parts: sequence of Features; images that one of them lacks are left out of all.
    """

    def __init__(self, parts: Sequence[Features | ConcatFeatures]):
        numbers = _common(parts)
        self._parts = [part.subset(numbers) for part in parts]
        self.bad: dict[int, str] = {}
        for part in parts:
            self.bad |= part.bad
        self.all_examples: Sequence[Example] = parts[0].all_examples
        self.numbers, self.total = numbers, len(self.all_examples)
        self.examples: list[Example] = self._parts[0].examples
        self.shape: tuple[int, ...] = (*self._parts[0].shape[:2], sum(part.shape[2] for part in parts))

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.concatenate([part[index] for part in self._parts], axis=-1)

    def subset(self, numbers: np.ndarray) -> ConcatFeatures:
        """The features of the images with these numbers."""
        return ConcatFeatures([part.subset(numbers) for part in self._parts])


def _common(parts: Sequence[Features | ConcatFeatures]) -> np.ndarray:
    """Numbers of the images that all parts have.

    Raises:
        DataError: if they are not of the same images in the same order.
    """
    first = parts[0]
    for other in parts[1:]:
        same = other.total == first.total
        if not same or any(
            a.captions != b.captions for a, b in zip(first.all_examples, other.all_examples, strict=True)
        ):
            raise DataError("expected features of the same images in the same order, got those of others")
    return reduce(np.intersect1d, (part.numbers for part in parts))


def align(
    features: Sequence[Features | ConcatFeatures], split: str, folder: str | Path, max_bad: float = 0.01
) -> list[Features | ConcatFeatures]:
    """Restricts features of the same images (by encoders, or augmented) to the images that all of them have.

    Then `result[k][i]` is of the same image for every k. Images that are left out are counted and listed once.

    Args:
        features: sequence of Features or ConcatFeatures, of the same dataset and split.
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
            bad.add(split, features[0].all_examples[number].id, reasons[number])
        bad.check(features[0].total)
    return [part.subset(numbers) for part in features]


def encode_split(
    encoder: Encoder,
    dataset: Dataset,
    split: str,
    folder: str | Path = "cache/features",
    batch_size: int | None = None,
    max_bad: float = 0.01,
) -> Features | ConcatFeatures:
    """Features of all images of a split, from the cache or computed now.

    Encoders that are concatenated on the grid that each of them has are cached separately, so that what one of them has
    encoded is not encoded again. Of two programs that need the same features, one computes them and the other waits.

    Args:
        encoder: Encoder.
        dataset: Dataset.
        split: str.
        folder: path, default "cache/features". Holds one folder a fingerprint.
        batch_size: int, default 32 with a GPU, else 4: a CPU's cache holds no more of a layer's outputs.
        max_bad: float, default 0.01. Share of images that may be unreadable; those are listed and left out.

    Returns:
        `Features` or `ConcatFeatures`.

    Raises:
        DataError: if too many images are unreadable, the disk is full, or the cache is damaged.
    """
    if _separable(encoder):
        parts = [encode_split(part, dataset, split, folder, batch_size, max_bad) for part in encoder.parts]
        return ConcatFeatures(align(parts, split, folder, max_bad))
    place, key, examples = _locate(encoder, dataset, split, folder)
    ids, row = [example.id for example in examples], (encoder.grid[0] * encoder.grid[1], encoder.channels)
    store = feature_store.existing(place, key, ids, row)
    if store is None or store.state.done < len(ids):
        feature_store.make(place)
        with lock.exclusive(
            place, "another program", "set another folder with --set data.features=PATH", wait=True
        ):
            store = feature_store.opened(place, key, ids, row)
            size_of_batch = batch_size or (32 if tf.config.list_physical_devices("GPU") else 4)
            _encode(encoder, examples, store, split, size_of_batch)
    bad = BadRows(f"features_{split}", place / "bad_rows.jsonl", max_bad)
    for _, name, reason in store.state.bad:
        bad.add(split, name, reason)
    bad.check(len(ids))
    return Features(store, examples)


def _separable(encoder: Encoder) -> bool:
    """Whether an encoder's features are those of its parts, unchanged."""
    return bool(encoder.parts) and all(part.grid == encoder.grid for part in encoder.parts)


def _encode(encoder: Encoder, examples: Sequence[Example], store: Store, split: str, batch_size: int) -> None:
    """Encodes the images that a store does not have yet."""
    remaining = range(store.state.done, len(examples))
    if not remaining:
        return
    encode = tf.function(lambda pixels: encoder(pixels, training=False), autograph=False)
    bar = progress_bar(total=len(examples), initial=remaining.start, desc=f"encode {split}")
    try:
        with bar, ThreadPoolExecutor(4) as pool:
            batches = _batches(examples, remaining, encoder.image_size, batch_size, pool)
            for number, (first, pixels, errors) in enumerate(batches):
                missing = np.zeros((batch_size - len(pixels), *pixels.shape[1:]), np.float32)
                rows = encode(np.concatenate([pixels, missing])).numpy()[: len(pixels)]
                store.write(first, rows, [(split, i, examples[i].id, reason) for i, reason in errors])
                bar.update(len(pixels))
                if number % 20 == 19:
                    store.flush()
    except KeyboardInterrupt as stop:
        # What is encoded is written, unless a second signal asks to stop at once.
        if not getattr(stop, "at_once", False):
            store.flush()
        raise
    store.flush()


def cached_split(
    encoder: Encoder, dataset: Dataset, split: str, folder: str | Path = "cache/features"
) -> Features | ConcatFeatures | None:
    """Features of a split if the cache has them all, else None; computes and writes nothing.

    Args:
        encoder: Encoder.
        dataset: Dataset.
        split: str.
        folder: path, default "cache/features".

    Returns:
        `Features` or `ConcatFeatures`, or None.

    Raises:
        DataError: if the cache is damaged.
    """
    if not Path(folder).is_dir():
        return None
    if _separable(encoder):
        parts = [cached_split(part, dataset, split, folder) for part in encoder.parts]
        complete = [part for part in parts if part is not None]
        return ConcatFeatures(complete) if len(complete) == len(parts) else None
    place, key, examples = _locate(encoder, dataset, split, folder)
    row = (encoder.grid[0] * encoder.grid[1], encoder.channels)
    store = feature_store.existing(place, key, [example.id for example in examples], row)
    if store is None or store.state.done < len(examples):
        return None
    return Features(store, examples)


def _locate(
    encoder: Encoder, dataset: Dataset, split: str, folder: str | Path
) -> tuple[Path, str, Sequence[Example]]:
    """The folder of a split's features, their key, and the split's examples."""
    examples = dataset.examples(split)
    key = json.dumps(
        {
            "pixels": tf_decode.VERSION,
            "size": encoder.image_size,
            "encoder": weights_fingerprint(encoder),
            "pictures": dataset.fingerprint,  # the word that caches on disk were named with
            "split": split,
            "ids": hashlib.sha256("\n".join(e.id for e in examples).encode()).hexdigest(),
        },
        sort_keys=True,
    )
    return Path(folder) / f"{split}-{hashlib.sha256(key.encode()).hexdigest()[:16]}", key, examples


def _batches(
    examples: Sequence[Example],
    remaining: range,
    size: tuple[int, int],
    batch_size: int,
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[int, np.ndarray, list[tuple[int, str]]]]:
    """First index, pixels [n, H, W, 3], and (index, reason) of unreadable images; the next batch is read ahead."""
    load = tf_decode.reader(size)

    def read(index: int) -> np.ndarray | str:
        try:
            return examples[index].pixels(load)
        except (ImageError, OSError) as error:
            return str(error)

    starts = list(range(remaining.start, remaining.stop, batch_size))

    def submit(start: int) -> list[Future[np.ndarray | str]]:
        return [pool.submit(read, i) for i in range(start, min(start + batch_size, remaining.stop))]

    ahead = submit(starts[0])
    for number, start in enumerate(starts):
        results = [future.result() for future in ahead]
        ahead = submit(starts[number + 1]) if number + 1 < len(starts) else []
        errors = [(start + i, r) for i, r in enumerate(results) if isinstance(r, str)]
        blank = np.zeros((*size, 3), np.float32)
        yield start, np.stack([blank if isinstance(r, str) else r for r in results]), errors
