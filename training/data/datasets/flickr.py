"""Flickr8k and Flickr30k from a local folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from captioner.caption_files import parse_json, read_text
from captioner.errors import DataError
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.files import Entry, FileDataset, collect, existing_folder

_log = logging.getLogger("captioner.datasets")

# The files that list the images of each split: of Flickr8k, and the common ones of Flickr30k.
_SPLIT_FILES = {
    "train": ("Flickr_8k.trainImages.txt", "train.txt"),
    "validation": ("Flickr_8k.devImages.txt", "val.txt"),
    "test": ("Flickr_8k.testImages.txt", "test.txt"),
}
_KARPATHY = "a Karpathy JSON: {'images': [{'filename', 'split', 'sentences': [{'raw'}]}]}"
_OTHER = "JSON such as {'1.jpg': ['ein Hund', 'ein brauner Hund']}"
_TOKEN = "lines such as 'image.jpg#0<tab>caption'"


def flickr(
    folder: str,
    captions: str,
    splits: str | None = None,
    max_bad: float = 0.01,
    bad_rows: str | None = None,
    other_captions: str | None = None,
) -> FileDataset:
    """Flickr8k, Flickr30k, or any folder of images with captions in one of their two formats.

    Get the images from their authors; they may not be passed on. Splits are train, validation and test;
    Karpathy's `restval` counts as train.

    Args:
        folder: str. Where the images are, of any size.
        captions: str. The Karpathy file (`dataset_flickr8k.json`, also as `.json.gz`), or the official
            `Flickr8k.token.txt` or `results_20130124.token`.
        splits: str or None. With a token file, the folder of `Flickr_8k.trainImages.txt` and its siblings (or
            `train.txt`, `val.txt`, `test.txt`). Defaults to the folder of `captions`.
        max_bad: float. The largest share of images with something wrong to accept. Defaults to 0.01.
        bad_rows: str or None. Where to list what is left out. Defaults to `cache/bad_rows_flickr.jsonl`.
        other_captions: str or None. Captions to take instead, in another language for example: a JSON file of
            {file name: [captions]}, plain or gzipped. Images without an entry are left out and counted in one line of
            the log; they are no bad rows. The splits stay those of `captions`.

    Returns:
        A `FileDataset`.

    Raises:
        DataError: if the folder or a file is missing, the file has another structure, or too much is bad.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> photos = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (4, 4)).save(photos / "1.jpg")
        >>> entry = {"filename": "1.jpg", "split": "val", "sentences": [{"raw": "A dark night ."}]}
        >>> _ = (photos / "captions.json").write_text(json.dumps({"images": [entry]}))
        >>> flickr(str(photos), str(photos / "captions.json")).examples("validation")[0].captions
        ('A dark night .',)
    """
    images = existing_folder("flickr", folder)
    path = Path(captions).expanduser()
    bad = BadRows("flickr", bad_rows, max_bad)
    if path.name.removesuffix(".gz").endswith(".json"):
        entries = karpathy(path)
    else:
        entries = _token(path, Path(splits) if splits else path.parent)
    if other_captions is not None:
        entries = _with_other_captions(entries, Path(other_captions).expanduser())
    return collect("flickr", images, entries, bad)


def _with_other_captions(entries: Iterable[Entry], path: Path) -> Iterator[Entry]:
    """The entries with the captions of another file; those without captions there are left out."""
    captions = _json(path, _OTHER)
    if not isinstance(captions, dict) or not captions:
        raise DataError(f"{path}: expected {_OTHER}, got {_shape_of(captions)}")
    for name, texts in captions.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{path}: expected {_OTHER}, got {name[:80]!r} with {_shape_of(texts)}")
    total, used = 0, set()
    for entry in entries:
        total += 1
        if entry.name in captions:
            used.add(entry.name)
            yield replace(entry, captions=captions[entry.name])
    if not used:
        first = next(iter(captions))[:80]
        raise DataError(f"expected captions of the {total:,} images in {path}, got others such as {first!r}")
    _log.warning(
        "flickr: captions of %d of %d images are in %s; the others are left out, and so are %d names of no image",
        len(used), total, path, len(captions) - len(used),
    )  # fmt: skip


def _json(path: Path, expected: str) -> Any:
    """The content of a JSON file, plain or gzipped; DataError with what was expected if it is none."""
    try:
        return parse_json(read_text(path))
    except ValueError as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(f"{path}{line}: expected {expected}, got no JSON: {error}") from None


def karpathy(path: Path) -> Iterator[Entry]:
    """The entries of a Karpathy file, plain or gzipped, one for each image.

    Raises:
        DataError: if it cannot be read or has another structure.
    """
    content = _json(path, _KARPATHY)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise DataError(f"{path}: expected {_KARPATHY}, got {_shape_of(content)}")
    for number, image in enumerate(images):
        where = f"{path.name}: images[{number}]"
        try:
            name = "/".join(part for part in (image.get("filepath", ""), image["filename"]) if part)
            captions = [s["raw"] if "raw" in s else " ".join(s["tokens"]) for s in image["sentences"]]
            yield Entry(where, name, [c if isinstance(c, str) else "" for c in captions], str(image["split"]))
        except (KeyError, TypeError, AttributeError):
            raise DataError(
                f"{path}: expected {_KARPATHY}, got images[{number}] with {_shape_of(image)}"
            ) from None


def _token(path: Path, splits: Path) -> Iterator[Entry]:
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        key, tab, caption = line.partition("\t")
        name, hash_sign, _ = key.rpartition("#")
        if not tab or not hash_sign:
            raise DataError(f"{path}:{number}: expected {_TOKEN}, got {line[:80]!r}")
        captions.setdefault(name, []).append(caption)
    # Images in no split file are not used: the official token file of Flickr8k names 92 of them.
    for split, names in _SPLIT_FILES.items():
        listing = next((splits / name for name in names if (splits / name).is_file()), None)
        if listing is None:
            raise DataError(
                f"expected the list of {split} images in {splits} as {' or '.join(names)}, found neither"
            )
        for number, line in enumerate(read_text(listing).split("\n"), 1):
            name = line.strip()
            if name and name not in captions and f"{name}.jpg" in captions:
                name += ".jpg"
            if name:
                yield Entry(f"{listing.name}:{number}", name, captions.get(name, []), split)


def _shape_of(value: Any) -> str:
    """A description of the structure that was received, in a few words."""
    if isinstance(value, dict):
        return f"the keys {', '.join(map(str, list(value)[:6])) or 'none'}"
    return f"a {type(value).__name__}"
