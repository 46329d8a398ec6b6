"""Datasets made of another one: augmented images, and horizontal flips with left and right swapped in the captions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from training.data import augment
from training.data.datasets.example import Dataset, Example

_OPPOSITE = {"left": "right", "right": "left"}
_SIDES = re.compile(r"\b(left|right)(?=\b|most\b|ward|-)", re.IGNORECASE)


class DatasetWrapper:
    """A dataset that changes the examples of another one.

    Args:
        dataset: Dataset.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the wrapped dataset."""
        return self.dataset.splits

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the wrapped dataset: the files are the same; ids say how their pixels are changed."""
        return self.dataset.fingerprint


class AugmentedView(DatasetWrapper):
    """A dataset whose images are augmented, always in the same way for a number; the captions stay.

    Args:
        dataset: Dataset.
        number: int, 1 or more. Which augmentation.
    """

    def __init__(self, dataset: Dataset, number: int):
        super().__init__(dataset)
        self.number = number

    def examples(self, split: str) -> Sequence[Example]:
        """The examples of a split, augmented."""
        # Ids are part of the seeds and of the keys of cached features: another text would be another cache.
        suffix = f"in view {self.number} of {augment.VERSION}"
        return [
            replace(example, id=f"{example.id} {suffix}", augmentation=self.number)
            for example in self.dataset.examples(split)
        ]


class HorizontalFlip(DatasetWrapper):
    """A dataset whose split "train" also holds each image flipped horizontally; its other splits stay.

    Args:
        dataset: Dataset, with English captions.

    Example:
        >>> from training.data.datasets import DATASETS
        >>> scenes = DATASETS.build("synthetic_scenes(train=10)")
        >>> len(HorizontalFlip(scenes).examples("train"))
        20
    """

    def examples(self, split: str) -> Sequence[Example]:
        """The examples of a split; those of "train" twice, first as they are, then flipped."""
        examples = self.dataset.examples(split)
        return examples if split != "train" else [*examples, *map(flipped, examples)]


def flipped(example: Example) -> Example:
    """An example flipped horizontally, left and right swapped in its captions."""
    captions = tuple(swap_sides(caption) for caption in example.captions)
    # The id is part of the keys of cached features: another text would be another cache.
    return replace(example, id=f"{example.id} in a mirror", captions=captions, flipped=True)


def swap_sides(caption: str) -> str:
    """A caption with left for right and right for left.

    Example:
        >>> swap_sides("The Leftmost dog turns right .")
        'The Rightmost dog turns left .'
    """

    def opposite(match: re.Match[str]) -> str:
        word = _OPPOSITE[match[0].lower()]
        return word.upper() if match[0].isupper() else word.capitalize() if match[0][0].isupper() else word

    return _SIDES.sub(opposite, caption)
