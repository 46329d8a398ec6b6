"""Tar files of images and captions, as the library webdataset writes and reads them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from captioner.caption_files import Row, make_row, parse_json
from captioner.errors import DataError
from captioner.image import loading
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.files import FileDataset
from training.data.datasets.formats.tar_images import Member, TarImages, tar_members
from training.data.datasets.formats.text_files import text_rows
from training.data.datasets.rows import Shares, SplitNames, dataset_of_rows, split_of_path, splits_of_files

_MOST_TEXT_BYTES = 1 << 20


def webdataset(
    path: str,
    validation: float = 0.1,
    test: float = 0.1,
    max_bad: float = 0.01,
    bad_rows: str | None = None,
) -> FileDataset:
    """Tar files with `key.jpg` and `key.txt` or `key.json` for each image, as the library webdataset has them.

    A `.txt` holds a caption a line, a `.json` an object with `caption`, `captions` or `text`; a caption that is in both
    counts once. A `split` in the `.json`, folders called as splits (`val/000.tar`) and names of tar files
    (`val-000.tar`; those of at least two splits) make the splits. Where there are none, a hash of the image's name
    decides. Images stay in the tar files and are read when they are needed, so that these must not be compressed.

    Args:
        path: str. A tar file, a pattern such as `shards/*.tar`, or a folder of tar files.
        validation: float. Share of images for validation where the source has no splits. Defaults to 0.1.
        test: float. Share of images for test, likewise. Defaults to 0.1.
        max_bad: float. The largest share of bad rows to accept. Defaults to 0.01.
        bad_rows: str or None. Where to list what is left out. Defaults to `cache/bad_rows_webdataset.jsonl`.

    Returns:
        A `FileDataset`; the id of an image is its tar file and its name in it, `000.tar/key.jpg`.

    Raises:
        DataError: if there is no tar file, one is damaged or compressed, or too many rows are bad.

    Example:
        >>> import io, tarfile, tempfile
        >>> from PIL import Image
        >>> photo, shard = io.BytesIO(), Path(tempfile.mkdtemp(), "000.tar")
        >>> Image.new("RGB", (4, 4)).save(photo, "PNG")
        >>> with tarfile.open(shard, "w") as tar:
        ...     for name, content in {"1.png": photo.getvalue(), "1.txt": b"a dark night"}.items():
        ...         member = tarfile.TarInfo(name)
        ...         member.size = len(content)
        ...         tar.addfile(member, io.BytesIO(content))
        >>> webdataset(str(shard), validation=0, test=0).examples("train")[0]  # doctest: +ELLIPSIS
        Example(id='000.tar/1.png', captions=('a dark night',), ...
    """
    shares = Shares(validation, test)
    shards = tar_files(path)
    images, rows = _read(shards)
    bad = BadRows("webdataset", bad_rows, max_bad)
    words = SplitNames(shards[0].name if len(shards) == 1 else f"{len(shards):,} tar files", "tar file")
    return dataset_of_rows("webdataset", TarImages(images), rows, shares, bad, words)


def _read(shards: Sequence[Path]) -> tuple[dict[str, Member], list[Row]]:
    """The images of all tar files, by id, and the rows of their captions."""
    root = Path(os.path.commonpath([shard.parent for shard in shards]))
    names = [shard.relative_to(root).as_posix() for shard in shards]
    splits = [
        split_of_path(name) or split
        for name, (_, split) in zip(names, splits_of_files([shard.name for shard in shards]), strict=True)
    ]
    if any(splits):
        splits = [split or "train" for split in splits]
    images: dict[str, Member] = {}
    rows: list[Row] = []
    for shard, name, split in zip(shards, names, splits, strict=True):
        samples = _Samples(name)
        for member in tar_members(shard):
            samples.add(member)
        images |= samples.images
        rows += [row._replace(split=row.split or split or None) for row in samples.rows()]
    return images, rows


def tar_files(path: str) -> list[Path]:
    """The tar files that a path, a pattern or a folder stands for, sorted.

    Raises:
        DataError: if there is none.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        files = sorted(file for file in place.rglob("*.tar") if not file.name.startswith("."))
    else:
        names = [str(place)] if place.is_file() else sorted(glob.glob(str(place), recursive=True))
        files = [Path(name) for name in names if Path(name).is_file()]
    if not files:
        hint = ": write * for the numbers in braces" if "{" in path else ""
        raise DataError(
            f"expected a tar file, a pattern of tar files or a folder of them, got no file by {path}{hint}"
        )
    return files


class _Samples:
    """Collects the members of one tar file by their key, the name without its ending."""

    def __init__(self, shard: str):
        self.images: dict[str, Member] = {}
        self._shard, self._image_of, self._texts = shard, dict[str, str](), dict[str, list[Member]]()
        self._twice: list[Row] = []

    def add(self, member: Member) -> None:
        """Adds an image or a text; others are passed over."""
        key, ending = _key(member.name)
        if ending in (".txt", ".json"):
            self._texts.setdefault(key, []).append(member)
        elif ending in loading.SUFFIXES or ending in loading.UNREADABLE_SUFFIXES:
            name = f"{self._shard}/{member.name}"
            if name in self.images:
                self._twice.append(self._fault(member, name, "this name comes twice in the tar file"))
                return
            self.images[name] = member
            self._image_of.setdefault(key, name)

    def rows(self) -> Iterator[Row]:
        """The rows of all texts. A text without an image has a fault, as has a second image of one name."""
        yield from self._twice
        for key, texts in self._texts.items():
            image = self._image_of.get(key)
            if image is None:
                yield self._fault(
                    texts[0], f"{self._shard}/{key}", "no image of this name is in the tar file"
                )
                continue
            rows: list[Row] = []
            for member in texts:
                # What is in the .txt is often in the .json again, beside an address and a size.
                known = {caption for row in rows for caption in row.captions}
                of_member = self._text_rows(member, image)
                rows += [row for row in of_member if row.fault or not known.issuperset(row.captions)]
            # A .json that says nothing about captions stands beside many a .txt.
            yield from [row for row in rows if not row.fault] or rows

    def _text_rows(self, member: Member, image: str) -> list[Row]:
        where = f"{self._shard}: {member.name}"
        if member.fault:
            return [self._fault(member, image, member.fault)]
        if member.size > _MOST_TEXT_BYTES:
            return [self._fault(member, image, f"a text of more than {_MOST_TEXT_BYTES >> 20} MB")]
        text = member.content().decode("utf-8-sig", "surrogateescape")
        if _key(member.name)[1] == ".txt":
            return text_rows(where, image, text)
        try:
            value: Any = parse_json(text)
        except ValueError as error:
            return [self._fault(member, image, f"not JSON: {error}")]
        if not isinstance(value, dict):
            return [self._fault(member, image, "expected a JSON object with caption, captions or text")]
        fields = {name: item for name, item in value.items() if name.strip().lower() != "image"}
        return [make_row(where, {**fields, "image": image}, None, "")]

    def _fault(self, member: Member, image: str, fault: str) -> Row:
        return make_row(f"{self._shard}: {member.name}", {"image": image}, None, fault)


def _key(name: str) -> tuple[str, str]:
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.name else "", path.suffix.lower()
