"""From rows of captions to a dataset: splits, repeated captions, bad rows, and images that no row names."""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from captioner.caption_files import Row
from captioner.caption_files.columns import SPLIT_NAMES, split_name
from captioner.checks import number
from captioner.errors import DataError
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.files import SPLITS, FileDataset, Images, caption_fault

_log = logging.getLogger("captioner.datasets")

_SPLIT_WORD = re.compile(rf"(?:^|[^a-z])(({'|'.join(SPLIT_NAMES)})[0-9]*)(?![a-z0-9])")


class Shares:
    """Shares of the images that a hash of their names puts into validation and test, where a source has no splits.

    Args:
        validation: float from 0. With 0 there is no validation split.
        test: float from 0. Likewise.

    Raises:
        SpecError: if one is no number from 0 to 1.
        DataError: if nothing is left for train.

    Example:
        >>> Shares(0.1, 0).split("dog.jpg"), Shares(0, 0).split("dog.jpg")
        ('train', 'train')
    """

    def __init__(self, validation: float, test: float):
        self.validation, self.test = number(validation, "validation", 0, 1), number(test, "test", 0, 1)
        if self.validation + self.test >= 1:
            raise DataError(
                f"expected shares of validation and test that leave some for train, got {validation}, {test}"
            )

    def split(self, name: str) -> str:
        """The split of an image: the same on every machine, and the same when other images come."""
        place = _place_by_hash(name)
        if place < self.test:
            return "test"
        return "validation" if place < self.test + self.validation else "train"

    def larger(self, split: str, names: Sequence[str]) -> str:
        """The remedy for a split without images: the smallest share in steps of 0.05 that gives it some, or nothing."""
        if split == "train":
            return ""
        share, other = (self.validation, self.test) if split == "validation" else (self.test, self.validation)
        start = other if split == "validation" else 0.0
        places = [_place_by_hash(name) for name in names]
        enough = (s / 20 for s in range(1, 20) if any(start <= p < start + s / 20 for p in places))
        wanted = next((s for s in enough if s > share and any(p >= s + other for p in places)), None)
        return f", or set {split}={wanted:g} of the dataset (now {share:g})" if wanted else ""


class SplitColumn(NamedTuple):
    """How a captions file states splits, for messages.

    Attributes:
        label: str. What names the captions, such as "captions.csv".
    """

    label: str

    def absent(self, split: str) -> str:
        """Why a split has no image, where the source has splits."""
        return f"no row of {self.label} says {split} in its column split"

    def remedy(self) -> str:
        """How to give the source splits."""
        return f"a column split to {self.label}"


class SplitNames(NamedTuple):
    """How folders or files state splits by their names, for messages.

    Attributes:
        label: str. What names the captions, such as "metadata.csv".
        holder: str. What has the name: "folder", "tar file".
    """

    label: str
    holder: str = "folder"

    def absent(self, split: str) -> str:
        """Why a split has no image, where the source has splits."""
        return f"no {self.holder} with captions is called {split}"

    def remedy(self) -> str:
        """How to give the source splits."""
        return f"{self.holder}s called train, validation and test"


def split_of_path(name: str) -> str:
    """The split that an image's path states: the first of its folders that is called as one, or an empty string.

    Example:
        >>> split_of_path("data/val/1.jpg"), split_of_path("photos/1.jpg"), split_of_path("test.jpg")
        ('validation', '', '')
    """
    folders = PurePosixPath(name.replace("\\", "/")).parts[:-1]
    return next(filter(None, map(split_name, folders)), "")


def splits_of_files(names: Sequence[str]) -> list[tuple[str, str]]:
    """The split that each of several files of captions states by its name, such as `captions_val2017.json`.

    Args:
        names: sequence of str.

    Returns:
        list of (the word as it is in the name, split). The split is empty for all unless there are at least two
        different ones; then a file that states none is of train.

    Example:
        >>> splits_of_files(["captions_train2017.json", "captions_val2017.json"])
        [('train2017', 'train'), ('val2017', 'validation')]
        >>> splits_of_files(["captions_train2017.json"])
        [('train2017', '')]
    """
    matches = [_SPLIT_WORD.search(name.lower()) for name in names]
    words = [match[1] if match else "" for match in matches]
    splits = [split_name(match[2]) if match else "" for match in matches]
    several = len({split for split in splits if split}) > 1
    return [(word, (split or "train") if several else "") for word, split in zip(words, splits, strict=True)]


