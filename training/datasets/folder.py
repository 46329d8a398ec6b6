"""Any folder of pictures with captions in a CSV or JSONL file."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from captioner.errors import DataError
from training.datasets.bad_rows import BadRows
from training.datasets.files import (
    SPLITS,
    FileDataset,
    caption_fault,
    existing_folder,
    picture_fault,
    picture_name,
    split_name,
)

_DEFAULT_FILES = ("captions.jsonl", "captions.csv", "captions.tsv")
_COLUMNS = "the columns image, caption and optionally split"


def folder(
    path: str,
    captions: str | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    max_bad: float = 0.01,
    bad_rows: str | None = None,
) -> FileDataset:
    """Any folder of pictures, with captions in a CSV, TSV or JSONL file.

    Each row names a picture and gives one caption; several rows may name the same picture. Without a column
    `split` a picture's split follows from a hash of its name: the same on every machine, and no picture moves
    when others come.

    Args:
        path: str. The folder of pictures; rows name them relative to it, with forward slashes.
        captions: str or None. The file: `.csv` or `.tsv` with a header line, or `.jsonl`, with the columns
            image, caption and optionally split (train, validation or test), in UTF-8. Defaults to
            `captions.jsonl`, `captions.csv` or `captions.tsv` in the folder.
        validation: float. Share of pictures for validation where there is no column split. Defaults to 0.1.
        test: float. Share of pictures for test, likewise. Defaults to 0.1.
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
    if min(validation, test) < 0 or validation + test >= 1:
        raise DataError(
            f"expected shares of validation and test that leave some for train, got {validation}, {test}"
        )
    pictures = existing_folder("folder", path)
    file = _captions_file(pictures, captions)
    bad = BadRows("folder", bad_rows, max_bad)
    rows = _Rows(pictures, validation, test)
    total = 0
    for where, fields in _READERS[file.suffix.lower()](file):
        total += 1
        fault = fields if isinstance(fields, str) else rows.add(fields)
        if fault:
            bad.add(where, "" if isinstance(fields, str) else str(fields.get("image") or ""), fault)
    bad.check(total)
    if not rows.captions:
        raise DataError(f"{file}: expected rows with {_COLUMNS}, found none")
    return FileDataset("folder", pictures, rows.by_split(), bad)


class _Rows:
    """Takes rows one by one, refuses those that cannot be used, and sorts the rest by picture and split."""

    def __init__(self, pictures: Path, validation: float, test: float):
        self.captions: dict[str, list[str]] = {}
        self._pictures, self._validation, self._test = pictures, validation, test
        self._splits: dict[str, str] = {}
        self._faults: dict[str, str] = {}  # of pictures, so that each is opened once

    def add(self, fields: Mapping[str, Any]) -> str:
        """Takes a row; returns what is wrong with it, or an empty string."""
        image, caption = fields.get("image"), fields.get("caption")
        if not isinstance(image, str) or not isinstance(caption, str):
            return "image and caption are not both there as text"
        name, fault = picture_name(image)
        if fault := fault or caption_fault(caption):
            return fault
        if "split" in fields:
            split = split_name(str(fields["split"] or ""))
            if not split:
                return f"unknown split {fields['split']!r}; expected one of: {', '.join(SPLITS)}"
        else:
            split = _split_by_hash(name, self._validation, self._test)
        if name not in self._faults:
            self._faults[name] = picture_fault(self._pictures / name)
        if self._faults[name]:
            return self._faults[name]
        if self._splits.setdefault(name, split) != split:
            return f"this picture is in the split {self._splits[name]} already"
        caption = " ".join(caption.split())
        if caption in self.captions.setdefault(name, []):
            return "the same picture and caption have come before"
        self.captions[name].append(caption)
        return ""

    def by_split(self) -> dict[str, dict[str, list[str]]]:
        """Pictures and their captions, by split."""
        return {s: {n: c for n, c in self.captions.items() if self._splits[n] == s} for s in SPLITS}


def _captions_file(pictures: Path, captions: str | None) -> Path:
    if captions is None:
        found = next((pictures / name for name in _DEFAULT_FILES if (pictures / name).is_file()), None)
        if found is None:
            raise DataError(
                f"expected one of {', '.join(_DEFAULT_FILES)} in {pictures}, found none; give captions="
            )
        return found
    file = Path(captions).expanduser()
    if file.suffix.lower() not in _READERS:
        raise DataError(f"expected a captions file that ends in {', '.join(_READERS)}, got {file}")
    if not file.is_file():
        raise DataError(f"expected a captions file at {file}, found no such file")
    return file


def _split_by_hash(name: str, validation: float, test: float) -> str:
    """A split from the first 8 bytes of the name's SHA-256, taken as a number from 0 to 1."""
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"


def _check_columns(file: Path, line: int, columns: Any) -> None:
    if not {"image", "caption"} <= set(columns):
        got = ", ".join(ascii(c)[1:-1] for c in columns)[:120]
        raise DataError(f"{file}:{line}: expected {_COLUMNS}, got: {got or 'none'}")


# Both readers keep bytes that are no UTF-8 as lone surrogates, so that only their own row is bad.


def _read_csv(file: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            dialect = "excel-tab" if file.suffix.lower() == ".tsv" else "excel"
            reader = csv.DictReader(text, dialect=dialect, strict=True)
            columns = [c.strip() for c in reader.fieldnames or ()]
            _check_columns(file, 1, columns)
            reader.fieldnames = columns
            for fields in reader:
                where = f"{file.name}:{reader.line_num}"
                if None in fields:
                    yield where, "more fields than columns (a caption with a comma needs quotes)"
                else:
                    yield where, fields
    except csv.Error as error:
        raise DataError(
            f"{file}:{reader.reader.line_num}: expected CSV with {_COLUMNS}, got a line that is not: {error}"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read the captions file {file}: {error.strerror or error}") from None


def _read_jsonl(file: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    first = True
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as text:
            for number, line in enumerate(text, 1):
                if not line.strip():
                    continue
                where = f"{file.name}:{number}"
                try:
                    fields = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield where, f"not a line of JSON: {error}"
                    continue
                if not isinstance(fields, dict):
                    yield where, "the line is JSON but no object"
                    continue
                if first:
                    _check_columns(file, number, fields)
                    first = False
                yield where, fields
    except OSError as error:
        raise DataError(f"cannot read the captions file {file}: {error.strerror or error}") from None


_READERS = {".csv": _read_csv, ".tsv": _read_csv, ".jsonl": _read_jsonl}
