"""Version folders of TensorFlow Serving: written under another name, then renamed to the next number."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from captioner import atomic, bundle
from captioner.engines.versions import versions
from captioner.errors import BundleError


def write_version(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Writes the next version of a model; a server that watches the folder never sees half of it.

    Args:
        folder: Path. The folder of the model's versions; created if missing.
        fill: callable that takes an empty folder and writes the version into it. If it raises, nothing is left.

    Returns:
        Path of the version, "FOLDER/NUMBER".

    Raises:
        BundleError: if the folder cannot be written.
    """
    # TensorFlow Serving ignores names that are not numbers.
    temporary = folder / f".export-{secrets.token_hex(4)}"
    is_new = not folder.exists()
    try:
        temporary.mkdir(parents=True)
        fill(temporary)
        while True:
            version = folder / str(max(versions(folder), default=0) + 1)
            try:
                atomic.put_folder(temporary, version)
            except OSError:
                if version.exists():  # another export took this number
                    continue
                raise
            return version
    except OSError as error:
        raise BundleError(f"cannot write the export to {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def record_export(folder: Path, version: Path, metadata: Mapping[str, Any]) -> None:
    """Records an export in the manifest of its bundle; does nothing if the folder is not a bundle.

    Args:
        folder: Path.
        version: Path of the version inside it.
        metadata: mapping that JSON can hold.
    """
    if not (folder / bundle.MANIFEST).is_file():
        return

    def change(manifest: dict[str, Any]) -> dict[str, Any]:
        # Versions that were deleted are dropped.
        existing = {str(number) for number in versions(folder)}
        exports = manifest.get("exports")
        kept = {
            n: entry for n, entry in (exports if isinstance(exports, dict) else {}).items() if n in existing
        }
        return {**manifest, "exports": {**kept, version.name: dict(metadata)}}

    bundle.amend(folder, change)
