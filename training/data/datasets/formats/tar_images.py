"""Images in tar files, read in place: nothing is extracted, sizes are bounded, names are only names."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from captioner.caption_files.image_ids import composed
from captioner.errors import DataError, ImageError
from captioner.image import loading
from training.data.datasets.image_files import ends_fault, relative_path

_MOST_MEMBERS = 5_000_000
_MOST_IMAGE_BYTES = 1 << 30
_BLOCK = 512
_COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZ": "bunzip2",
    b"\xfd7": "unxz",
    b"\x28\xb5": "unzstd",
    b"PK": "unzip",
}


class Member(NamedTuple):
    """A file in a tar file.

    Attributes:
        tar: Path. The tar file.
        name: str. As the tar file has it.
        start: int. Where its content starts, in bytes.
        size: int. Length of the content in bytes.
        fault: str. Why it cannot be used, or an empty string.
    """

    tar: Path
    name: str
    start: int
    size: int
    fault: str

    def content(self) -> bytes:
        """The bytes of the file.

        Raises:
            OSError: if the tar file cannot be read, or has become shorter.
        """
        with self.tar.open("rb") as file:
            file.seek(self.start)
            data = file.read(self.size)
        if len(data) != self.size:
            raise OSError(f"{self.tar} has become shorter")
        return data


class TarImages:
    """Looks up and reads images in tar files.

    Args:
        members: dict of the image's name to Member.
    """

    def __init__(self, members: dict[str, Member]):
        self._members = members
        self._composed = {composed(name): name for name in members}

    def locate(self, name: str) -> tuple[str, str]:
        """The name of the image, and what is wrong with the image or an empty string."""
        name = name if name in self._members else self._composed.get(composed(name), name)
        member = self._members.get(name)
        return (name, "no such image in the tar files") if member is None else (name, _image_fault(member))

    def read(self, name: str) -> bytes:
        """The encoded image, as `captioner.image.loading.to_bytes` returns it.

        Raises:
            ImageError: if it cannot be read or is no image.
        """
        try:
            return loading.to_bytes(self.content(name), name)
        except OSError as error:
            raise ImageError(f"{name}: cannot read it: {error.strerror or error}") from None

    def content(self, name: str) -> bytes:
        """The bytes of an image as they are; raises OSError."""
        return self._members[name].content()

    def unnamed(self, named: Collection[str]) -> tuple[int, str]:
        """The number of images that are not among `named`, and the first of them."""
        others = [name for name in self._members if name not in named]
        return len(others), min(others, default="")


def tar_members(path: Path) -> Iterator[Member]:
    """The files in a tar file, in its order; folders are passed over.

    Links, devices and sparse files have a fault, as have names that lead out of a folder.

    Args:
        path: Path of a tar file that is not compressed.

    Raises:
        DataError: naming the file, if it cannot be read, is none, is compressed, damaged or cut off.
    """
    try:
        with path.open("rb") as file:
            length = file.seek(0, io.SEEK_END)
            file.seek(0)
            head = file.read(2)
            if remedy := _COMPRESSED.get(head):
                raise DataError(
                    f"{path}: expected a tar file that is not compressed, for images are read in any order: "
                    f"use {remedy} on it"
                )
            file.seek(0)
            yield from _members(path, file, length)
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: expected a tar file, got one that is damaged or cut off: {reason}"
        ) from None


def _members(path: Path, file: BinaryIO, length: int) -> Iterator[Member]:
    count = 0
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # or it would keep them all
            count += 1
            if count > _MOST_MEMBERS:
                raise ValueError(f"more than {_MOST_MEMBERS:,} files in it")
            if member.isdir():
                continue
            fault = ""
            if not member.isreg():
                fault = "a link or device in the tar file, not a file"
            elif member.issparse():
                fault = "a sparse file, which is not read"
            elif member.size < 0 or member.offset_data + member.size > length:
                raise ValueError(f"it ends within {member.name[:100]!r}")
            fault = fault or relative_path(member.name)[1]
            yield Member(path, member.name, member.offset_data, member.size, fault)
        end = tar.offset
    file.seek(end)
    if file.read(_BLOCK).strip(b"\0"):  # tarfile passes over what is no header and ends
        raise ValueError(f"no header of a file at byte {end:,}")


def _image_fault(member: Member) -> str:
    """What is wrong with an image by its first and last bytes, or an empty string."""
    if member.fault:
        return member.fault
    if member.size > _MOST_IMAGE_BYTES:
        return f"an image of more than {_MOST_IMAGE_BYTES >> 20} MB"
    name = PurePosixPath(member.name).name
    try:
        with member.tar.open("rb") as file:
            fault = ends_fault(file, member.start, member.size)
        if fault is None:
            loading.to_bytes(member.content(), name)
    except ImageError as error:
        return str(error).removeprefix(f"{name}: ")
    except OSError as error:
        return f"the image cannot be read: {error.strerror or error}"
    return fault or ""
