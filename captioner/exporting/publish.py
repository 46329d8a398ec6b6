"""Version folders: written aside, then renamed to the next number, so that no server ever sees half of one."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from captioner import bundle
from captioner.engines.versions import versions
from captioner.errors import BundleError


def publish(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Makes the next version of a model.

    Args:
        folder: Path. Where its versions stand; made if need be.
        fill: callable that is given an empty folder and puts the version there.

    Returns:
        Path of the version, "FOLDER/NUMBER". Whatever stops `fill`, nothing is left behind.

    Raises:
        BundleError: if the disk refuses.
    """
    # A server that watches the folder passes over names that are no numbers.
    aside = folder / f".export-{secrets.token_hex(4)}"
    made = not folder.exists()
    try:
        aside.mkdir(parents=True)
        fill(aside)
        _flush(aside)
        while True:
            version = folder / str(max(versions(folder), default=0) + 1)
            try:
                os.rename(aside, version)
            except OSError:
                if version.exists():  # somebody else was faster
                    continue
                raise
            return version
    except OSError as error:
        raise BundleError(f"cannot write the export to {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def record(folder: Path, version: Path, facts: Mapping[str, Any]) -> None:
    """Notes in a bundle's own manifest what was exported, if the folder is a bundle.

    Args:
        folder: Path.
        version: Path of the version inside it.
        facts: mapping that JSON can hold.
    """
    manifest = folder / bundle.MANIFEST
    if not manifest.is_file():
        return
    found = json.loads(manifest.read_text(encoding="utf-8"))
    # Versions that are gone are forgotten.
    there = {str(number) for number in versions(folder)}
    exports = {number: entry for number, entry in found.get("exports", {}).items() if number in there}
    found["exports"] = {**exports, version.name: dict(facts)}
    write_json(manifest, found)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file aside and renames it."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        aside.write_text(json.dumps(dict(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        raise BundleError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        aside.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Has the disk hold every file, before a rename makes others rely on it."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
