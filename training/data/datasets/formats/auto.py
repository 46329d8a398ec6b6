"""Recognises the format of a folder of images with captions."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from captioner.caption_files import parse_json, read_rows, read_text
from captioner.errors import DataError
from training.data.datasets.files import FileDataset, existing_folder
from training.data.datasets.flickr import flickr
from training.data.datasets.folder import DEFAULT_FILES, folder
from training.data.datasets.formats.coco_json import annotation_files, coco_json
from training.data.datasets.formats.embedded import embedded, has_captions
from training.data.datasets.formats.hugging_face import image_folder, metadata_files
from training.data.datasets.formats.text_files import paired, text_files
from training.data.datasets.formats.webdataset import webdataset
from training.data.datasets.image_files import ImageFiles, relative_path, visible_files

_log = logging.getLogger("captioner.datasets")

_LOOKED_FOR = (
    "captions.csv (.tsv, .jsonl, .json), metadata.jsonl or .csv (Hugging Face), dataset_*.json (Karpathy) or *.token, "
    "annotations/captions_*.json (COCO), *.tar (webdataset), one other .csv, .tsv, .jsonl or .json with image and "
    "caption, .txt beside images, captions in XMP or IPTC of the photos"
)
_TABLES = (".csv", ".tsv", ".jsonl", ".json")
# Photos that are looked into for captions, rows whose images are looked up, folders in which they are.
_MOST_PHOTOS, _MOST_ROWS, _MOST_FOLDERS = 200, 20, 100


class Source(NamedTuple):
    """A format that a folder holds: what it is called, and what builds the dataset."""

    label: str
    build: Callable[..., FileDataset]


def auto(
    path: str,
    captions: str | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    max_bad: float = 0.01,
    bad_rows: str | None = None,
) -> FileDataset:
    """Whatever a folder of images with captions holds: recognises the format and prints what it is.

    Looked for in this order, from the most explicit on; the first is used, and a warning names the others:

    1. `captions.jsonl`, `.csv`, `.tsv` or `.json`: `folder`;
    2. `metadata.jsonl` or `.csv`, also in folders: `image_folder` (Hugging Face);
    3. `dataset_*.json` or a token file of Flickr8k or Flickr30k: `flickr` (Karpathy);
    4. `captions_*.json` in the folder or in `annotations`: `coco_json`;
    5. tar files: `webdataset`;
    6. one other `.csv`, `.tsv`, `.jsonl` or `.json` with an image and a caption: `folder`;
    7. `.txt` files beside images: `text_files`;
    8. XMP or IPTC in one of the first 200 photos: `embedded`.

    Of a captions file, the contents say the format (COCO's, Karpathy's or a table), and images may be in a folder
    beside it.

    Args:
        path: str. The folder, a captions file, or a tar file or a pattern of them.
        captions: str or None. The captions file, where it is elsewhere. Defaults to what the folder holds.
        validation: float. Share of images for validation where the source has no splits. Defaults to 0.1.
        test: float. Share of images for test, likewise. Defaults to 0.1.
        max_bad: float. The largest share of bad rows to accept. Defaults to 0.01.
        bad_rows: str or None. Where to list what is left out. Defaults to `cache/bad_rows_FORMAT.jsonl`.

    Returns:
        A `FileDataset`.

    Raises:
        DataError: if nothing is recognised, or what is recognised cannot be read.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> photos = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (4, 4)).save(photos / "1.png")
        >>> _ = (photos / "1.txt").write_text("a dark night")
        >>> data = auto(str(photos), validation=0, test=0)
        recognised: .txt files beside images, 1 images, 1 captions
    """
    first, *others = _recognised(path, captions)
    options: dict[str, Any] = {"max_bad": max_bad, "bad_rows": bad_rows}
    if getattr(first.build, "func", None) is not flickr:  # which has splits always
        options |= {"validation": validation, "test": test}
    if others:
        _log.warning(
            "%s holds several kinds of captions: %s is used; %s not; name the dataset to use another",
            path, first.label, ", ".join(source.label for source in others),
        )  # fmt: skip
    data = first.build(**options)
    print(f"recognised: {first.label}, {data.summary}", flush=True)
    return data


def _recognised(path: str, captions: str | None) -> list[Source]:
    """The formats that a path holds, at least one, the most explicit first."""
    place = Path(path).expanduser()
    if captions is not None:
        return [_of_file(existing_folder("auto", path), Path(captions).expanduser())]
    if path.endswith(".tar"):
        return [Source("tar files (webdataset)", functools.partial(webdataset, path))]
    if place.is_file():
        parent = place.parent
        return [_of_file(parent.parent if parent.name == "annotations" else parent, place)]
    sources = list(_sources(existing_folder("auto", path)))
    if not sources:
        raise DataError(_nothing(place))
    return sources


def _sources(place: Path) -> Iterator[Source]:
    """The formats that a folder holds, the most explicit first."""
    name = str(place)
    names = sorted(file.name for file in place.iterdir() if not file.name.startswith("."))
    used = {file for file in DEFAULT_FILES if (place / file).is_file()}
    if used:
        yield _readable(place, place / next(file for file in DEFAULT_FILES if file in used))
    if metadata := metadata_files(place):
        used |= set(metadata)
        yield Source("Hugging Face ImageFolder", functools.partial(image_folder, name))
    for file in names:
        if _is_of_flickr(place / file):
            used.add(file)
            yield _readable(place, place / file)
    if annotations := annotation_files(place):
        used |= {file.name for file in annotations}
        yield Source("COCO captions JSON", functools.partial(coco_json, name))
    if any(file.endswith(".tar") for file in visible_files(place)):
        yield Source("tar files (webdataset)", functools.partial(webdataset, name))
    tables = [file for file in names if file not in used and _is_table(place / file)]
    if len(tables) == 1:
        yield _readable(place, place / tables[0])
    elif tables:
        listed = ", ".join(tables[:5])
        message = (
            f"expected one captions file in {place}, found {len(tables)}: {listed}; say which with captions="
        )
        yield Source(f"{tables[0]} or {tables[1]}", functools.partial(_refuse, message))
    images = ImageFiles(place)
    if paired(place, images)[0]:
        yield Source(".txt files beside images", functools.partial(text_files, name))
    if has_captions(images, _MOST_PHOTOS):
        yield Source("captions inside the photos (XMP, IPTC)", functools.partial(embedded, name))


def _is_of_flickr(file: Path) -> bool:
    """Whether a file is called as Karpathy's or a token file; Hugging Face has a dataset_infos.json of another kind."""
    if file.name.startswith("dataset_") and file.name.endswith((".json", ".json.gz")):
        try:
            return isinstance(value := _json(file), dict) and isinstance(value.get("images"), list)
        except DataError:
            return False
    return file.name.endswith((".token", ".token.txt"))


