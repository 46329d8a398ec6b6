"""Output files of heatmaps, checked before the first image is captioned."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from captioner.errors import DataError, SpecError
from captioner.outputs.heatmap import FORMATS


def heatmap_files(paths: Sequence[str], out: str, alone: bool, overwrite: bool) -> dict[str, Path]:
    """The heatmap's file for each image.

    In a folder the files are named after their images and keep their sub-folders, relative to the common parent folder
    of all images: images of the same name in different folders get different files.

    Args:
        paths: sequence of str. The images.
        out: str. A file ending in .png or .gif, for one image, or a folder.
        alone: bool. Whether there is a single image, named as a file rather than by a folder or a pattern.
        overwrite: bool. Whether existing files may be replaced.

    Returns:
        dict of path to Path.

    Raises:
        SpecError: for a file where a folder is expected.
        DataError: if files exist already; the message names options of the command line.

    Example:
        >>> files = heatmap_files(["a/1.jpg", "b/1.jpg"], "maps", False, False)
        >>> [path.as_posix() for path in files.values()]
        ['maps/a/1.jpg.png', 'maps/b/1.jpg.png']
    """
    if not out:
        raise SpecError(f"--heatmap expects a file ending in {' or '.join(FORMATS)}, or a folder, got ''")
    ending = Path(out).suffix.lower()
    is_folder = os.path.isdir(out)
    if alone and not is_folder and ending in FORMATS:
        files = {paths[0]: Path(out)}
    elif is_folder or not (ending in FORMATS or (alone and ending)):
        files = {path: Path(out, name) for path, name in zip(paths, _names(paths), strict=True)}
    else:
        expected = (
            f"a file ending in {' or '.join(FORMATS)}, or a folder"
            if alone
            else "a folder for several images"
        )
        raise SpecError(f"--heatmap expects {expected}, got {out}")
    if os.path.exists(out) and not is_folder and Path(out) not in files.values():
        raise DataError(f"--heatmap expects a folder, got the file {out}: name another folder")
    for above in () if is_folder else Path(out).parents:
        if os.path.lexists(above) and not above.is_dir():
            raise DataError(f"--heatmap expects a path in a folder, but {above} is a file: name another path")
    present = [path for path in files.values() if path.exists()]
    if present and not overwrite:
        more = f" and {len(present) - 1} more are" if len(present) > 1 else " is"
        raise DataError(
            f"{present[0]}{more} there already: name another file or folder for --heatmap, or add --overwrite"
        )
    return files


def _names(paths: Sequence[str]) -> list[str]:
    """A file name for each image, relative to the common parent folder of all images."""
    absolute = [os.path.abspath(path) for path in paths]
    try:
        root = os.path.commonpath([os.path.dirname(path) for path in absolute])
    except ValueError:  # on several drives
        return [os.path.join(*os.path.splitdrive(path)).replace(":", "") + ".png" for path in absolute]
    return [f"{os.path.relpath(path, root)}.png" for path in absolute]
