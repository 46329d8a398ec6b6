"""Strict reading of text and JSON from caption files; errors name the line."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from pathlib import Path
from typing import Any

from captioner.errors import DataError

# (first bytes, kind of file, what to do)
_FOREIGN = (
    (b"\xff\xfe\0\0", "UTF-32 text", "save it as UTF-8"),
    (b"\0\0\xfe\xff", "UTF-32 text", "save it as UTF-8"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet", "save it as CSV in UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet", "save it as CSV in UTF-8"),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself with `git lfs pull`"),
)
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_MOST_DIGITS = 300


def read_text(path: Path, what: str = "captions", strict: bool = True) -> str:
    """Reads a file of UTF-8 text, plain or gzipped, with or without a byte order mark.

    Args:
        path: Path.
        what: str, default "captions". The kind of file, for messages.
        strict: bool, default True. Raise for a byte that is not UTF-8; else such bytes are kept as lone surrogates,
            which `encoding_fault` reports row by row.

    Returns:
        str, line ends unchanged.

    Raises:
        DataError: naming the file, if it cannot be read, is of another kind, or is not UTF-8.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, ValueError, zlib.error) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read the {what} file {path}: {reason}") from None
    for magic, name, remedy in _FOREIGN:
        if data.startswith(magic):
            raise DataError(f"{path}: expected UTF-8 text, got {name}: {remedy}")
    if data[:4096].count(0) > 0.2 * len(data[:4096]):
        raise DataError(f"{path}: expected UTF-8 text, got UTF-16, UTF-32 or no text: save it as UTF-8")
    try:
        return data.decode("utf-8-sig", "strict" if strict else "surrogateescape")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: expected UTF-8 text, {_byte(data[error.start])}") from None


def ending(path: Path) -> str:
    """The ending of a file's name without ".gz", in lower case: ".csv" of `captions.CSV.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def encoding_fault(text: str) -> str:
    """The fault in the encoding of a row, or an empty string.

    Args:
        text: str. The row, read with `strict=False`.

    Example:
        >>> encoding_fault(b"caf\\xe9".decode("utf-8", "surrogateescape"))
        'not UTF-8: the byte 0xe9 (Windows-1252 or Latin-1?); save the file as UTF-8'
    """
    match = _NOT_UTF8.search(text)
    if match:
        return f"not UTF-8: {_byte(ord(match[0]) - 0xDC00).removeprefix('got ')}"
    return "a NUL byte: the file is damaged, or not plain text" if "\0" in text else ""


def parse_json(text: str) -> Any:
    """Parses JSON strictly: no duplicate keys, no NaN or infinity, no numbers of more than 300 digits.

    Files of models are read by `captioner.metadata.parse`, which accepts duplicate keys and long numbers, as the
    format 1 of model folders does.

    Args:
        text: str.

    Returns:
        The value.

    Raises:
        ValueError: in one line, if it is anything else or nested too deeply. A `json.JSONDecodeError` has the line.

    Example:
        >>> parse_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: the key 'a' comes twice in one object
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("lists or objects nested too deeply") from None


def short(value: Any) -> str:
    """A value for a message: its repr, cut to 60 characters.

    Example:
        >>> short("a" * 99)[-9:], short([1])
        ('aaaaaa...', '[1]')
    """
    try:
        text = " ".join(repr(value)[:200].split())
    except RecursionError:
        text = f"a {type(value).__name__} nested deeply"
    return text if len(text) <= 60 else text[:57] + "..."


def _byte(value: int) -> str:
    return f"got the byte 0x{value:02x} (Windows-1252 or Latin-1?); save the file as UTF-8"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {short(twice)} comes twice in one object")
    return members


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {digits[:40]} is too large")
    return value


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no number that JSON has")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
