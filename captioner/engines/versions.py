"""Finding exported models on disk, by the rules of TensorFlow Serving. No TensorFlow here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from captioner import bundle, metadata
from captioner.errors import EngineError

GRAPH = "saved_model.pb"
FACTS = Path("assets.extra") / bundle.MANIFEST


def versions(folder: str | os.PathLike[str]) -> dict[int, Path]:
    """The versions in a folder: children whose names are numbers (of int64), whatever they hold.

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
    """The exported model that a path stands for.

    Args:
        source: str or PathLike. A version folder, or the folder that its versions stand in.

    Returns:
        Path of the version itself, or of the newest one that holds a graph; None when there is none.
    """
    folder = Path(source)
    if (folder / GRAPH).is_file():
        return folder
    return next((p for p in reversed(versions(folder).values()) if (p / GRAPH).is_file()), None)


def facts(version: Path) -> dict[str, Any]:
    """What the export noted about itself.

    Args:
        version: Path of a version folder.

    Returns:
        dict with "strategy", "max_length", "n_best", "image_size" and so on.

    Raises:
        EngineError: if it was not exported by captioner, or by a newer one, or is damaged.
    """
    path = version / FACTS
    if not path.is_file():
        raise EngineError(
            f"{version} was not exported by captioner: it has no {FACTS}; make one with `captioner export`"
        )
    found = metadata.load(path, EngineError)
    metadata.check_format(found, path, bundle.FORMAT, EngineError)
    return metadata.export_metadata(found, str(path), EngineError)
