"""Any folder of images with captions in a CSV, TSV, JSON or JSONL file."""

from __future__ import annotations

import logging
from pathlib import Path

from captioner.caption_files import read_rows
from captioner.errors import DataError
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.files import FileDataset, existing_folder
from training.data.datasets.image_files import ImageFiles
from training.data.datasets.rows import Shares, SplitColumn, dataset_of_rows

_log = logging.getLogger("captioner.datasets")

DEFAULT_FILES = ("captions.jsonl", "captions.csv", "captions.tsv", "captions.json")


def folder(
    path: str,
    captions: str | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    max_bad: float = 0.01,
    bad_rows: str | None = None,
) -> FileDataset:
    """Any folder of images, with captions in a CSV, TSV, JSON or JSONL file.

    Each row names an image and gives one caption; several rows may name the same image. Without a column
    `split` an image's split follows from a hash of its name: the same on every machine, and no image moves
    when others come. A caption that comes again for the same image counts once.

    Args:
        path: str. The folder of images; rows name them relative to it, with forward slashes.
        captions: str or None. The file: `.csv` or `.tsv` with a header line, `.jsonl` or `.json`, with the columns
            image, caption and optionally split (train, validation or test), in UTF-8, as `captioner evaluate` takes
            them too. Defaults to `captions.jsonl`, `captions.csv`, `captions.tsv` or `captions.json` in the folder.
        validation: float. Share of images for validation where there is no column split. Defaults to 0.1.
        test: float. Share of images for test, likewise. Defaults to 0.1.
        max_bad: float. The largest share of bad rows to accept. Defaults to 0.01.
        bad_rows: str or None. Where to list what is left out. Defaults to `cache/bad_rows_folder.jsonl`.

    Returns:
        A `FileDataset`.

    Raises:
        DataError: if the folder or file is missing, the columns are others, or too many rows are bad.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> photos = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (4, 4)).save(photos / "night.png")
        >>> _ = (photos / "captions.csv").write_text("image,caption,split\\nnight.png,a dark night,train\\n")
        >>> folder(str(photos)).examples("train")[0].captions
        ('a dark night',)
    """
    shares = Shares(validation, test)
    place = existing_folder("folder", path)
    file = _captions_file(place, captions)
    bad = BadRows("folder", bad_rows, max_bad)
    table = read_rows(file, file.name)
    if table.columns[0] != "image" or table.columns[1] not in ("caption", "captions"):
        _log.warning("%s: images by the column %r, captions by %r", file, *table.columns)
    return dataset_of_rows("folder", ImageFiles(place), table.rows, shares, bad, SplitColumn(file.name))


def _captions_file(images: Path, captions: str | None) -> Path:
    if captions is None:
        default = next((images / name for name in DEFAULT_FILES if (images / name).is_file()), None)
        if default is None:
            raise DataError(
                f"expected one of {', '.join(DEFAULT_FILES)} in {images}, found none; give captions="
            )
        return default
    file = Path(captions).expanduser()
    if not file.is_file():
        raise DataError(f"expected a captions file at {file}, found no such file")
    return file
