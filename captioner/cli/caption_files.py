"""Reading the files of captions that `captioner evaluate` takes; its help describes them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from captioner.errors import DataError
from captioner.types import Caption

_IMAGE, _CAPTION = ("image", "image_id", "id"), ("caption", "text")


def read_predictions(path: str) -> dict[str, Caption]:
    """Reads one caption for each picture.

    Args:
        path: str. A `.json`, `.jsonl`, `.csv` or `.tsv` file.

    Returns:
        dict of picture to `Caption`; one that failed has its `error`, and one whose row has `attention` has that,
        `words` and `word_logp`.

    Raises:
        DataError: if the file is missing or of another kind, lacks a column, names a picture twice, or has an
            attention that is not one map a word.
    """
    found: dict[str, Caption] = {}
    for where, image, row in _rows(path):
        if image in found:
            raise DataError(
                f"{where}: expected one prediction for each picture, got a second one for {image!r}"
            )
        error = row.get("error") or None
        found[image] = Caption("", error=error) if error else _caption(row, where)
    return found


def read_references(path: str) -> dict[str, list[str]]:
    """Reads the reference captions of each picture.

    Args:
        path: str. A `.json`, `.jsonl`, `.csv` or `.tsv` file.

    Returns:
        dict of picture to list of captions.

    Raises:
        DataError: if the file is missing or of another kind, or lacks a column.
    """
    found: dict[str, list[str]] = {}
    for where, image, row in _rows(path):
        texts = row["captions"] if isinstance(row.get("captions"), list) else [_text(row, where)]
        if not all(isinstance(text, str) for text in texts):
            raise DataError(f"{where}: expected a list of strings as captions, got {texts!r:.60}")
        found.setdefault(image, []).extend(texts)
    return found


def _rows(path: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(where, picture, row) for each row of a file."""
    reader = _READERS.get(Path(path).suffix.lower())
    if reader is None:
        raise DataError(f"expected a file ending in {', '.join(_READERS)}, got {path}")
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"expected {path} to be UTF-8 text; byte {error.start} is not") from None
    empty = True
    for where, row in reader(text, path):
        if not isinstance(row, Mapping):
            raise DataError(f"{where}: expected an object with image and caption, got {row!r:.60}")
        image = next((row[key] for key in _IMAGE if row.get(key) not in (None, "")), None)
        if image is None:
            raise DataError(
                f"{where}: expected a column {' or '.join(_IMAGE)}, got {', '.join(map(str, row))}"
            )
        empty = False
        yield where, str(image), row
    if empty:
        raise DataError(f"expected captions in {path}, found none")


def _text(row: Mapping[str, Any], where: str) -> str:
    text = next((row[key] for key in _CAPTION if row.get(key) is not None), None)
    if not isinstance(text, str):
        raise DataError(
            f"{where}: expected a column {' or '.join(_CAPTION)} with text, got {', '.join(map(str, row))}"
        )
    return text


def _caption(row: Mapping[str, Any], where: str) -> Caption:
    """A caption with its attention, if the row has one."""
    text, attention = _text(row, where), row.get("attention")
    spoken, logp = row.get("words"), row.get("word_logp")
    if attention is None or attention == spoken == []:
        return Caption(text)
    if not (isinstance(spoken, list) and all(isinstance(word, str) for word in spoken)):
        raise DataError(f"{where}: expected words, a list of strings, beside attention, got {spoken!r:.60}")
    if not (isinstance(logp, list) and len(logp) == len(spoken) and all(map(_is_number, logp))):
        raise DataError(f"{where}: expected word_logp, {len(spoken)} log-probabilities, got {logp!r:.60}")
    try:
        maps = np.array(attention, np.float32)
    except (TypeError, ValueError):  # ragged, or no numbers
        maps = np.empty(0, np.float32)
    fits = maps.ndim == 3 and len(maps) == len(spoken) and maps.size and bool(np.all(maps >= 0))
    if not fits or not np.isfinite(maps).all():
        raise DataError(
            f"{where}: expected attention, {len(spoken)} maps (one a word) of rows of numbers from 0 to 1, "
            f"got {attention!r:.60}"
        )
    return Caption(text, words=tuple(spoken), word_logp=tuple(logp), attention=maps)


def _is_number(value: Any) -> bool:
    # Rounding may lift a sure word's a little above 0.
    return isinstance(value, int | float) and not isinstance(value, bool) and value < 1


def _json(text: str, path: str) -> Iterator[tuple[str, Any]]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: expected JSON, {error}") from None
    if isinstance(value, dict) and isinstance(value.get("annotations"), list):
        value = value["annotations"]
    if isinstance(value, dict):
        for image, entry in value.items():
            yield (
                f"{path}: {image}",
                {"image": image, "captions" if isinstance(entry, list) else "caption": entry},
            )
    elif isinstance(value, list):
        for place, row in enumerate(value, 1):
            yield f"{path}: entry {place}", row
    else:
        raise DataError(f"{path}: expected a JSON object or list, got {type(value).__name__}")


def _jsonl(text: str, path: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"{path}: line {number}", json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}: line {number}: expected JSON, {error}") from None


def _csv(text: str, path: str, delimiter: str = ",") -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter)
    try:
        for row in reader:
            yield f"{path}: line {reader.line_num}", {k: v for k, v in row.items() if k is not None}
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: {error}") from None


def _tsv(text: str, path: str) -> Iterator[tuple[str, Any]]:
    return _csv(text, path, delimiter="\t")


_READERS = {".json": _json, ".jsonl": _jsonl, ".csv": _csv, ".tsv": _tsv}
