"""Atomic file writes: a temporary file, fsync, then a rename over the old one.

A reader sees the old file or the new one, whatever stops the writer: a crash, a full disk, a lost machine.
Everything that this project writes for somebody to keep goes through here.
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
    """Gives the path of a new file to write; when the block ends well it takes the place of `path`.

    Args:
        path: str or PathLike. The file to write or replace; its folder is made if need be.
        error: subclass of `CaptionerError`, default `DataError`. What an `OSError` becomes.
        suffix: str, default "". How the temporary file must end, for writers that go by the name.

    Yields:
        Path in the same folder, a hidden name that no other writer has; nothing is there yet.

    Raises:
        CaptionerError: of the class `error`, in one line, if the disk refuses. The old file stays as it was.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "a.txt")) as aside:
        ...         _ = aside.write_text("whole")
        ...     Path(folder, "a.txt").read_text(), len(os.listdir(folder))
        ('whole', 1)
    """
    path = Path(path)
    aside = path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        flush(aside)
        os.replace(aside, path)
        flush(path.parent)
    except OSError as reason:
        raise error(f"cannot write {path}: {reason.strerror or reason}") from None
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes, error: type[CaptionerError] = DataError) -> None:
    """Writes bytes atomically; see `replacing` for the arguments and errors."""
    with replacing(path, error) as aside:
        aside.write_bytes(data)


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
    """Gives a folder its final name: what is in it is forced to disk before, and the name afterwards.

    Args:
        source: Path of a folder.
        target: Path beside it, free or an empty folder.

    Raises:
        OSError: if the disk refuses, or something else has that name.
    """
    flush_tree(source)
    os.rename(source, target)
    flush(target.parent)


def flush(path: str | os.PathLike[str]) -> None:
    """Forces a file, or the names in a folder, to disk, before a rename makes others rely on it.

    Raises:
        OSError: if the disk refuses.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # folders cannot be opened everywhere
        if os.path.isdir(path):
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_tree(folder: str | os.PathLike[str]) -> None:
    """Forces every file below a folder, and the folders themselves, to disk; see `flush`."""
    for place, _, names in os.walk(folder):
        for name in names:
            flush(os.path.join(place, name))
        flush(place)
