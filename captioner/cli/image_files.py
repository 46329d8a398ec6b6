"""Image files named on the command line: files, folders and patterns, and which are skipped and why."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from captioner.image.loading import SUFFIXES, UNREADABLE_SUFFIXES

# Why something in a folder is left out: in the singular, in the plural, and what to do. All other reasons are kinds of
# images that cannot be read here.
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
    "broken link": ("broken link skipped", "broken links skipped", "mend or delete it"),
    "no file": ("image name skipped", "image names skipped", "expected a file"),
}


@dataclass
class ImageFiles:
    """The files that a command line names.

    Attributes:
        paths: list of str, in the order in which they were named, those of a folder or pattern by name.
        skipped: dict of a reason to the paths that were left out for it.
        errors: list of str. What was named and stands for no image, a line each.
    """

    paths: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def skip(self, reason: str, path: str) -> None:
        """Leaves a path out."""
        self.skipped.setdefault(reason, []).append(path)

    def notes(self) -> list[str]:
        """A line for each reason: how many, the first of them, and what to do.

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
    """The words for a kind of `UNREADABLE_SUFFIXES`: "HEIC" or "a camera's raw file"."""
    if re.fullmatch(r"[A-Z][\w ]*", kind):
        return f"{kind} file skipped", f"{kind} files skipped", "save it as JPEG or PNG"
    return f"file skipped, {kind}", f"files skipped, each {kind}", "save it as JPEG or PNG"


def image_files(arguments: Sequence[str], recursive: bool = False) -> ImageFiles:
    """The images that arguments stand for: each itself, those of a folder, or those that a pattern matches.

    Links to folders are followed where they are named and not below, as a folder may hold a link to itself.

    Args:
        arguments: sequence of str.
        recursive: bool, default False. Whether folders stand for what is in their sub-folders, too.

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
    inside = ImageFiles()

    def unreadable(error: OSError) -> None:
        inside.errors.append(f"cannot read the folder {error.filename}: {error.strerror or error}")

    for place, folders, names in os.walk(folder, onerror=unreadable):
        for name in names:
            _add_file(inside, os.path.join(place, name))
        searched = []
        for name in sorted(folders):
            path = os.path.join(place, name)
            if name.startswith("."):
                if recursive:
                    inside.skip("hidden folder", path)
            elif not recursive:
                inside.skip("sub-folder", path)
            elif os.path.islink(path):
                inside.skip("linked folder", path)
            else:
                searched.append(name)
        folders[:] = searched
    if not inside.paths and not inside.errors:
        left_out = "".join(f"; {note}" for note in inside.notes())
        files.errors.append(
            f"no image in the folder {folder}: expected files ending in {', '.join(SUFFIXES)}{left_out}"
        )
        return
    files.paths += sorted(inside.paths)
    files.errors += inside.errors
    for reason, paths in inside.skipped.items():
        files.skipped.setdefault(reason, []).extend(sorted(paths))


def _add_file(files: ImageFiles, path: str) -> None:
    """Takes a file of a folder, or leaves it out; what is named like no image is passed over."""
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

    As in shells hidden names match only what begins with a dot. `**` is any number of folders, none of them a link:
    `glob` follows links that lead in a circle until names are too long.
    """
    if not parts:
        yield base
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        while rest and rest[0] == "**":
            rest = rest[1:]
        for place, folders, names in os.walk(base or os.curdir):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inner = place if base else os.path.relpath(place).removeprefix(os.curdir)
            if rest:
                yield from _matches(inner, rest)
            else:
                yield from (os.path.join(inner, name) for name in names if not name.startswith("."))
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
