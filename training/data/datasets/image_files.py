"""The image files of a folder: looked up by the names in a captions file, checked before work starts, and read."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from captioner.caption_files.image_ids import composed, shown
from captioner.errors import ImageError
from captioner.image import loading

_TAIL = 1 << 16
_MOST_FILES = 200_000
_MOST_BOXES = 1000
# Folders that archives of a Mac hold beside the images, with a file for each of them.
_NO_FOLDERS = {"__MACOSX"}


class ImageFiles:
    """Looks up and reads the image files of a folder.

    Hidden files (`._a.jpg`, as a Mac writes beside `a.jpg`) and those of hidden folders count as images only where a
    row names them.

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

    def read(self, name: str) -> bytes:
        """The encoded image, as `captioner.image.loading.to_bytes` returns it.

        Raises:
            ImageError: if it is absent or no image.
        """
        return loading.to_bytes(self.folder / name)

    def content(self, name: str) -> bytes:
        """The bytes of an image's file as they are.

        Raises:
            OSError: if it cannot be read.
        """
        return (self.folder / name).read_bytes()

    def unnamed(self, named: Collection[str]) -> tuple[int, str]:
        """The number of image files that are in no row, and the first of them.

        Args:
            named: the images that rows name, as `locate` returns them.
        """
        known = set(named)
        others = [name for name in self.names() if name not in known]
        return len(others), min(others, default="")

    def names(self) -> list[str]:
        """The image files in the folder and those below, relative and sorted; links to folders are not followed."""
        endings = (*loading.SUFFIXES, *loading.UNREADABLE_SUFFIXES)
        return sorted(name for name in visible_files(self.folder) if name.lower().endswith(endings))

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


def visible_files(folder: Path) -> Iterator[str]:
    """The files in a folder and those below, without hidden ones: relative, with forward slashes, at most 200,000."""
    count = 0
    for place, folders, names in os.walk(folder):  # links to folders are not followed: no loops
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NO_FOLDERS)
        inside = Path(place).relative_to(folder).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        for name in sorted(names):
            if not name.startswith("."):
                count += 1
                if count > _MOST_FILES:
                    return
                yield prefix + name


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
        if path.exists() and not path.is_file():  # opening a pipe would never end
            loading.to_bytes(path, path.name)
        with path.open("rb") as file:
            fault = ends_fault(file, 0, file.seek(0, os.SEEK_END))
        if fault is None:
            loading.to_bytes(path, path.name)
    except FileNotFoundError:
        return f"no such image in {path.parent}"
    except ImageError as error:
        return str(error).removeprefix(f"{path.name}: ")
    except (OSError, ValueError) as error:
        return f"the image cannot be opened: {getattr(error, 'strerror', None) or error}"
    return fault or ""


def ends_fault(file: BinaryIO, start: int, size: int) -> str | None:
    """What is wrong with an image by its first and last bytes.

    Args:
        file: a file that the image is a part of.
        start: int. Where the image starts, in bytes.
        size: int. Its length in bytes.

    Returns:
        str; an empty one if nothing is wrong; None where `captioner.image.loading.to_bytes` has to say it: for a kind
        that only Pillow reads, and for bytes that are empty, cut off or no image.

    Example:
        >>> from io import BytesIO
        >>> ends_fault(BytesIO(b"GIF89a..."), 0, 9), ends_fault(BytesIO(b"\\xff\\xd8\\xff"), 0, 3)
        ('', None)
    """
    file.seek(start)
    head = file.read(min(16, size))
    file.seek(max(start, start + size - _TAIL))
    tail = file.read(min(_TAIL, size))
    kind = loading.kind(head)
    if head[4:12] in (b"ftypavif", b"ftypavis") and ".avif" in loading.SUFFIXES:
        # Decoding a folder of them would take minutes.
        return "" if _boxes_end(file, start, size) else "truncated AVIF, the end of the image is missing"
    if kind == "WebP" and size < 8 + int.from_bytes(head[4:8], "little"):
        return "truncated WebP, the end of the image is missing"
    complete = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}.get(kind or "", b"") in tail
    return "" if kind is not None and complete else None


def _boxes_end(file: BinaryIO, start: int, size: int) -> bool:
    """Whether the boxes of an AVIF file end where it ends (ISO/IEC 14496-12, section 4.2)."""
    at = 0
    for _ in range(_MOST_BOXES):
        if at == size:
            return True
        file.seek(start + at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 0:  # to the end of the file
            return True
        length = int.from_bytes(head[8:16], "big") if length == 1 else length
        if length < 8 or at + length > size:
            return False
        at += length
    return False
