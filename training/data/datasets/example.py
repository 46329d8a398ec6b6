"""`Example`, an image with its captions, and the protocol of datasets."""

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
    """One image and its captions.

    Attributes:
        id: str. Unique in its dataset.
        captions: tuple of str. At least one, none empty; as written, not normalised.
        read: callable without arguments. The encoded image (JPEG, PNG ...); raises `ImageError` when it is
            absent.
        flipped: bool, default False. Whether `pixels` are flipped horizontally.
        augmentation: int, default 0, which is none. Number of the augmentation of `pixels` (`training.data.augment`),
            always the same for a number.
        source: str, default "". Name of the source that it is from, in a mixture.
        repeats: float, default 1. Times that training shows it in an epoch; with 0.5 in every other one.
        loss_weight: float, default 1. Weight of its captions' words in training, relative to other examples.

    Example:
        >>> Example("a.png", ("a dog",), lambda: b"...").captions
        ('a dog',)
    """

    id: str
    captions: tuple[str, ...]
    read: Callable[[], bytes]
    flipped: bool = False
    augmentation: int = 0
    source: str = ""
    repeats: float = 1.0
    loss_weight: float = 1.0

    def pixels(self, load: Callable[[bytes], Any]) -> np.ndarray:
        """Pixels [H, W, 3].

        Args:
            load: decodes an encoded image to a tensor, see `captioner.image.tf_decode.reader`.

        Raises:
            ImageError: when the image is absent or cannot be read.
        """
        pixels: np.ndarray = load(self.read()).numpy()
        if self.augmentation:
            seed = np.array([zlib.crc32(self.id.encode()), self.augmentation])
            pixels = augmented(pixels[np.newaxis].astype(np.uint8), seed)[0]
        return pixels[:, ::-1] if self.flipped else pixels


class Dataset(Protocol):
    """The protocol of datasets, the rows of `DATASETS`.

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
        dataset: str. How the message names it, such as "the dataset flickr".
        split: str. The split that was asked for.
        splits: sequence of str. The splits with images.
        remedy: str, default "". What the message suggests.
    """
    known = ", ".join(splits) or "none"
    return DataError(
        f"no image of {dataset} is in the split {split!r}; splits with images: {known}{remedy and '; ' + remedy}"
    )
