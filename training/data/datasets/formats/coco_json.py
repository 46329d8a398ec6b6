"""COCO's annotations as they are downloaded: folders of images and `captions_*.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from captioner.caption_files import Row, read_rows
from captioner.errors import DataError
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.files import FileDataset, existing_folder
from training.data.datasets.image_files import ImageFiles, relative_path
from training.data.datasets.rows import Shares, SplitNames, dataset_of_rows, splits_of_files

# How many images of a file are looked up to learn in which folder they are.
_LOOKED_UP = 20


def coco_json(
    path: str,
    captions: str | Sequence[str] | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    max_bad: float = 0.01,
    bad_rows: str | None = None,
) -> FileDataset:
    """COCO's annotations as they are downloaded: a folder of images, and `captions_train2017.json` and the like.

    Of several files, those called `train` and `val` are the splits, and each names images in `path`, or in the folder
    there that is called as its split (`train2017`, `val2017`). The images of a single file are split by a hash of their
    names; with `validation=0, test=0` all are train.

    Args:
        path: str. The folder of images, or of the folders of images.
        captions: str, list of str or None. The file, the files, or the folder of `captions_*.json`. Defaults to the
            folder `annotations` in `path`, or `path` itself. Each may be gzipped.
        validation: float. Share of images for validation where there is one file. Defaults to 0.1.
        test: float. Share of images for test, likewise. Defaults to 0.1.
        max_bad: float. The largest share of bad rows to accept. Defaults to 0.01.
        bad_rows: str or None. Where to list what is left out. Defaults to `cache/bad_rows_coco_json.jsonl`.

    Returns:
        A `FileDataset`.

    Raises:
        DataError: if the folder or a file is missing or has another structure, or too many rows are bad.

    Example:
        >>> import json, tempfile
        >>> from PIL import Image
        >>> photos = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (4, 4)).save(photos / "7.png")
        >>> value = {"images": [{"id": 7, "file_name": "7.png"}]}
        >>> value["annotations"] = [{"id": 1, "image_id": 7, "caption": "A dark night."}]
        >>> _ = (photos / "captions_mine.json").write_text(json.dumps(value))
        >>> coco_json(str(photos), validation=0, test=0).examples("train")[0].captions
        ('A dark night.',)
    """
    shares = Shares(validation, test)
    folder = existing_folder("coco_json", path)
    files = _files(folder, captions)
    bad = BadRows("coco_json", bad_rows, max_bad)
    images = ImageFiles(folder)
    rows: list[Row] = []
    for file, (place, split) in zip(files, splits_of_files([file.name for file in files]), strict=True):
        of_file = _placed(read_rows(file, file.name).rows, images, place)
        rows += [row._replace(split=row.split or split or None) for row in of_file]
    words = SplitNames(" and ".join(file.name for file in files[:3]), "captions file")
    return dataset_of_rows("coco_json", images, rows, shares, bad, words)


def annotation_files(folder: Path) -> list[Path]:
    """The `captions_*.json` (or `.json.gz`) of the folder `annotations`, or else of the folder itself, sorted."""
    for place in (folder / "annotations", folder):
        if files := sorted((*place.glob("captions_*.json"), *place.glob("captions_*.json.gz"))):
            return files
    return []


def _files(folder: Path, captions: str | Sequence[str] | None) -> list[Path]:
    names = [captions] if isinstance(captions, str) else captions
    if names is None or (len(names) == 1 and Path(names[0]).expanduser().is_dir()):
        place = folder if names is None else Path(names[0]).expanduser()
        if not (files := annotation_files(place)):
            raise DataError(
                f"expected captions_*.json in {place} or {place / 'annotations'}, found none; give captions="
            )
        return files
    files = [Path(name).expanduser() for name in names]
    absent = next((file for file in files if not file.is_file()), None)
    if not files or absent:
        raise DataError(f"expected COCO's captions file at {absent or captions}, found no such file")
    return files


def _placed(rows: Sequence[Row], images: ImageFiles, place: str) -> list[Row]:
    """Rows with their images relative to the folder: directly in it, or in one called as the split or `images`."""
    folders = ("", *(f"{name}/" for name in (place, f"images/{place}", "images") if name.strip("/")))
    checked = [relative_path(row.image) for row in rows[:_LOOKED_UP]]
    names = [name for name, fault in checked if not fault]
    best = max(
        folders, key=lambda prefix: sum((images.folder / f"{prefix}{name}").is_file() for name in names)
    )
    return [row if relative_path(row.image)[1] else row._replace(image=best + row.image) for row in rows]
