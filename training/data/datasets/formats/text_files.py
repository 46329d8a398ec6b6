"""Images with a text file beside each."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from captioner.caption_files import Row, make_row, read_text
from captioner.caption_files.reading import encoding_fault
from captioner.errors import DataError
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.files import FileDataset, existing_folder
from training.data.datasets.image_files import ImageFiles, visible_files
from training.data.datasets.rows import Shares, SplitNames, dataset_of_rows, splits_by_folder

_log = logging.getLogger("captioner.datasets")

_MOST_BYTES = 1 << 20


def text_files(
    path: str,
    validation: float = 0.1,
    test: float = 0.1,
    max_bad: float = 0.01,
    bad_rows: str | None = None,
) -> FileDataset:
    """A folder of images with a `.txt` file beside each, a caption a line: `dog.jpg` and `dog.txt`.

    Images may be in folders; those called `train`, `validation` (or `val`) and `test` make the splits. Where there are
    none, a hash of the image's name decides, as in the dataset `folder`. Empty lines do not count.

    Args:
        path: str. The folder.
        validation: float. Share of images for validation where the source has no splits. Defaults to 0.1.
        test: float. Share of images for test, likewise. Defaults to 0.1.
        max_bad: float. The largest share of bad rows (lines) to accept. Defaults to 0.01.
        bad_rows: str or None. Where to list what is left out. Defaults to `cache/bad_rows_text_files.jsonl`.

    Returns:
        A `FileDataset`.

    Raises:
        DataError: if the folder is missing, no image has a text beside it, or too many rows are bad.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> photos = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (4, 4)).save(photos / "1.png")
        >>> _ = (photos / "1.txt").write_text("a dark night\\nnothing but black\\n")
        >>> text_files(str(photos), validation=0, test=0).examples("train")[0].captions
        ('a dark night', 'nothing but black')
    """
    shares = Shares(validation, test)
    folder = existing_folder("text_files", path)
    images = ImageFiles(folder)
    beside, alone = paired(folder, images)
    if not beside:
        raise DataError(
            f"expected a .txt file of the same name beside images in {folder}, found {len(images.names()):,} images "
            f"and {len(alone):,} .txt files, none of them side by side"
        )
    if alone:
        _log.warning(
            "%s .txt files in %s are beside no image, such as %s: left out",
            f"{len(alone):,}",
            folder,
            alone[0],
        )
    rows = [row for text, names in beside.items() for row in _rows(folder, text, names)]
    bad = BadRows("text_files", bad_rows, max_bad)
    words = SplitNames("the .txt files")
    return dataset_of_rows("text_files", images, splits_by_folder(rows), shares, bad, words)


def paired(folder: Path, images: ImageFiles) -> tuple[dict[str, list[str]], list[str]]:
    """The text files of a folder with the images that are beside them, and the text files beside none.

    Returns:
        dict of text file to images, and list of the others; all relative to the folder, with forward slashes.
    """
    by_stem: dict[str, list[str]] = {}
    for image in images.names():
        by_stem.setdefault(_stem(image), []).append(image)
    texts = [name for name in visible_files(folder) if name.lower().endswith(".txt")]
    beside = {name: by_stem[_stem(name)] for name in texts if _stem(name) in by_stem}
    return beside, [name for name in texts if name not in beside]


def text_rows(where: str, image: str, text: str) -> list[Row]:
    """A row for each line with a caption; an empty text is one row with a fault.

    Args:
        where: str. The text file, for messages.
        image: str. The image that the text is of.
        text: str. Read with `strict=False`.

    Example:
        >>> [(row.where, row.captions) for row in text_rows("1.txt", "1.jpg", "a dog\\r\\n\\r\\na cat")]
        [('1.txt:1', ['a dog']), ('1.txt:3', ['a cat'])]
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    rows = [
        _row(f"{where}:{number}", image, line, encoding_fault(line))
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    return rows or [_row(where, image, "", "the text file is empty")]


def _row(where: str, image: str, caption: str, fault: str) -> Row:
    return make_row(where, {"image": image, "caption": caption}, None, fault)


def _rows(folder: Path, text: str, images: list[str]) -> Iterable[Row]:
    image, *others = images
    if others:
        yield _row(text, image, "", f"it is beside several images, {image} and {others[0]}: expected one")
        return
    path = folder / text
    try:
        if not path.is_file():  # reading a pipe would never end
            raise DataError("not a file")
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"a text file of more than {_MOST_BYTES >> 20} MB")
        yield from text_rows(text, image, read_text(path, strict=False))
    except (DataError, OSError) as error:
        yield _row(text, image, "", str(error))


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
