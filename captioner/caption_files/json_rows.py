"""Rows of JSON and JSON lines files, COCO's annotations among them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from captioner.caption_files.columns import find_columns
from captioner.caption_files.reading import encoding_fault, parse_json, read_text, short
from captioner.caption_files.row import Rows, make_row
from captioner.errors import DataError


def jsonl_rows(path: Path, called: str) -> Rows:
    """Reads a `.jsonl` file, one object a line; see `read_rows`."""
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
            reason = (
                f"{error.msg} (column {error.colno})" if isinstance(error, json.JSONDecodeError) else error
            )
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
        rows.append(make_row(where, fields, None, fault))
    return Rows(path, rows, columns or ("image", "caption"))


def json_rows(path: Path, called: str) -> Rows:
    """Reads a `.json` file; see `read_rows`."""
    text = read_text(path)
    try:
        value = parse_json(text)
    except json.JSONDecodeError as error:
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
        raise DataError(f"{path}: expected captions, got {_kind_of_image_list(value['images'])}")
    if isinstance(value, dict):
        pairs = [
            ({"image": image, "captions" if isinstance(entry, list) else "caption": entry}, image)
            for image, entry in value.items()
        ]
        return Rows(
            path, [make_row(f"{called}: {short(image)}", fields, None, "") for fields, image in pairs]
        )
    if not isinstance(value, list):
        raise DataError(f"{path}: expected a JSON object or list, got {type(value).__name__}")
    return _entries(path, called, value, "entry {}")


def _kind_of_image_list(images: Sequence[Any]) -> str:
    """The kind of a file that has "images" but no "annotations", for a message."""
    if images and isinstance(images[0], dict) and "sentences" in images[0]:
        return "Karpathy's format, which only training reads, as flickr(folder=..., captions=...)"
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
        rows.append(make_row(f"{called}: {where}", entry, None, ""))
    return Rows(path, rows, columns or ("image", "caption"))


def _coco(path: Path, called: str, value: Mapping[str, Any]) -> Rows:
    images = value.get("images")
    named = [
        (str(image["id"]), image["file_name"])
        for image in (images if isinstance(images, list) else [])
        if isinstance(image, dict) and "id" in image and isinstance(image.get("file_name"), str)
    ]
    # A name of two images is ambiguous and not used.
    count = Counter(name for _, name in named)
    names = {number: name for number, name in named if name and count[name] == 1}
    entries = _entries(path, called, value["annotations"], "annotation {}")
    rows = [row._replace(image=names.get(row.image, row.image)) for row in entries.rows]
    return Rows(path, rows, numbers={name: number for number, name in names.items()})
