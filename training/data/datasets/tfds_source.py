"""Datasets that tensorflow-datasets has prepared, `coco_captions` above all.

The records are indexed once by where they begin, so that any image can be read on its own, and its encoded
bytes are passed on as they were stored: nothing is decoded here.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captioner.errors import DataError, ImageError, MissingDependency
from training.data.datasets.bad_rows import BadRows
from training.data.datasets.example import Example, missing_split
from training.data.datasets.files import caption_fault, split_name


def coco(
    data_dir: str | None = None,
    restval: bool = True,
    max_bad: float = 0.01,
    bad_rows: str | None = None,
) -> TfdsDataset:
    """COCO 2014 with Karpathy's splits: `coco_captions` of tensorflow-datasets as it is.

    It is read where it has been prepared (`tfds build coco_captions`, or `tfds.load("coco_captions")`);
    nothing is downloaded here.

    Args:
        data_dir: str or None. Where tensorflow-datasets keeps its data. Defaults to its own default.
        restval: bool. Whether Karpathy's `restval` belongs to train, as in published results. Defaults to
            True.
        max_bad: float. The largest share of bad records to accept. Defaults to 0.01.
        bad_rows: str or None. Where to list what is left out. Defaults to `cache/bad_rows_coco.jsonl`.

    Returns:
        A `TfdsDataset` with the splits train, validation and test.

    Raises:
        DataError: if the dataset is not prepared in `data_dir`, or too much of it is bad.
    """
    bad = BadRows("coco", bad_rows, max_bad)
    leave_out = () if restval else ("restval",)
    return TfdsDataset(
        _prepared("coco_captions", data_dir), "image", "captions/text", "image/filename", leave_out, bad
    )


def tfds_dataset(
    name: str,
    image_key: str = "image",
    captions_key: str = "captions",
    id_key: str | None = None,
    data_dir: str | None = None,
    max_bad: float = 0.01,
    bad_rows: str | None = None,
) -> TfdsDataset:
    """Any dataset that tensorflow-datasets has prepared and that holds images with captions.

    Args:
        name: str. As tensorflow-datasets writes it: "name", "name/config" or "name/config:version".
        image_key: str. The feature with the image; a slash leads into a nested one. Defaults to "image".
        captions_key: str. The feature with one text or a sequence of texts ("captions/text"). Defaults to
            "captions".
        id_key: str or None. The text or number that names an example. Defaults to its place in its split.
        data_dir: str or None. Where tensorflow-datasets keeps its data. Defaults to its own default.
        max_bad: float. The largest share of bad records to accept. Defaults to 0.01.
        bad_rows: str or None. Where to list what is left out. Defaults to `cache/bad_rows_tfds.jsonl`.

    Returns:
        A `TfdsDataset`.

    Raises:
        DataError: if the dataset is not prepared in `data_dir`, has no such features, or too much of it is
            bad.
    """
    bad = BadRows("tfds", bad_rows, max_bad)
    return TfdsDataset(_prepared(name, data_dir), image_key, captions_key, id_key, (), bad)


class TfdsDataset:
    """A dataset of tensorflow-datasets, prepared as TFRecord.

    Args:
        builder: `tfds.core.DatasetBuilder`, prepared.
        image_key: str. See `tfds_dataset`.
        captions_key: str.
        id_key: str or None.
        leave_out: tuple of str. Splits of the builder to leave out.
        bad_rows: BadRows. Takes the records that cannot be used.
    """

    def __init__(
        self,
        builder: Any,
        image_key: str,
        captions_key: str,
        id_key: str | None,
        leave_out: tuple[str, ...],
        bad_rows: BadRows,
    ):
        self.builder, self.bad_rows = builder, bad_rows
        self._keys = image_key, captions_key, id_key
        _check_features(builder, image_key, captions_key, id_key)
        self._parts: dict[str, list[str]] = {}
        for part in builder.info.splits:
            if part not in leave_out and builder.info.splits[part].num_examples:
                self._parts.setdefault(split_name(part) or part, []).append(part)
        self._examples: dict[str, list[Example]] = {}
        self._total = 0  # records read, of all splits, as the bad ones are counted together

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that hold examples; `val` is called validation, `restval` is part of train."""
        return tuple(self._parts)

    def examples(self, split: str) -> list[Example]:
        """The examples of a split, in stored order. The first call reads all its records once.

        Args:
            split: str.

        Returns:
            A list of `Example`; `read()` gives the image's bytes as they were stored.

        Raises:
            DataError: if the split is unknown, or too many of its records are bad.
        """
        if split not in self._parts:
            raise missing_split(self.builder.info.full_name, split, self.splits)
        if split not in self._examples:
            self._examples[split] = self._read(split)
        return self._examples[split]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of the dataset's name, version and keys, and of its files' names, sizes and dates.

        Dates and not contents: the records of COCO are 19 GB, and tensorflow-datasets never changes a file in
        place.
        """
        digest = hashlib.sha256(repr((self.builder.info.full_name, self._keys, self._parts)).encode())
        for path in self._files(*self._parts):
            stat = path.stat()
            digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def _files(self, *splits: str) -> list[Path]:
        parts = [part for split in splits for part in self._parts[split]]
        return [Path(str(p)) for part in parts for p in self.builder.info.splits[part].filepaths]

    def _read(self, split: str) -> list[Example]:
        import tensorflow as tf

        from captioner.tfrecord import read_records

        image_key, captions_key, id_key = self._keys
        good: dict[str, Example] = {}
        place = -1
        for path in self._files(split):
            for number, (offset, record) in enumerate(read_records(path)):
                place += 1
                fields = tf.train.Example.FromString(record).features.feature
                name = _first(fields[id_key]) if id_key else f"{split}-{place:08d}"
                texts = [_text(value) for value in fields[captions_key].bytes_list.value]
                kept = tuple(t for t in texts if not caption_fault(t))
                fault = "" if kept else "no caption that is not empty"
                if name in good:
                    fault = "this id has come before"
                elif not any(fields[image_key].bytes_list.value):
                    fault = "no image"
                if fault:
                    self.bad_rows.add(f"{path.name}: record {number}", name, fault)
                    continue
                for text in texts:
                    if fault := caption_fault(text):
                        self.bad_rows.add(f"{path.name}: record {number}", name, fault)
                read = functools.partial(_read_image, path, offset, len(record), image_key)
                good[name] = Example(name, kept, read)
        self._total += place + 1
        self.bad_rows.check(self._total)
        return list(good.values())


def _prepared(name: str, data_dir: str | None) -> Any:
    """The builder of a dataset that is on this machine."""
    try:
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "tensorflow_datasets", "train", f"the dataset {name}") from None
    where = Path(data_dir or tfds.core.constants.get_default_data_dir()).expanduser()
    missing = DataError(
        f"expected {name} prepared in {where}, found it is not; run `tfds build {name} --data_dir={where}` "
        f"where there is a network, or say with data_dir= where it is"
    )
    try:
        builder = tfds.builder(name, data_dir=where)
    except tfds.core.DatasetNotFoundError:
        raise missing from None
    except (ValueError, AssertionError) as error:  # an unknown config or version
        raise DataError(f"cannot open {name} in {where}: {' '.join(str(error).split())[:300]}") from None
    if not builder.info.splits:
        raise missing
    if builder.info.file_format.value != "tfrecord":
        raise DataError(
            f"expected {name} stored as tfrecord, found {builder.info.file_format.value} in "
            f"{builder.data_dir}; build it with --file_format=tfrecord"
        )
    return builder


def _check_features(builder: Any, image_key: str, captions_key: str, id_key: str | None) -> None:
    import numpy as np
    import tensorflow_datasets as tfds

    features = dict(_flat(builder.info.features))
    text = {key for key, value in features.items() if value.np_dtype in (object, np.str_)}
    images = {key for key, value in features.items() if isinstance(value, tfds.features.Image)}
    scalars = {key for key, value in features.items() if value.shape == ()}
    for option, key, good in (
        ("image_key", image_key, images),
        ("captions_key", captions_key, text),
        ("id_key", id_key, scalars),
    ):
        if key is not None and key not in good:
            raise DataError(
                f"expected {option} to be one of {', '.join(sorted(good)) or 'none at all'} in "
                f"{builder.info.full_name}, got {key!r}"
            )


def _flat(features: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All features by the names under which they are stored, with slashes."""
    inner = getattr(features, "feature", features)  # what a sequence is of
    if hasattr(inner, "items"):
        for key, value in inner.items():
            yield from _flat(value, f"{prefix}/{key}" if prefix else key)
    else:
        yield prefix, inner


def _read_image(path: Path, offset: int, length: int, image_key: str) -> bytes:
    import tensorflow as tf

    try:
        with path.open("rb") as file:
            file.seek(offset)
            record = file.read(length)
    except OSError as error:
        raise ImageError(f"expected an image in {path}: {error.strerror or error}") from None
    return bytes(tf.train.Example.FromString(record).features.feature[image_key].bytes_list.value[0])


def _first(feature: Any) -> str:
    values = feature.bytes_list.value or feature.int64_list.value
    value = values[0] if values else ""
    return _text(value) if isinstance(value, bytes) else str(value)


def _text(value: bytes) -> str:
    return " ".join(value.decode("utf-8", "surrogateescape").split())
