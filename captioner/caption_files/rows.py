"""Rows of a caption file: CSV, TSV, JSON or JSON lines, for training and evaluation."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from captioner.caption_files.columns import COLUMNS
from captioner.caption_files.csv_rows import csv_rows
from captioner.caption_files.json_rows import json_rows, jsonl_rows
from captioner.caption_files.reading import ending
from captioner.caption_files.row import Rows
from captioner.errors import DataError

_READERS: dict[str, Callable[[Path, str], Rows]] = {
    ".json": json_rows,
    ".jsonl": jsonl_rows,
    ".csv": csv_rows,
    ".tsv": csv_rows,
}


def read_rows(path: str | Path, called: str | None = None) -> Rows:
    """Reads all rows of a caption file.

    Args:
        path: str or Path of a `.csv` or `.tsv` file with a header line, a `.jsonl` file (an object a line) or a
            `.json` file (a list of objects, an object of image to caption or captions, or COCO's annotations), in
            UTF-8; any of them may be gzipped (`.csv.gz`).
        called: str, default `path`. The name of the file in `Row.where`.

    Returns:
        `Rows`. A row that cannot be used has a `fault`; the caller decides whether to stop.

    Raises:
        DataError: if the file cannot be read, is of another kind, lacks a column, or holds no row; with the line, if
            its syntax is broken, as by a quote that is not closed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "captions.csv")
        ...     _ = path.write_text("image,caption\\n1.jpg,a dog\\n2.jpg,a cat, asleep\\n")
        ...     for row in read_rows(path, "captions.csv").rows:
        ...         print(row.where, row.image, row.captions, row.fault)
        captions.csv:2 1.jpg ['a dog'] \n\
        captions.csv:3 2.jpg [] 3 fields for 2 columns: a caption with a comma needs quotes
    """
    path = Path(path)
    reader = _READERS.get(ending(path))
    if reader is None:
        raise DataError(_wrong_ending(path))
    table = reader(path, called or str(path))
    if not table.rows:
        raise DataError(f"{path}: expected rows with {COLUMNS}, found none")
    return table


def _wrong_ending(path: Path) -> str:
    expected = f"expected a captions file that ends in {', '.join(_READERS)}, got {path}"
    try:
        with path.open("rb") as file:
            first = file.readline(1000).decode("utf-8", "replace")
    except (OSError, ValueError):
        return expected
    if re.match(r"[^\t,]+#[0-9]\t", first):
        return f"{expected}: this is Flickr's format, which only training reads, as flickr(folder=..., captions=...)"
    suffix = next((n for mark, n in ((",", ".csv"), ("\t", ".tsv")) if mark in first), "")
    return expected + (f": rename it to {path.with_suffix(suffix).name}" if suffix else "")
