"""One row of a caption file, and its checks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from captioner.caption_files.columns import CAPTION, IMAGE
from captioner.caption_files.reading import short

_MOST_CHARACTERS = 100_000
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


class Row(NamedTuple):
    """One row of a captions file.

    Attributes:
        where: str. File and line, or file and entry, for messages.
        image: str. The id of the image: COCO's file name where the file has it.
        captions: list of str. One, or those of a list ("captions", "caption" or "text"); none where `fault` is set.
        split: str or None. The split's name in the file; None in a file without that column.
        fields: mapping. All columns of the row, by their names in the file.
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
        rows: list of Row, those with a fault included.
        columns: tuple of str. Names of the columns of image and caption.
        numbers: dict of image to its number, where a COCO file gives both.
    """

    path: Path
    rows: list[Row]
    columns: tuple[str, str] = ("image", "caption")
    numbers: dict[str, str] = field(default_factory=dict)


def make_row(where: str, fields: Mapping[str, Any], columns: tuple[str, str] | None, fault: str) -> Row:
    """A row from its fields; `columns` names those of image and caption, None for any accepted names."""
    lower = {name.strip().lower(): value for name, value in fields.items()}
    image: Any
    texts: list[Any]
    if columns is not None:
        image, texts = fields.get(columns[0]), [fields.get(columns[1])]
    else:
        image = next((lower[name] for name in IMAGE if lower.get(name) not in (None, "")), None)
        one = next((lower[name] for name in CAPTION if lower.get(name) is not None), None)
        texts = next((value for value in (lower.get("captions"), one) if isinstance(value, list)), [one])
    split = str(lower["split"] or "") if "split" in lower else None
    is_name = isinstance(image, str | int | float) and not isinstance(image, bool)
    name = str(image).strip() if is_name else ""
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
