"""Any folder of images with captions in a CSV, TSV, JSON or JSONL file."""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from pathlib import Path

from captioner.caption_files import Row, read_rows
from captioner.checks import number
from captioner.errors import DataError
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.files import (
    SPLITS,
    FileDataset,
    caption_fault,
    existing_folder,
    split_name,
)
from training.data.datasets.image_folder import ImageFolder

_log = logging.getLogger("captioner.datasets")

_DEFAULT_FILES = ("captions.jsonl", "captions.csv", "captions.tsv", "captions.json")


def folder(
    path: str,
    captions: str | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    max_bad: float = 0.01,
    bad_rows: str | None = None,
) -> FileDataset:
    """Any folder of images, with captions in a CSV, TSV, JSON or JSONL file.

    Each row names an image and gives one caption; several rows may name the same image. Without a column
    `split` an image's split follows from a hash of its name: the same on every machine, and no image moves
    when others come. A caption that comes again for the same image counts once.

    Args:
        path: str. The folder of images; rows name them relative to it, with forward slashes.
        captions: str or None. The file: `.csv` or `.tsv` with a header line, `.jsonl` or `.json`, with the columns
            image, caption and optionally split (train, validation or test), in UTF-8, as `captioner evaluate` takes
            them too. Defaults to `captions.jsonl`, `captions.csv`, `captions.tsv` or `captions.json` in the folder.
        validation: float. Share of images for validation where there is no column split. Defaults to 0.1.
        test: float. Share of images for test, likewise. Defaults to 0.1.
        max_bad: float. The largest share of bad rows to accept. Defaults to 0.01.
        bad_rows: str or None. Where to list what is left out. Defaults to `cache/bad_rows_folder.jsonl`.

    Returns:
        A `FileDataset`.

    Raises:
        DataError: if the folder or file is missing, the columns are others, or too many rows are bad.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> photos = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (4, 4)).save(photos / "night.png")
        >>> _ = (photos / "captions.csv").write_text("image,caption,split\\nnight.png,a dark night,train\\n")
        >>> folder(str(photos)).examples("train")[0].captions
        ('a dark night',)
    """
    validation, test = number(validation, "validation", 0, 1), number(test, "test", 0, 1)
    if validation + test >= 1:
        raise DataError(
            f"expected shares of validation and test that leave some for train, got {validation}, {test}"
        )
    place = existing_folder("folder", path)
    file = _captions_file(place, captions)
    bad = BadRows("folder", bad_rows, max_bad)
    table = read_rows(file, file.name)
    if table.columns != ("image", "caption"):
        _log.warning("%s: images by the column %r, captions by %r", file, *table.columns)
    rows = _Rows(place, validation, test)
    for row in table.rows:
        if fault := row.fault or rows.add(row):
            bad.add(row.where, row.image, fault)
    bad.check(len(table.rows))
    rows.warn_of_omissions(file)
    dataset = FileDataset("folder", place, rows.by_split(), bad, rows.remedies(file.name))
    dataset.repeated = rows.repeated
    return dataset


class _Rows:
    """Collects rows by image and split; rows that cannot be used are refused."""

    def __init__(self, place: Path, validation: float, test: float):
        self.captions: dict[str, list[str]] = {}
        self.repeated, self.has_splits = 0, False
        self._images, self._validation, self._test = ImageFolder(place), validation, test
        self._splits: dict[str, str] = {}
        self._named: set[str] = set()

    def add(self, row: Row) -> str:
        """Adds a row; returns what is wrong with it, or an empty string."""
        name, fault = self._images.locate(row.image)
        self._named.add(name)
        if fault := next(filter(None, map(caption_fault, row.captions)), "") or fault:
            return fault
        if row.split is not None:
            self.has_splits = True
            split = split_name(row.split)
            if not split:
                return f"unknown split {row.split!r}; expected one of: {', '.join(SPLITS)}"
        else:
            split = _split_by_hash(name, self._validation, self._test)
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

    def remedies(self, file: str) -> dict[str, str]:
        """Remedies for each split that has no image."""
        if self.has_splits:
            return {split: f"no row of {file} says {split} in its column split" for split in SPLITS}
        places = [_place_by_hash(name) for name in self.captions]
        remedies = {}
        for split in ("validation", "test"):
            of_validation = split == "validation"
            share, other = (self._validation, self._test) if of_validation else (self._test, self._validation)
            start = other if of_validation else 0.0
            enough = (s / 20 for s in range(1, 20) if any(start <= p < start + s / 20 for p in places))
            wanted = next((s for s in enough if s > share and any(p >= s + other for p in places)), None)
            larger = f", or set {split}={wanted:g} of the dataset (now {share:g})" if wanted else ""
            remedies[split] = f"add images, or a column split to {file}{larger}"
        return remedies

    def warn_of_omissions(self, file: Path) -> None:
        """Logs how many captions are repeated and how many images no row names."""
        if self.repeated:
            _log.warning(
                "%s: %s captions repeat one of their image, and count once", file, f"{self.repeated:,}"
            )
        count, first = self._images.unnamed(self._named)
        if count:
            _log.warning(
                "%s names no captions for %s of the image files in %s, such as %s: left out",
                file.name, f"{count:,}", self._images.folder, first,
            )  # fmt: skip


def _captions_file(images: Path, captions: str | None) -> Path:
    if captions is None:
        default = next((images / name for name in _DEFAULT_FILES if (images / name).is_file()), None)
        if default is None:
            raise DataError(
                f"expected one of {', '.join(_DEFAULT_FILES)} in {images}, found none; give captions="
            )
        return default
    file = Path(captions).expanduser()
    if not file.is_file():
        raise DataError(f"expected a captions file at {file}, found no such file")
    return file


def _place_by_hash(name: str) -> float:
    """The first 8 bytes of the SHA-256 of the name, accents composed, taken as a number from 0 to 1."""
    name = unicodedata.normalize("NFC", name)
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def _split_by_hash(name: str, validation: float, test: float) -> str:
    place = _place_by_hash(name)
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"
