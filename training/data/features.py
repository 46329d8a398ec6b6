"""Features that are read from disk: of one encoder, of several side by side, and of the sources of a mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from captioner.errors import DataError
from training.data.datasets import BadRows, Example
from training.data.feature_store import Store


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
        parts: sequence of StoredFeatures; images that one of them lacks are left out of all.
    """

    def __init__(self, parts: Sequence[StoredFeatures]):
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


class MixtureFeatures:
    """Features of the images of a mixture, each stored with those of its source; read like `Features`.

    Args:
        sources: mapping of a source's name to its StoredFeatures, of one shape [L, C].
        all_examples: the mixture's examples of the split, in its order; `Example.source` says whose each is, and those
            of a source are in the order of its features.
        numbers: int array, default those of all images that could be read. Numbers of the images, ascending.
    """

    def __init__(
        self,
        sources: Mapping[str, StoredFeatures],
        all_examples: Sequence[Example],
        numbers: np.ndarray | None = None,
    ):
        self._sources, self.all_examples, self.total = sources, all_examples, len(all_examples)
        self._owner, self._row = np.full(self.total, -1), np.zeros(self.total, int)
        self.bad: dict[int, str] = {}
        source_of = np.array([example.source for example in all_examples])
        for owner, (name, features) in enumerate(sources.items()):
            places = np.flatnonzero(source_of == name)
            readable = places[features.numbers]
            self._owner[readable], self._row[readable] = owner, np.arange(len(features))
            self.bad |= {int(places[number]): reason for number, reason in features.bad.items()}
        self.numbers: np.ndarray = np.flatnonzero(self._owner >= 0) if numbers is None else numbers
        self.examples: list[Example] = [all_examples[number] for number in self.numbers.tolist()]
        self.shape: tuple[int, ...] = (len(self.numbers), *next(iter(sources.values())).shape[1:])

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: Any) -> np.ndarray:
        numbers = np.asarray(self.numbers[index])
        flat = numbers.ravel()
        rows = np.empty((len(flat), *self.shape[1:]), np.float16)
        for owner, features in enumerate(self._sources.values()):
            wanted = self._owner[flat] == owner
            if wanted.any():
                rows[wanted] = features[self._row[flat[wanted]]]
        return rows.reshape(*numbers.shape, *self.shape[1:])

    def subset(self, numbers: np.ndarray) -> MixtureFeatures:
        """The features of the images with these numbers."""
        return MixtureFeatures(self._sources, self.all_examples, numbers)


StoredFeatures: TypeAlias = Features | ConcatFeatures | MixtureFeatures


def _common(parts: Sequence[StoredFeatures]) -> np.ndarray:
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
    features: Sequence[StoredFeatures], split: str, folder: str | Path, max_bad: float = 0.01
) -> list[StoredFeatures]:
    """Restricts features of the same images (by encoders, or augmented) to the images that all of them have.

    Then `result[k][i]` is of the same image for every k. Images that are left out are counted and listed once.

    Args:
        features: sequence of StoredFeatures, of the same dataset and split.
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
