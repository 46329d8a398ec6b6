"""Datasets made of another one: augmented images, and horizontal flips with left and right swapped in the captions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from captioner.errors import SpecError
from captioner.text.languages import ENGLISH, LANGUAGES, rules
from training.data import augment
from training.data.datasets.example import Dataset, Example


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
        dataset: Dataset.
        language: str, default "en". The language of its captions, of which left and right are known
            (`captioner.text.languages`).

    Raises:
        SpecError: if its words for left and right are not known.

    Example:
        >>> from training.data.datasets import DATASETS
        >>> scenes = DATASETS.build("synthetic_scenes(train=10)")
        >>> len(HorizontalFlip(scenes).examples("train"))
        20
    """

    def __init__(self, dataset: Dataset, language: str = ENGLISH):
        super().__init__(dataset)
        self._language = language
        swap_sides("", language)  # raises now, not with the first example

    def examples(self, split: str) -> Sequence[Example]:
        """The examples of a split; those of "train" twice, first as they are, then flipped."""
        examples = self.dataset.examples(split)
        if split != "train":
            return examples
        return [*examples, *(flipped(example, self._language) for example in examples)]


def flipped(example: Example, language: str = ENGLISH) -> Example:
    """An example flipped horizontally, left and right swapped in its captions; see `swap_sides`."""
    captions = tuple(swap_sides(caption, language) for caption in example.captions)
    # The id is part of the keys of cached features: another text would be another cache.
    return replace(example, id=f"{example.id} in a mirror", captions=captions, flipped=True)


def swap_sides(caption: str, language: str = ENGLISH) -> str:
    """A caption with left for right and right for left.

    Args:
        caption: str.
        language: str, default "en". One of `captioner.text.languages.LANGUAGES` with words for left and right.

    Returns:
        str.

    Raises:
        SpecError: if its words for left and right are not known.

    Example:
        >>> swap_sides("The Leftmost dog turns right .")
        'The Rightmost dog turns left .'
        >>> swap_sides("Rechts ein Mann mit einem Ball in der linken Hand.", "de")
        'Links ein Mann mit einem Ball in der rechten Hand.'
    """
    spoken = rules(language)
    if spoken.sides is None:
        known = [code for code, row in LANGUAGES.items() if row.sides is not None]
        raise SpecError(
            f"expected captions in a language whose words for left and right are known ({', '.join(known)}) to flip "
            f"images horizontally, got {language!r}: set data.horizontal_flip=false, or data.language"
        )

    def opposite(match: re.Match[str]) -> str:
        word = spoken.opposites[match[0].lower()]
        return word.upper() if match[0].isupper() else word.capitalize() if match[0][0].isupper() else word

    return spoken.sides.sub(opposite, caption)
