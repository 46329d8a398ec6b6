"""Rows of CSV and TSV files."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from captioner.caption_files.columns import find_columns, separated
from captioner.caption_files.reading import encoding_fault, ending, read_text, short
from captioner.caption_files.row import Row, Rows, make_row
from captioner.errors import DataError


def csv_rows(path: Path, called: str) -> Rows:
    """Reads a `.csv` or `.tsv` file; see `read_rows`."""
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
        rows.append(make_row(f"{called}:{line}", fields, columns, fault))
    known = {row.image for row in rows}
    for number, values in several_lines:
        if _swallowed_row(values, names.index(columns[0]), delimiter, known):
            fault = "a quote that is not closed on its line: the rows after it would become part of this one"
            rows[number] = rows[number]._replace(captions=[], fault=fault)
    return Rows(path, rows, columns)


def _swallowed_row(values: Sequence[str], image_column: int, delimiter: str, known: Collection[str]) -> bool:
    """Whether a field of several lines contains another row: one of its lines has an image in the image column."""
    kinds = {kind for name in known if (kind := _name_kind(name))}
    for column, value in enumerate(values):
        for number, line in enumerate(re.split(r"[\r\n]+", value) if re.search(r"[\r\n]", value) else ()):
            parts = line.split(delimiter)
            index = image_column - (column if number == 0 else 0)
            if len(parts) > 1 and 0 <= index < len(parts):
                name = parts[index].strip()
                if name in known or _name_kind(name) in kinds:
                    return True
    return False


def _name_kind(image: str) -> str:
    """The kind of an image's name: its ending, "0" for a number, or an empty string."""
    return "0" if image.isdecimal() else Path(image).suffix.lower()


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, fields) of each record that is not empty."""
    # Lines end at CR, LF or both only: str.splitlines would also end them at U+2028.
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
