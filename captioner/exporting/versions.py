"""Version folders: written aside, then renamed to the next number, so that no server ever sees half of one."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from captioner import atomic, bundle
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
        while True:
            version = folder / str(max(versions(folder), default=0) + 1)
            try:
                atomic.put_folder(aside, version)
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
    if not (folder / bundle.MANIFEST).is_file():
        return

    def change(manifest: dict[str, Any]) -> dict[str, Any]:
        # Versions that are gone are forgotten.
        there = {str(number) for number in versions(folder)}
        exports = manifest.get("exports")
        kept = {n: entry for n, entry in (exports if isinstance(exports, dict) else {}).items() if n in there}
        return {**manifest, "exports": {**kept, version.name: dict(facts)}}

    bundle.amend(folder, change)
