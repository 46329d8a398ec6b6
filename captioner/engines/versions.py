"""Exported versions on disk, by the rules of TensorFlow Serving. No TensorFlow here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from captioner import bundle, metadata
from captioner.errors import EngineError

GRAPH = "saved_model.pb"
METADATA_FILE = Path("assets.extra") / bundle.MANIFEST


def versions(folder: str | os.PathLike[str]) -> dict[int, Path]:
    """The versions in a folder: children whose names are int64 numbers, whatever they hold.

    Args:
        folder: str or PathLike.

    Returns:
        dict of number to Path, oldest first; empty when there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return {}
    numbered: dict[int, Path] = {}
    for child in sorted(folder.iterdir()):
        if child.name.isascii() and child.name.isdigit() and len(child.name) < 19:
            numbered.setdefault(int(child.name), child)
    return dict(sorted(numbered.items()))


def version_folder(source: str | os.PathLike[str]) -> Path | None:
    """The exported version at a path.

    Args:
        source: str or PathLike. A version folder, or the folder of versions.

    Returns:
        Path of the version itself, or of the newest one that holds a graph; None when there is none.
    """
    folder = Path(source)
    if (folder / GRAPH).is_file():
        return folder
    return next((p for p in reversed(versions(folder).values()) if (p / GRAPH).is_file()), None)


def read_metadata(version: Path) -> dict[str, Any]:
    """The metadata of an exported version.

    Args:
        version: Path of a version folder.

    Returns:
        dict with "strategy", "max_length", "n_best", "image_size" and so on.

    Raises:
        EngineError: if it was not exported by captioner, or by a newer one, or is damaged.
    """
    path = version / METADATA_FILE
    if not path.is_file():
        raise EngineError(
            f"{version} was not exported by captioner: it has no {METADATA_FILE}; make one with `captioner export`"
        )
    entries = metadata.load(path, EngineError)
    metadata.check_format(entries, path, bundle.FORMAT, EngineError)
    return metadata.export_metadata(entries, str(path), EngineError)
