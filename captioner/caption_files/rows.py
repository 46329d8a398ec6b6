"""Rows of a caption file: CSV, TSV, JSON or JSON lines, for training and evaluation."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from captioner.caption_files.columns import CAPTION, COLUMNS, IMAGE, find_columns, separated
from captioner.caption_files.reading import encoding_fault, parse_json, read_text, short
from captioner.errors import DataError

_MOST_CHARACTERS = 100_000
_NoJson = json.JSONDecodeError
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class Row(NamedTuple):
    """One row of a captions file.

    Attributes:
        where: str. File and line, or file and entry, for messages.
        image: str. What the row calls its image: COCO's file name where the file has it.
        captions: list of str. One, or what a list "captions" holds; none where `fault` is set.
        split: str or None. As the file calls it; None in a file without that column.
        fields: mapping. The whole row, under its own names.
        fault: str. Why the row cannot be used, or an empty string.
    """

    where: str
    image: str
    captions: list[str]
    split: str | None
    fields: Mapping[str, Any]
    fault: str


@dataclass(frozen=True)
class Rows:
    """All rows of a captions file.

    Attributes:
        path: Path.
        rows: list of Row, good and bad.
        columns: tuple of str. What the columns that were taken for image and caption are called.
        numbers: dict of image to its number, where a COCO file gives both.
    """

    path: Path
    rows: list[Row]
    columns: tuple[str, str] = ("image", "caption")
    numbers: dict[str, str] = field(default_factory=dict)


def read_rows(path: str | Path, called: str | None = None) -> Rows:
    """Reads all rows of a captions file.

    Args:
        path: str or Path of a `.csv` or `.tsv` file with a header line, a `.jsonl` file (an object a line) or a
            `.json` file (a list of objects, an object of image to caption or captions, or COCO's annotations), in
            UTF-8; any of them may be gzipped (`.csv.gz`).
        called: str, default `path`. What `Row.where` calls the file.

    Returns:
        `Rows`. A row that cannot be used has its `fault`; the caller decides whether that is the end.

    Raises:
        DataError: if the file cannot be read, is of another kind, lacks a column, or holds no row; where the form
            itself is broken, as by a quote that is not closed, with the line.

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


def ending(path: Path) -> str:
    """The ending of a file's name that tells its form: ".csv" of `captions.CSV.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _wrong_ending(path: Path) -> str:
    wanted = f"expected a captions file that ends in {', '.join(_READERS)}, got {path}"
    try:
        with path.open("rb") as file:
            first = file.readline(1000).decode("utf-8", "replace")
    except (OSError, ValueError):
        return wanted
    if re.match(r"[^\t,]+#[0-9]\t", first):
        return f"{wanted}: this is Flickr's own form, which only training reads, as flickr(folder=..., captions=...)"
    form = next((n for mark, n in ((",", ".csv"), ("\t", ".tsv")) if mark in first), "")
    return wanted + (f": rename it to {path.with_suffix(form).name}" if form else "")


def _csv(path: Path, called: str) -> Rows:
    delimiter = "\t" if ending(path) == ".tsv" else ","
    records = _records(path, delimiter)
    _, header = next(records, (1, []))
    names = [name.strip() for name in header]
    columns = find_columns(f"{path}:1", names, separated(names, delimiter))
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if twice:
        raise DataError(f"{path}:1: expected each column once, got {short(twice[0])} twice")
    rows: list[Row] = []
    several_lines: list[tuple[int, list[str]]] = []
    for line, values in records:
        fault = _record_fault(values, names, delimiter)
        if not fault and any("\n" in value or "\r" in value for value in values):
            several_lines.append((len(rows), values))
        fields = {name: value for name, value in zip(names, values, strict=False) if name}
        rows.append(_row(f"{called}:{line}", fields, columns, fault))
    known = {row.image for row in rows}
    for number, values in several_lines:
        if _swallowed_row(values, names.index(columns[0]), delimiter, known):
            fault = "a quote that is not closed on its line: the rows after it would become part of this one"
            rows[number] = rows[number]._replace(captions=[], fault=fault)
    return Rows(path, rows, columns)


def _swallowed_row(values: Sequence[str], image_column: int, delimiter: str, known: Collection[str]) -> bool:
    """Whether a field of several lines holds another row: on a line of it, an image stands where images stand."""
    shapes = {shape for name in known if (shape := _shape(name))}
    for column, value in enumerate(values):
        for number, line in enumerate(re.split(r"[\r\n]+", value) if re.search(r"[\r\n]", value) else ()):
            parts = line.split(delimiter)
            place = image_column - (column if number == 0 else 0)
            if len(parts) > 1 and 0 <= place < len(parts):
                name = parts[place].strip()
                if name in known or _shape(name) in shapes:
                    return True
    return False


def _shape(image: str) -> str:
    """What images of one file have in common: their ending, or that they are numbers; or an empty string."""
    return "0" if image.isdecimal() else Path(image).suffix.lower()


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line on which it begins, fields) of each record that is not empty."""
    # Lines end at CR, LF or both here and nowhere else: str.splitlines would also end them at U+2028.
    text = io.StringIO(read_text(path, strict=False), newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    line = 1
    try:
        for values in reader:
            if any(value.strip() for value in values) or len(values) > 1:
                yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        if "limit" in str(error):
            raise DataError(f"{path}:{line}: a field that is far too long: is a quote not closed?") from None
        raise DataError(
            f'{path}:{line}: expected CSV, but a quote (") in the row that begins here is not closed before line '
            f'{reader.line_num}, or text follows it ({error}): write "" for a quote inside quotes'
        ) from None


def _record_fault(values: Sequence[str], names: Sequence[str], delimiter: str) -> str:
    if len(values) > len(names):
        mark = "a tab" if delimiter == "\t" else "a comma"
        return f"{len(values)} fields for {len(names)} columns: a caption with {mark} needs quotes"
    if len(values) < len(names):
        return (
            f"{len(values)} field{'s' * (len(values) > 1)} for {len(names)} columns: {', '.join(names)[:100]}"
        )
    if [value.strip() for value in values] == names:
        return "the header line comes again"
    return next(filter(None, map(encoding_fault, values)), "")


def _jsonl(path: Path, called: str) -> Rows:
    columns: tuple[str, str] | None = None
    rows = []
    for number, line in enumerate(read_text(path, strict=False).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{called}:{number}"
        fault = encoding_fault(line)
        fields: Any = {}
        try:
            fields = parse_json(line)
        except ValueError as error:
            reason = f"{error.msg} (column {error.colno})" if isinstance(error, _NoJson) else error
            fault = fault or f"not a line of JSON: {reason}"
        if not isinstance(fields, dict):
            fields, fault = (
                {},
                fault or "the line is JSON but no object (a whole list must be in a .json file)",
            )
        if fields and columns is None:
            by_image = all(isinstance(value, str | list) for value in fields.values())
            hint = ": an object of images and their captions must be in a .json file" if by_image else ""
            columns = find_columns(f"{path}:{number}", list(fields), hint, objects=True)
        rows.append(_row(where, fields, None, fault))
    return Rows(path, rows, columns or ("image", "caption"))


def _json(path: Path, called: str) -> Rows:
    text = read_text(path)
    try:
        value = parse_json(text)
    except _NoJson as error:
        got = f"something else at column {error.colno} ({error.msg.lower()})"
        if error.msg == "Extra data":
            got = "extra data; a file with an object a line must end in .jsonl"
        elif not text.strip():
            got = "an empty file"
        raise DataError(f"{path}:{error.lineno}: expected JSON, got {got}") from None
    except ValueError as error:
        raise DataError(f"{path}: expected JSON, got {error}") from None
    if isinstance(value, dict) and isinstance(value.get("annotations"), list):
        return _coco(path, called, value)
    if isinstance(value, dict) and isinstance(value.get("images"), list):
        raise DataError(f"{path}: expected captions, got {_of_images(value['images'])}")
    if isinstance(value, dict):
        pairs = [
            ({"image": image, "captions" if isinstance(entry, list) else "caption": entry}, image)
            for image, entry in value.items()
        ]
        return Rows(path, [_row(f"{called}: {short(image)}", fields, None, "") for fields, image in pairs])
    if not isinstance(value, list):
        raise DataError(f"{path}: expected a JSON object or list, got {type(value).__name__}")
    return _entries(path, called, value, "entry {}")


def _of_images(images: Sequence[Any]) -> str:
    """What a file is whose "images" come without "annotations"."""
    if images and isinstance(images[0], dict) and "sentences" in images[0]:
        return "Karpathy's form, which only training reads, as flickr(folder=..., captions=...)"
    return "a list of images without annotations: with COCO, name its captions_*.json"


def _entries(path: Path, called: str, entries: Sequence[Any], place: str) -> Rows:
    columns: tuple[str, str] | None = None
    rows = []
    for number, entry in enumerate(entries, 1):
        where = place.format(number)
        if not isinstance(entry, dict):
            raise DataError(f"{path}: {where}: expected an object with image and caption, got {short(entry)}")
        if columns is None:
            columns = find_columns(f"{path}: {where}", list(entry), "", objects=True)
        rows.append(_row(f"{called}: {where}", entry, None, ""))
    return Rows(path, rows, columns or ("image", "caption"))


def _coco(path: Path, called: str, value: Mapping[str, Any]) -> Rows:
    images = value.get("images")
    named = [
        (str(image["id"]), image["file_name"])
        for image in (images if isinstance(images, list) else [])
        if isinstance(image, dict) and "id" in image and isinstance(image.get("file_name"), str)
    ]
    # A name that stands for two images names neither.
    count = Counter(name for _, name in named)
    names = {number: name for number, name in named if name and count[name] == 1}
    entries = _entries(path, called, value["annotations"], "annotation {}")
    rows = [row._replace(image=names.get(row.image, row.image)) for row in entries.rows]
    return Rows(path, rows, numbers={name: number for number, name in names.items()})


def _row(where: str, fields: Mapping[str, Any], columns: tuple[str, str] | None, fault: str) -> Row:
    """A row, its image and captions looked up under the names that they may have."""
    lower = {name.strip().lower(): value for name, value in fields.items()}
    image: Any
    texts: list[Any]
    if columns is not None:
        image, texts = fields.get(columns[0]), [fields.get(columns[1])]
    else:
        image = next((lower[name] for name in IMAGE if lower.get(name) not in (None, "")), None)
        one = next((lower[name] for name in CAPTION if lower.get(name) is not None), None)
        texts = lower["captions"] if isinstance(lower.get("captions"), list) else [one]
    split = str(lower["split"] or "") if "split" in lower else None
    usable = isinstance(image, str | int | float) and not isinstance(image, bool)
    name = str(image).strip() if usable else ""
    fault = (
        fault or ("" if name else f"no image is named (a column {' or '.join(IMAGE)})") or _texts_fault(texts)
    )
    return Row(where, name, [] if fault else texts, split, fields, fault)


def _texts_fault(texts: Sequence[Any]) -> str:
    for text in texts:
        if not isinstance(text, str):
            return f"image and caption are not both there as text, got {short(text)} as caption"
        if len(text) > _MOST_CHARACTERS:
            return f"a caption of {len(text):,} characters: is a quote not closed?"
        if match := _NO_TEXT.search(text):
            return "a NUL in the caption" if match[0] == "\0" else "the caption is not UTF-8"
    return "" if texts else "an empty list of captions"


_READERS: dict[str, Callable[[Path, str], Rows]] = {
    ".json": _json,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".tsv": _csv,
}
