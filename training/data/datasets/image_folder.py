"""The image files of a folder: looked up by the names in a captions file, and checked before work starts."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from captioner.caption_files.image_ids import composed, shown
from captioner.errors import ImageError
from captioner.image import loading

_TAIL = 1 << 16
_MOST_FILES = 200_000


class ImageFolder:
    """Looks up image files.

    Args:
        folder: Path.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._listed: dict[str, dict[str, str]] = {}
        self._located: dict[str, tuple[str, str]] = {}

    def locate(self, name: str) -> tuple[str, str]:
        """The file that a row names, and what is wrong with it.

        A name whose accents are written in another Unicode form than on disk is the same name (a zip made on a Mac
        does that). Links inside the folder are followed.

        Args:
            name: str. As the row has it.

        Returns:
            The path relative to the folder, with forward slashes, as on disk; and what is wrong with the file or its
            name, or an empty string.
        """
        if name not in self._located:
            path, fault = relative_path(name)
            if not fault:
                path = self._on_disk(path)
                fault = image_fault(self.folder / path)
                if fault.startswith("no such"):
                    fault += self._near(path)
            self._located[name] = path, fault
        return self._located[name]

    def unnamed(self, named: Collection[str]) -> tuple[int, str]:
        """The number of image files that are in no row, and the first of them.

        Args:
            named: the images that rows name, as `locate` returns them.
        """
        known = set(named)
        others = [name for name in self._files() if name not in known]
        return len(others), min(others, default="")

    def _files(self) -> Iterator[str]:
        endings, seen = (*loading.SUFFIXES, *loading.UNREADABLE_SUFFIXES), 0
        for place, folders, names in os.walk(self.folder):  # links to folders are not followed: no loops
            folders.sort()
            for name in names:
                seen += 1
                if name.lower().endswith(endings):
                    yield Path(place, name).relative_to(self.folder).as_posix()
            if seen > _MOST_FILES:
                return

    def _on_disk(self, path: str) -> str:
        """A path as spelt on disk, or the path itself."""
        if os.path.lexists(self.folder / path):
            return path
        parts: list[str] = []
        for part in PurePosixPath(path).parts:
            parts.append(self._names("/".join(parts)).get(composed(part), part))
        return "/".join(parts)

    def _near(self, path: str) -> str:
        """A file whose name differs in capitals only, in brackets."""
        place, _, name = path.rpartition("/")
        for key, other in self._names(place).items():
            if key.casefold() == composed(name).casefold():
                return f" (there is {shown(other)}: capitals count)"
        return ""

    def _names(self, place: str) -> dict[str, str]:
        """The names in a folder below, by their composed form."""
        if place not in self._listed:
            try:
                self._listed[place] = {composed(name): name for name in os.listdir(self.folder / place)}
            except OSError:
                self._listed[place] = {}
        return self._listed[place]


def relative_path(name: str) -> tuple[str, str]:
    """The one spelling of an image's relative path, and what is wrong with it (or an empty string).

    A path in a captions file may be anybody's, so it must not climb out of the folder.

    Example:
        >>> relative_path("./sub/a.jpg"), relative_path("../a.jpg")
        (('sub/a.jpg', ''), ('../a.jpg', 'the path leads out of the image folder'))
    """
    if not name.strip():
        return name, "no image is named"
    path = PurePosixPath(name.strip().replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(path).drive:
        return name, "the path leads out of the image folder"
    if "\0" in name or any("\ud800" <= char <= "\udfff" for char in name):
        return name, "the path is not readable text"
    return str(path), ""


def image_fault(path: Path) -> str:
    """What is wrong with an image file by its first and last bytes, or an empty string. Decoding finds the rest.

    Args:
        path: Path.

    Returns:
        str, without the file's name.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            tail = file.read()
        kind = loading.kind(head)
        if kind == "WebP" and size < 8 + int.from_bytes(head[4:8], "little"):
            return "truncated WebP, the end of the image is missing"
        complete = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}.get(kind or "", b"") in tail
        if kind is None or not complete:
            # A kind that only Pillow reads, or empty, cut off, or no image: `to_bytes` says which.
            loading.to_bytes(path, path.name)
    except FileNotFoundError:
        return f"no such image in {path.parent}"
    except ImageError as error:
        return str(error).removeprefix(f"{path.name}: ")
    except (OSError, ValueError) as error:
        return f"the image cannot be opened: {getattr(error, 'strerror', None) or error}"
    return ""
