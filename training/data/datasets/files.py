"""Datasets of images in a folder and a file of captions."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from captioner.caption_files.columns import SPLIT_NAMES, split_name
from captioner.errors import DataError
from captioner.text.normalize import words
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.example import Example, missing_split
from training.data.datasets.image_files import ImageFiles

SPLITS = ("train", "validation", "test")


@dataclass
class Entry:
    """The entry of one image in a captions file.

    Attributes:
        where: str. File and line or position, for messages.
        name: str. The image, relative to the folder, with forward slashes.
        captions: list of str.
        split: str. As the file calls it.
    """

    where: str
    name: str
    captions: list[str]
    split: str


class Images(Protocol):
    """Where the images of a dataset are: a folder (`ImageFiles`) or archives. They go by names."""

    def locate(self, name: str) -> tuple[str, str]:
        """The name of the image that a row names, and what is wrong with it or an empty string."""

    def read(self, name: str) -> bytes:
        """The encoded image; raises `ImageError`."""

    def content(self, name: str) -> bytes:
        """The bytes of the image as they are stored; raises `OSError`."""

    def unnamed(self, named: Collection[str]) -> tuple[int, str]:
        """The number of images that are not among `named`, and the first of them."""


class FileDataset:
    """A dataset of images in a folder or in archives.

    Args:
        kind: str. The dataset's name in messages.
        source: Images. Where the images are.
        images: dict of split to dict of image name to captions.
        bad_rows: BadRows. The rows that were left out.
        remedies: mapping of split to what to do where it holds no image, for the message; default None.

    Attributes:
        repeated: int. Rows that only repeat a caption of their image; it counts once.
    """

    repeated = 0

    def __init__(
        self,
        kind: str,
        source: Images,
        images: Mapping[str, Mapping[str, Sequence[str]]],
        bad_rows: BadRows,
        remedies: Mapping[str, str] | None = None,
    ):
        self.kind, self.source, self.bad_rows = kind, source, bad_rows
        self._remedies = remedies or {}
        self._images = {split: images[split] for split in SPLITS if images.get(split)}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that hold images."""
        return tuple(self._images)

    @property
    def summary(self) -> str:
        """The numbers of images and captions, such as "212 images, 1,060 captions"."""
        captions = [texts for images in self._images.values() for texts in images.values()]
        return f"{len(captions):,} images, {sum(map(len, captions)):,} captions"

    def examples(self, split: str) -> list[Example]:
        """The examples of a split, in the order of the captions file; `id` is the image's name.

        Args:
            split: str.

        Returns:
            A list of `Example`.

        Raises:
            DataError: if the split is unknown or holds no image.
        """
        if split not in self._images:
            raise missing_split(f"the {self.kind} dataset", split, self.splits, self._remedies.get(split, ""))
        return [
            Example(name, tuple(captions), functools.partial(self.source.read, name))
            for name, captions in self._images[split].items()
        ]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of every image's name, split and content.

        Reading it all costs little beside encoding it (8,000 images of 130 kB: about two seconds), and
        it detects edits that keep date and length. Moving the folder changes nothing.
        """
        digest = hashlib.sha256()
        for split, images in self._images.items():
            for name in images:
                try:
                    content = hashlib.sha256(self.source.content(name)).hexdigest()
                except OSError:  # deleted since: encoding it will raise the error
                    content = "absent"
                digest.update(f"{split}\0{name}\0{content}\n".encode())
        return digest.hexdigest()


def existing_folder(kind: str, folder: str | Path) -> Path:
    """The folder as a path, or a `DataError` if there is none."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise DataError(f"expected a folder of images for the {kind} dataset at {path}, found no such folder")
    return path


def collect(kind: str, folder: Path, entries: Iterable[Entry], bad: BadRows) -> FileDataset:
    """Checks entries of one image each and makes a dataset of the good ones.

    An image that is named twice, is absent, is no image by its first bytes, lies outside the folder or has
    no caption left is a bad row. So is an empty caption, though its image keeps the others.

    Args:
        kind: str. The dataset's name in messages.
        folder: Path. Where the images are.
        entries: iterable of Entry.
        bad: BadRows. Takes the bad rows; checked here against the number of images.

    Returns:
        The `FileDataset`.

    Raises:
        DataError: if too many are bad, or none is left.
    """
    captions_of: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    images = ImageFiles(folder)
    seen: set[str] = set()
    total = 0
    for entry in entries:
        total += 1
        name, fault = images.locate(entry.name)
        split = split_name(entry.split)
        captions = [" ".join(c.split()) for c in entry.captions]
        kept = [c for c in captions if c and not caption_fault(c)]
        reason = ""
        if name in seen:
            reason = "this image has come before"
        elif not split:
            reason = f"unknown split {entry.split!r}; expected one of: {', '.join(SPLIT_NAMES)}"
        elif not kept:
            reason = "no caption that is not empty"
        seen.add(name)
        if reason := fault or reason:
            bad.add(entry.where, entry.name, reason)
            continue
        for caption in captions:
            if fault := caption_fault(caption):
                bad.add(entry.where, entry.name, fault)
        captions_of[split][name] = kept
    bad.check(total)
    if not any(captions_of.values()):
        raise DataError(f"expected images with captions for the {kind} dataset in {folder}, found none")
    return FileDataset(kind, images, captions_of, bad)


def caption_fault(caption: str) -> str:
    """What is wrong with a caption: not UTF-8, no word in it, or nothing (an empty string).

    Example:
        >>> caption_fault("a dog"), caption_fault(" ...")
        ('', 'the caption is empty')
    """
    try:
        caption.encode("utf-8")
    except UnicodeEncodeError:
        return "the caption is not UTF-8"
    return "" if words(caption) else "the caption is empty"