def splits_by_folder(rows: Sequence[Row]) -> list[Row]:
    """Rows without a split with that of the folder their image is in; where only some have one, the rest is train."""
    rows = [row if row.split else row._replace(split=split_of_path(row.image) or None) for row in rows]
    if not any(row.split for row in rows):
        return rows
    return [row if row.split else row._replace(split="train") for row in rows]


def dataset_of_rows(
    kind: str,
    source: Images,
    rows: Sequence[Row],
    shares: Shares,
    bad: BadRows,
    splits: SplitColumn | SplitNames,
) -> FileDataset:
    """Checks rows of captions and makes a dataset of the good ones.

    A row is bad if it has a fault of its own, its image is absent, no image or outside the folder, its caption is
    empty, its split is unknown, or its image is in another split already. A caption that comes again for an image
    counts once.

    Args:
        kind: str. The dataset's name in messages.
        source: Images.
        rows: sequence of Row. Where `split` is None, a hash of the image's name decides.
        shares: Shares. What the hash puts where.
        bad: BadRows. Takes the bad rows; checked here against the number of rows.
        splits: SplitColumn or SplitNames. How the source states splits.

    Returns:
        The `FileDataset`.

    Raises:
        DataError: if too many rows are bad, or none is left.
    """
    images = _Images(source, shares)
    for row in rows:
        if fault := images.add(row):
            bad.add(row.where, row.image, fault)
    bad.check(len(rows))
    if not images.captions:
        raise DataError(f"expected images with captions for the {kind} dataset, got none from {splits.label}")
    images.warn_of_omissions(splits.label)
    dataset = FileDataset(kind, source, images.by_split(), bad, images.remedies(splits))
    dataset.repeated = images.repeated
    return dataset


class _Images:
    """Collects rows by image and split; rows that cannot be used are refused."""

    def __init__(self, source: Images, shares: Shares):
        self.captions: dict[str, list[str]] = {}
        self.repeated, self.has_splits = 0, False
        self._source, self._shares = source, shares
        self._splits: dict[str, str] = {}
        self._named: set[str] = set()

    def add(self, row: Row) -> str:
        """Adds a row; returns what is wrong with it, or an empty string."""
        name, fault = self._source.locate(row.image) if row.image else ("", "")
        self._named.add(name)
        if fault := row.fault or next(filter(None, map(caption_fault, row.captions)), "") or fault:
            return fault
        if row.split is not None:
            self.has_splits = True
            split = split_name(row.split)
            if not split:
                return f"unknown split {row.split!r}; expected one of: {', '.join(SPLITS)}"
        else:
            split = self._shares.split(name)
        if self._splits.setdefault(name, split) != split:
            return f"this image is in the split {self._splits[name]} already"
        known = self.captions.setdefault(name, [])
        for caption in (" ".join(text.split()) for text in row.captions):
            if caption in known:
                self.repeated += 1
            else:
                known.append(caption)
        return ""

    def by_split(self) -> dict[str, dict[str, list[str]]]:
        """Images and their captions, by split."""
        return {s: {n: c for n, c in self.captions.items() if self._splits[n] == s} for s in SPLITS}

    def remedies(self, splits: SplitColumn | SplitNames) -> dict[str, str]:
        """Remedies for each split that has no image."""
        if self.has_splits:
            return {split: splits.absent(split) for split in SPLITS}
        names = list(self.captions)
        return {
            split: f"add images, or {splits.remedy()}{self._shares.larger(split, names)}" for split in SPLITS
        }

    def warn_of_omissions(self, label: str) -> None:
        """Logs how many captions are repeated and how many images no row names."""
        if self.repeated:
            _log.warning(
                "%s: %s captions repeat one of their image, and count once", label, f"{self.repeated:,}"
            )
        count, first = self._source.unnamed(self._named)
        if count:
            _log.warning(
                "%s: no captions for %s of the image files, such as %s: left out", label, f"{count:,}", first
            )


def _place_by_hash(name: str) -> float:
    """The first 8 bytes of the SHA-256 of the name, accents composed, taken as a number from 0 to 1."""
    name = unicodedata.normalize("NFC", name)
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
