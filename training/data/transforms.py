"""Training images seen otherwise: in a mirror, left and right swapped in their captions, or taken another way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from training.data.augment import WAYS
from training.data.datasets.example import Dataset, Example

_OTHER = {"left": "right", "right": "left"}
_SIDES = re.compile(r"\b(left|right)(?=\b|most\b|ward|-)", re.IGNORECASE)


class _OfTheSame:
    """What every other way to see a dataset keeps.

    Args:
        dataset: Dataset.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of the dataset."""
        return self.dataset.splits

    @property
    def fingerprint(self) -> str:
        """That of the dataset: the images are the same, how they are seen is in the ids."""
        return self.dataset.fingerprint


class Viewed(_OfTheSame):
    """A dataset whose images are taken otherwise; the captions stay.

    Args:
        dataset: Dataset.
        view: int, 1 or more. Which way.
    """

    def __init__(self, dataset: Dataset, view: int):
        super().__init__(dataset)
        self.view = view

    def examples(self, split: str) -> Sequence[Example]:
        """The examples of a split, as seen in this view."""
        found = self.dataset.examples(split)
        return [replace(e, id=f"{e.id} in view {self.view} of {WAYS}", view=self.view) for e in found]


class Mirrored(_OfTheSame):
    """A dataset whose split "train" also holds each image in a mirror; its other splits are as they were.

    Args:
        dataset: Dataset, with English captions.

    Example:
        >>> from training.data.datasets import DATASETS
        >>> scenes = DATASETS.build("synthetic_scenes(train=10)")
        >>> len(Mirrored(scenes).examples("train"))
        20
    """

    def examples(self, split: str) -> Sequence[Example]:
        """The examples of a split; those of "train", then all of them in a mirror."""
        found = self.dataset.examples(split)
        return found if split != "train" else [*found, *map(mirrored, found)]


def mirrored(example: Example) -> Example:
    """An example seen in a mirror."""
    said = tuple(swap_sides(caption) for caption in example.captions)
    return replace(example, id=f"{example.id} in a mirror", captions=said, mirrored=True)


def swap_sides(caption: str) -> str:
    """A caption with left for right and right for left.

    Example:
        >>> swap_sides("The Leftmost dog turns right .")
        'The Rightmost dog turns left .'
    """

    def other(match: re.Match[str]) -> str:
        word = _OTHER[match[0].lower()]
        return word.upper() if match[0].isupper() else word.capitalize() if match[0][0].isupper() else word

    return _SIDES.sub(other, caption)
