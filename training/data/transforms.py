"""Datasets made of another one: augmented images, horizontal flips with left and right swapped in the captions, and
subsets of the training images with a validation split of their own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from captioner.errors import DataError, SpecError
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


class Subset(DatasetWrapper):
    """A dataset with fewer training images, or with a validation split held out of them.

    Images are in the order of a hash of their id and the seed, so that a smaller subset is part of a larger one, and
    the same images are held out of each. Other splits stay.

    Args:
        dataset: Dataset.
        images: int, default 0. Training images to draw, including those held out; 0 for all.
        hold_out: int, default 0. So many of them are the validation split; 0 for that of the dataset.
        seed: int, default 1.

    Raises:
        DataError: if the dataset has fewer images, or none is left to train on.

    Example:
        >>> from training.data.datasets import DATASETS
        >>> scenes = DATASETS.build("synthetic_scenes(train=30)")
        >>> subset = Subset(scenes, images=20, hold_out=5)
        >>> len(subset.examples("train")), len(subset.examples("validation"))
        (15, 5)
    """

    def __init__(self, dataset: Dataset, images: int = 0, hold_out: int = 0, seed: int = 1):
        super().__init__(dataset)
        self._images, self._hold_out, self._seed = images, hold_out, seed
        count = len(dataset.examples("train"))
        if images > count:
            raise DataError(
                f"expected data.images to be at most {count:,}, the training images there are, got {images:,}"
            )
        if hold_out >= (images or count):
            raise DataError(
                f"expected data.hold_out to leave images to train on, got {hold_out:,} of {images or count:,}"
            )

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the wrapped dataset, and validation where images are held out."""
        return tuple(dict.fromkeys((*self.dataset.splits, *(["validation"] if self._hold_out else []))))

    @cached_property
    def _order(self) -> list[int]:
        """Numbers of the training images to draw, in the order of their hashes."""
        keys = [
            hashlib.sha256(f"{self._seed} {example.id}".encode("utf-8", "surrogateescape")).digest()
            for example in self.dataset.examples("train")
        ]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return order[: self._images or None]

    def numbers(self, split: str) -> tuple[str, list[int] | None]:
        """The split of the wrapped dataset that a split is taken from, and which of its images; None for all."""
        if split == "train":
            return "train", sorted(self._order[self._hold_out :])
        if split == "validation" and self._hold_out:
            return "train", sorted(self._order[: self._hold_out])
        return split, None

    def examples(self, split: str) -> Sequence[Example]:
        """The examples of a split, in the order of the wrapped dataset."""
        source, numbers = self.numbers(split)
        examples = self.dataset.examples(source)
        return examples if numbers is None else [examples[number] for number in numbers]


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
