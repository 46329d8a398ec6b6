"""Column names of caption files, with their accepted aliases."""

from __future__ import annotations

import re
from collections.abc import Sequence

from captioner.caption_files.reading import short
from captioner.errors import DataError

# Accepted names of the columns, in order of preference.
IMAGE = ("image", "image_id", "file_name", "filename", "id")
CAPTION = ("caption", "text")
COLUMNS = "the columns image, caption and optionally split"
_ALSO = f"image may be called {', '.join(IMAGE[1:])}, and caption {', '.join(CAPTION[1:])}"
# Accepted names of splits. Karpathy's "restval" is the rest of COCO's validation images, which belongs to training.
SPLIT_NAMES = {
    "train": "train",
    "restval": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}
_SEPARATORS = {"\t": "tabs: name the file .tsv", ",": "commas: name the file .csv"}


def find_columns(where: str, names: Sequence[str], hint: str, objects: bool = False) -> tuple[str, str]:
    """The columns that hold image and caption.

    Args:
        where: str. File and line, for the message.
        names: sequence of str. All columns, or the keys of the first object.
        hint: str. The likely cause of missing columns, for the message.
        objects: bool, default False. Whether these are the keys of an object, which may also hold a list "captions", or
            an "error" in place of a caption.

    Returns:
        Two of `names`.

    Raises:
        DataError: if one is missing; the message lists the columns and the accepted names.
    """
    image = _first(IMAGE, names)
    caption = _first((*CAPTION, *(("captions", "error") if objects else ())), names)
    if image is None or caption is None:
        got = ", ".join(short(name)[1:-1] for name in names)[:120] or "none"
        raise DataError(f"{where}: expected {COLUMNS}, got: {got}{hint}; {_ALSO}")
    return image, caption


def split_name(name: str) -> str:
    """The standard name of a split, or an empty string for an unknown one.

    Example:
        >>> split_name("val"), split_name("restval"), split_name("holiday")
        ('validation', 'train', '')
    """
    return SPLIT_NAMES.get(name.strip().lower(), "")


def _first(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    original = {name.strip().lower(): name for name in reversed(names)}
    return next((original[name] for name in wanted if name in original), None)


def separated(names: Sequence[str], delimiter: str) -> str:
    """The likely cause of a header line without the columns, for a message: separators, another format.

    Example:
        >>> separated(["image;caption"], ",")
        ": its columns are separated by ';': save it with commas, under these names"
    """
    for mark, remedy in _SEPARATORS.items():
        if mark != delimiter and any(mark in name for name in names):
            return f": its columns are separated by {remedy}"
    if names and (names[0].startswith("sep=") or names[0].startswith("#")):
        return ": the first line must name the columns, with nothing before them"
    if names and names[0].startswith(("{", "[")):
        return ": this is JSON: name the file .json, or .jsonl if each line is an object"
    if any(name.startswith('"') for name in names[1:]):
        return ': no space may stand between a separator and a quote (")'
    for mark in ";|":
        if any(mark in name for name in names):
            return f": its columns are separated by {mark!r}: save it with commas, under these names"
    if names and re.search(r"\.(jpe?g|png|gif|bmp|webp|tiff?)$", names[0], re.IGNORECASE):
        return ": the first line must name the columns, as in image,caption"
    return ""
