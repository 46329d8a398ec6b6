"""Atomic file writes: a temporary file, fsync, then a rename over the old one.

A reader sees either the old file or the new one, whatever stops the writer: a crash, a full disk, a power failure.
All files that this project writes for its users are written by these functions.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError, DataError


@contextmanager
def replacing(
    path: str | os.PathLike[str], error: type[CaptionerError] = DataError, suffix: str = ""
) -> Iterator[Path]:
    """Yields the path of a temporary file to write, which replaces `path` when the block ends without an error.

    Args:
        path: str or PathLike. The file to write or replace; its folder is created if missing.
        error: subclass of `CaptionerError`, default `DataError`. The class to raise instead of an `OSError`.
        suffix: str, default "". Ending of the temporary file, for writers that choose a format by it.

    Yields:
        Path in the same folder, a unique hidden name; the file does not exist yet.

    Raises:
        CaptionerError: of the class `error`, in one line, if the disk refuses. The old file stays unchanged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "a.txt")) as temporary:
        ...         _ = temporary.write_text("complete")
        ...     Path(folder, "a.txt").read_text(), len(os.listdir(folder))
        ('complete', 1)
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    except OSError as reason:
        raise error(f"cannot write {path}: {reason.strerror or reason}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes, error: type[CaptionerError] = DataError) -> None:
    """Writes bytes atomically; see `replacing` for the arguments and errors."""
    with replacing(path, error) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str, error: type[CaptionerError] = DataError) -> None:
    """Writes UTF-8 text atomically, line ends unchanged; see `replacing`."""
    write_bytes(path, text.encode("utf-8"), error)


def write_json(
    path: str | os.PathLike[str], value: Mapping[str, Any], error: type[CaptionerError] = DataError
) -> None:
    """Writes a JSON object atomically in UTF-8; see `replacing`.

    Raises:
        ValueError: if a number is NaN or infinite, which JSON cannot hold.
    """
    write_text(path, json.dumps(dict(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n", error)


def put_folder(source: Path, target: Path) -> None:
    """Renames a folder to its final name, after an fsync of its content.

    Args:
        source: Path of a folder.
        target: Path in the same parent folder; nothing, or an empty folder.

    Raises:
        OSError: if the disk refuses, or `target` exists.
    """
    flush_tree(source)
    os.rename(source, target)
    flush(target.parent)


def flush(path: str | os.PathLike[str]) -> None:
    """Forces a file, or the entries of a folder, to disk (fsync).

    Raises:
        OSError: if the disk refuses.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # some systems cannot open folders
        if os.path.isdir(path):
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_tree(folder: str | os.PathLike[str]) -> None:
    """Forces every file below a folder, and the folders themselves, to disk; see `flush`."""
    for subfolder, _, names in os.walk(folder):
        for name in names:
            flush(os.path.join(subfolder, name))
        flush(subfolder)
