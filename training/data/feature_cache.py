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
from pathlib import Path

import numpy as np
import tensorflow as tf

from captioner.cli.progress import progress_bar
from captioner.errors import ImageError
from captioner.image import tf_decode
from captioner.models.encoders import Encoder
from training.data import feature_store
from training.data.datasets import BadRows, Dataset, Example
from training.data.datasets.mixture import source_views
from training.data.feature_store import Store
from training.data.features import ConcatFeatures, Features, MixtureFeatures, StoredFeatures, align
from training.data.fingerprint import weights_fingerprint
from training.loop import lock


def encode_split(
    encoder: Encoder,
    dataset: Dataset,
    split: str,
    folder: str | Path = "cache/features",
    batch_size: int | None = None,
    max_bad: float = 0.01,
) -> StoredFeatures:
    """Features of all images of a split, from the cache or computed now.

    Encoders that are concatenated on the grid that each of them has are cached separately, and so are the sources of a
    mixture, so that what one of them has encoded is not encoded again. Of two programs that need the same features, one
    computes them and the other waits.

    Args:
        encoder: Encoder.
        dataset: Dataset.
        split: str.
        folder: path, default "cache/features". Holds one folder a fingerprint.
        batch_size: int, default 32 with a GPU, else 4: a CPU's cache holds no more of a layer's outputs.
        max_bad: float, default 0.01. Share of images that may be unreadable; those are listed and left out.

    Returns:
        `StoredFeatures`.

    Raises:
        DataError: if too many images are unreadable, the disk is full, or the cache is damaged.
    """
    if views := source_views(dataset, split):
        sources = [encode_split(encoder, view, split, folder, batch_size, max_bad) for view in views.values()]
        return MixtureFeatures(dict(zip(views, sources, strict=True)), dataset.examples(split))
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
) -> StoredFeatures | None:
    """Features of a split if the cache has them all, else None; computes and writes nothing.

    Args:
        encoder: Encoder.
        dataset: Dataset.
        split: str.
        folder: path, default "cache/features".

    Returns:
        `StoredFeatures`, or None.

    Raises:
        DataError: if the cache is damaged.
    """
    if not Path(folder).is_dir():
        return None
    if views := source_views(dataset, split):
        sources = {name: cached_split(encoder, view, split, folder) for name, view in views.items()}
        stored = {name: features for name, features in sources.items() if features is not None}
        return MixtureFeatures(stored, dataset.examples(split)) if len(stored) == len(views) else None
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
