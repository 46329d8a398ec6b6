"""Hugging Face's ImageFolder: images with a metadata file beside them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from captioner.caption_files import Row, read_rows
from captioner.errors import DataError
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.files import FileDataset, existing_folder
from training.data.datasets.image_files import ImageFiles, visible_files
from training.data.datasets.rows import Shares, SplitNames, dataset_of_rows, splits_by_folder

_NAMES = ("metadata.jsonl", "metadata.csv")
# Deeper ones are not looked for: a folder of images may be large.
_MOST_DEPTH = 3


def image_folder(
    path: str,
    validation: float = 0.1,
    test: float = 0.1,
    max_bad: float = 0.01,
    bad_rows: str | None = None,
) -> FileDataset:
    """Hugging Face's ImageFolder: `metadata.jsonl` or `metadata.csv` with `file_name` and `text` beside the images.

    A metadata file names images relative to its own folder. There may be several, as in `train/`, `validation/` and
    `test/`; folders that are called as a split, or a column `split`, make the splits. Where nothing does, a hash of the
    image's name decides, as in the dataset `folder`. The column of captions may be called `text`, `caption` or
    `captions`, and in JSON lines hold a list.

    Args:
        path: str. The folder.
        validation: float. Share of images for validation where the source has no splits. Defaults to 0.1.
        test: float. Share of images for test, likewise. Defaults to 0.1.
        max_bad: float. The largest share of bad rows to accept. Defaults to 0.01.
        bad_rows: str or None. Where to list what is left out. Defaults to `cache/bad_rows_image_folder.jsonl`.

    Returns:
        A `FileDataset`.

    Raises:
        DataError: if the folder or the metadata is missing, the columns are others, or too many rows are bad.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> photos = Path(tempfile.mkdtemp(), "train")
        >>> photos.mkdir()
        >>> Image.new("RGB", (4, 4)).save(photos / "1.png")
        >>> _ = (photos / "metadata.jsonl").write_text('{"file_name": "1.png", "text": "a dark night"}')
        >>> image_folder(str(photos.parent)).examples("train")[0]  # doctest: +ELLIPSIS
        Example(id='train/1.png', captions=('a dark night',), ...
    """
    shares = Shares(validation, test)
    folder = existing_folder("image_folder", path)
    files = metadata_files(folder)
    if not files:
        raise DataError(
            f"expected {' or '.join(_NAMES)} in {folder} or the folders in it, found neither; with captions elsewhere "
            f"use folder(path=..., captions=...)"
        )
    rows = [row for file in files for row in _rows(folder, file)]
    bad = BadRows("image_folder", bad_rows, max_bad)
    words = SplitNames(" and ".join(files) if len(files) < 3 else f"{len(files)} metadata files")
    return dataset_of_rows("image_folder", ImageFiles(folder), splits_by_folder(rows), shares, bad, words)


def metadata_files(folder: Path) -> list[str]:
    """The metadata files in a folder and three levels below, relative to it; `.jsonl` where a folder has both."""
    by_folder: dict[PurePosixPath, str] = {}
    for name in map(PurePosixPath, visible_files(folder)):
        if name.name in _NAMES and len(name.parts) <= _MOST_DEPTH + 1:
            best = min(name.name, by_folder.get(name.parent, name.name), key=_NAMES.index)
            by_folder[name.parent] = best
    return [str(place / name) for place, name in by_folder.items()]


def _rows(folder: Path, file: str) -> list[Row]:
    """The rows of a metadata file, their images relative to `folder`."""
    place = PurePosixPath(file).parent
    return [_placed(row, place) for row in read_rows(folder / file, file).rows]


def _placed(row: Row, place: PurePosixPath) -> Row:
    # file_name is what ImageFolder reads, whatever other columns are called.
    name = row.fields.get("file_name")
    image = name if isinstance(name, str) and name.strip() else row.image
    is_relative = image and not image.startswith(("/", "\\"))
    return row._replace(image=f"{place}/{image}" if is_relative and place.name else image)
