"""Captions inside the photos themselves."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from captioner.caption_files import Row, make_row
from captioner.errors import DataError, ImageError
from captioner.image import loading
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.files import FileDataset, existing_folder
from training.data.datasets.formats.photo_captions import photo_captions
from training.data.datasets.image_files import ImageFiles
from training.data.datasets.rows import Shares, SplitNames, dataset_of_rows, splits_by_folder


def embedded(
    path: str,
    language: str | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    max_bad: float = 0.01,
    bad_rows: str | None = None,
) -> FileDataset:
    """Photos with their captions inside, in XMP or IPTC, as photo managers write them.

    Captions are the alternative text (`Iptc4xmpCore:AltTextAccessibility`) and the description (`dc:description`) in
    XMP, and IPTC's Caption/Abstract; equal ones count once. JPEG, PNG, WebP and TIFF have them. Photos without a
    caption are counted and left out. Folders called `train`, `validation` (or `val`) and `test` make the
    splits; where there are none, a hash of the image's name decides, as in the dataset `folder`.

    Args:
        path: str. The folder.
        language: str or None. Of texts in several languages the one to use, such as `de`. Defaults to the one that the
            photo calls its default.
        validation: float. Share of images for validation where the source has no splits. Defaults to 0.1.
        test: float. Share of images for test, likewise. Defaults to 0.1.
        max_bad: float. The largest share of bad rows (photos) to accept. Defaults to 0.01.
        bad_rows: str or None. Where to list what is left out. Defaults to `cache/bad_rows_embedded.jsonl`.

    Returns:
        A `FileDataset`.

    Raises:
        DataError: if the folder is missing, no photo has a caption, or too many rows are bad.
    """
    shares = Shares(validation, test)
    folder = existing_folder("embedded", path)
    images = ImageFiles(folder)
    names = _readable(images)
    rows = [row for row in (_row(folder, name, language) for name in names) if row]
    if not rows:
        of_language = f" in {language!r}" if language else ""
        raise DataError(
            f"expected photos with captions{of_language} in XMP or IPTC in {folder}, found none in "
            f"{len(names):,} images"
        )
    bad = BadRows("embedded", bad_rows, max_bad)
    words = SplitNames("captions in the photos")
    return dataset_of_rows("embedded", images, splits_by_folder(rows), shares, bad, words)


def has_captions(images: ImageFiles, most: int) -> bool:
    """Whether one of the first `most` images of a folder has a caption inside."""
    rows = (_row(images.folder, name, None) for name in islice(_readable(images), most))
    return any(row is not None and not row.fault for row in rows)


def _readable(images: ImageFiles) -> list[str]:
    return [name for name in images.names() if name.lower().endswith(loading.SUFFIXES)]


def _row(folder: Path, name: str, language: str | None) -> Row | None:
    """The row of a photo, or None if it has no caption."""
    try:
        captions = photo_captions(folder / name, language)
    except ImageError as error:
        return make_row(name, {"image": name}, None, str(error))
    return make_row(name, {"image": name, "captions": captions}, None, "") if captions else None
