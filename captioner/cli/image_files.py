"""Image files named on the command line by files, folders and patterns, and the reasons for skipped ones."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from captioner.image.loading import SUFFIXES, UNREADABLE_SUFFIXES

# Reasons for skipping a path: in the singular, in the plural, and the remedy. Other reasons are image formats that
# cannot be read.
_REASONS = {
    "sub-folder": ("sub-folder not searched", "sub-folders not searched", "add --recursive"),
    "linked folder": ("linked folder not followed", "linked folders not followed", "name it too"),
    "hidden folder": ("hidden folder not searched", "hidden folders not searched", "name it too"),
    "matched folder": (
        "folder that a pattern matches skipped",
        "folders that a pattern matches skipped",
        "name it",
    ),
    "hidden image": ("hidden image skipped", "hidden images skipped", "name it too"),
    "macOS": ("._ file of macOS skipped", "._ files of macOS skipped", "they hold no image"),
    "broken link": ("broken link skipped", "broken links skipped", "repair or delete it"),
    "no file": ("image name skipped", "image names skipped", "expected a file"),
}


@dataclass
class ImageFiles:
    """The image files of a command line.

    Attributes:
        paths: list of str, in the order of the arguments, those of a folder or pattern sorted by name.
        skipped: dict of a reason to the paths that were skipped for it.
        errors: list of str. Arguments without an image, a line each.
    """

    paths: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def skip(self, reason: str, path: str) -> None:
        """Skips a path."""
        self.skipped.setdefault(reason, []).append(path)

    def notes(self) -> list[str]:
        """A line for each reason: the number of skipped paths, the first of them, and the remedy.

        Example:
            >>> files = ImageFiles()
            >>> files.skip("HEIC", "photos/a.heic"), files.skip("HEIC", "photos/b.heic")
            (None, None)
            >>> files.notes()
            ['2 HEIC files skipped (photos/a.heic ...): save them as JPEG or PNG']
        """
        lines = []
        for reason, paths in self.skipped.items():
            one, many, remedy = _REASONS.get(reason) or _unreadable(reason)
            if len(paths) > 1:
                remedy = re.sub(r"\bit\b", "them", remedy)
            more = " ..." if len(paths) > 1 else ""
            lines.append(f"{len(paths)} {one if len(paths) == 1 else many} ({paths[0]}{more}): {remedy}")
        return lines


def _unreadable(kind: str) -> tuple[str, str, str]:
    """The note for a kind of `UNREADABLE_SUFFIXES`: "HEIC" or "a camera's raw file"."""
    if re.fullmatch(r"[A-Z][\w ]*", kind):
        return f"{kind} file skipped", f"{kind} files skipped", "save it as JPEG or PNG"
    return f"file skipped, {kind}", f"files skipped, each {kind}", "save it as JPEG or PNG"


def image_files(arguments: Sequence[str], recursive: bool = False) -> ImageFiles:
    """The images named by arguments: files, all images of a folder, or those that a pattern matches.

    Links to folders are followed where they are named, but not inside folders, as a folder may contain a link to
    itself.

    Args:
        arguments: sequence of str.
        recursive: bool, default False. Whether to search sub-folders as well.

    Returns:
        `ImageFiles`.
    """
    files = ImageFiles()
    for argument in arguments:
        if not argument:
            files.errors.append("expected an image, a folder or a pattern, got ''")
        elif os.path.isdir(argument):
            _add_folder(files, argument, recursive)
        elif glob.has_magic(argument) and not os.path.lexists(argument):
            _add_pattern(files, argument)
        else:
            files.paths.append(argument)
    return files


def _add_folder(files: ImageFiles, folder: str, recursive: bool) -> None:
    contents = ImageFiles()

    def unreadable(error: OSError) -> None:
        contents.errors.append(f"cannot read the folder {error.filename}: {error.strerror or error}")

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        for name in names:
            _add_file(contents, os.path.join(parent, name))
        searched = []
        for name in sorted(folders):
            path = os.path.join(parent, name)
            if name.startswith("."):
                if recursive:
                    contents.skip("hidden folder", path)
            elif not recursive:
                contents.skip("sub-folder", path)
            elif os.path.islink(path):
                contents.skip("linked folder", path)
            else:
                searched.append(name)
        folders[:] = searched
    if not contents.paths and not contents.errors:
        skipped = "".join(f"; {note}" for note in contents.notes())
        files.errors.append(
            f"no image in the folder {folder}: expected files ending in {', '.join(SUFFIXES)}{skipped}"
        )
        return
    files.paths += sorted(contents.paths)
    files.errors += contents.errors
    for reason, paths in contents.skipped.items():
        files.skipped.setdefault(reason, []).extend(sorted(paths))


def _add_file(files: ImageFiles, path: str) -> None:
    """Adds or skips a file of a folder; files without an image's ending are ignored."""
    name = os.path.basename(path)
    ending = os.path.splitext(name)[1].lower()
    if ending not in SUFFIXES and ending not in UNREADABLE_SUFFIXES:
        return
    if name.startswith("._"):
        files.skip("macOS", path)
    elif name.startswith("."):
        files.skip("hidden image", path)
    elif not os.path.exists(path):
        files.skip("broken link", path)
    elif not os.path.isfile(path):  # a pipe, a device
        files.skip("no file", path)
    elif ending in SUFFIXES:
        files.paths.append(path)
    else:
        files.skip(UNREADABLE_SUFFIXES[ending], path)


def _add_pattern(files: ImageFiles, pattern: str) -> None:
    drive, rest = os.path.splitdrive(pattern)
    separators = re.escape(os.sep + (os.altsep or ""))
    root = drive + os.sep if re.match(f"[{separators}]", rest) else drive
    parts = [part for part in re.split(f"[{separators}]+", rest) if part]
    matches = sorted(set(_matches(root, parts)))
    for path in matches:
        if os.path.isdir(path):
            files.skip("matched folder", path)
        else:
            files.paths.append(path)
    if all(map(os.path.isdir, matches)):
        files.errors.append(f"no file matches {pattern}")


def _matches(base: str, parts: Sequence[str]) -> Iterator[str]:
    """The paths below a folder that match a pattern, part by part.

    As in shells, hidden names are matched only by parts that begin with a dot. `**` matches any number of folders, but
    no links: `glob` follows circular links until names are too long.
    """
    if not parts:
        yield base
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        while rest and rest[0] == "**":
            rest = rest[1:]
        for parent, folders, names in os.walk(base or os.curdir):
            folders[:] = [name for name in folders if not name.startswith(".")]
            prefix = parent if base else os.path.relpath(parent).removeprefix(os.curdir)
            if rest:
                yield from _matches(prefix, rest)
            else:
                yield from (os.path.join(prefix, name) for name in names if not name.startswith("."))
    elif glob.has_magic(part):
        try:
            names = os.listdir(base or os.curdir)
        except OSError:  # no folder, or none that may be read
            return
        for name in names:
            if fnmatch.fnmatch(name, part) and (part.startswith(".") or not name.startswith(".")):
                yield from _matches(os.path.join(base, name), rest)
    elif os.path.lexists(os.path.join(base, part)):
        yield from _matches(os.path.join(base, part), rest)