def _readable(place: Path, file: Path) -> Source:
    """As `_of_file`; a file that cannot be read is an error only where it is the one that is used."""
    try:
        return _of_file(place, file)
    except DataError as error:
        return Source(f"captions file {file.name}", functools.partial(_refuse, str(error)))


def _refuse(message: str, **_: Any) -> FileDataset:
    raise DataError(message)


def _of_file(place: Path, file: Path) -> Source:
    """The format of one captions file, by its contents.

    Raises:
        DataError: if it cannot be read.
    """
    name = file.name
    if not file.is_file():
        raise DataError(f"expected a captions file at {file}, found no such file")
    if name.endswith((".token", ".token.txt")):
        images = _image_folder(place, [line.partition("#")[0] for line in read_text(file).split("\n")])
        return Source(f"Flickr's captions {name}", functools.partial(flickr, images, str(file)))
    value = _json(file) if name.removesuffix(".gz").endswith(".json") else None
    if isinstance(value, dict) and isinstance(value.get("annotations"), list):
        return Source("COCO captions JSON", functools.partial(coco_json, str(place), str(file)))
    if isinstance(value, dict) and isinstance(entries := value.get("images"), list):
        named = [entry for entry in entries[:_MOST_ROWS] if isinstance(entry, dict)]
        paths = [f"{entry.get('filepath') or '.'}/{entry.get('filename')}" for entry in named]
        images = _image_folder(place, paths)
        return Source(f"Karpathy's captions {name}", functools.partial(flickr, images, str(file)))
    images = _image_folder(place, [row.image for row in read_rows(file, name).rows[:_MOST_ROWS]])
    return Source(f"captions file {name}", functools.partial(folder, images, str(file)))


def _json(file: Path) -> Any:
    """The contents of a JSON file; None where it is none, which the dataset's reader reports better."""
    try:
        return parse_json(read_text(file))
    except ValueError:
        return None


def _image_folder(place: Path, names: Sequence[str]) -> str:
    """The folder that images of these names are in: `place`, or the one in it that holds more of them."""
    checked = [relative_path(name) for name in names[:_MOST_ROWS]]
    paths = [path for path, fault in checked if not fault]
    inside = sorted(entry for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    folders = [place, *inside[:_MOST_FOLDERS]]
    return str(max(folders, key=lambda images: sum((images / path).is_file() for path in paths)))


def _is_table(file: Path) -> bool:
    """Whether a file holds images and captions; others, such as a configuration in JSON, do not."""
    if not file.name.lower().removesuffix(".gz").endswith(_TABLES) or not file.is_file():
        return False
    try:
        return any(not row.fault for row in read_rows(file).rows)
    except DataError:
        return False


def _nothing(place: Path) -> str:
    images = ImageFiles(place).names()
    others = sorted(set(visible_files(place)) - set(images))
    listed = f": {', '.join(others[:5])}{', ...' if len(others) > 5 else ''}" if others else ""
    return (
        f"expected captions in {place}; looked for {_LOOKED_FOR}; found {len(images):,} images and "
        f"{len(others):,} other files{listed}"
    )
