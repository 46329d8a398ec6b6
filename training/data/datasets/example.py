"""One image with its captions, and what a dataset must offer."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from captioner.errors import DataError
from training.data.augment import augmented


@dataclass(frozen=True)
class Example:
    """One image and what people (or templates) said about it.

    Attributes:
        id: str. Unique in its dataset.
        captions: tuple of str. At least one, none empty; as written, not normalised.
        read: callable without arguments. The encoded image (JPEG, PNG ...); raises `ImageError` when it is
            absent.
        mirrored: bool. Whether `pixels` are those of the image in a mirror.
        view: int. Not 0 for the image as another photographer might have taken it, always the same for a number
            (`training.data.augment`).

    Example:
        >>> Example("a.png", ("a dog",), lambda: b"...").captions
        ('a dog',)
    """

    id: str
    captions: tuple[str, ...]
    read: Callable[[], bytes]
    mirrored: bool = False
    view: int = 0

    def pixels(self, load: Callable[[bytes], Any]) -> np.ndarray:
        """Pixels [H, W, 3].

        Args:
            load: what makes a tensor of an encoded image, see `captioner.image.tf_decode.reader`.

        Raises:
            ImageError: when the image is absent or cannot be read.
        """
        pixels: np.ndarray = load(self.read()).numpy()
        if self.view:
            seed = np.array([zlib.crc32(self.id.encode()), self.view])
            pixels = augmented(pixels[np.newaxis].astype(np.uint8), seed)[0]
        return pixels[:, ::-1] if self.mirrored else pixels


class Dataset(Protocol):
    """What every row of `DATASETS` builds.

    Attributes:
        splits: tuple of str. The splits that hold at least one example, "train" first.
        fingerprint: str. Hex digest of what the images are: a cache keyed by it is never stale.
    """

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that hold at least one example."""

    @property
    def fingerprint(self) -> str:
        """Hex digest of what the images are."""

    def examples(self, split: str) -> Sequence[Example]:
        """The examples of a split, in an order that never changes."""


def missing_split(dataset: str, split: str, splits: Sequence[str], remedy: str = "") -> DataError:
    """The error for a split that a dataset does not have.

    Args:
        dataset: str. What it is, for the message, such as "the dataset flickr".
        split: str. What was asked for.
        splits: sequence of str. What there is.
        remedy: str, default "". What to do about it.
    """
    known = ", ".join(splits) or "none"
    return DataError(
        f"no image of {dataset} is in the split {split!r}; splits with images: {known}{remedy and '; ' + remedy}"
    )
