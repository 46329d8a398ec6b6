"""Reading of TFRecord files with TensorFlow's own reader, which verifies all checksums."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf

from captioner.errors import DataError

_HEADER, _FOOTER = 12, 4  # bytes around a record's content: its length with a checksum, and its own checksum


class Record(NamedTuple):
    """One record of a file.

    Attributes:
        offset: int. Where its content begins in the file, in bytes.
        content: bytes.
    """

    offset: int
    content: bytes


def read_records(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Reads the records of a TFRecord file one after the other.

    Args:
        path: str or PathLike.

    Yields:
        `Record`.

    Raises:
        DataError: if the file ends within a record, or a checksum is wrong.
        OSError: if it cannot be opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "two.tfrecord")
        ...     with tf.io.TFRecordWriter(path) as file:
        ...         file.write(b"one")
        ...         file.write(b"two")
        ...     [tuple(record) for record in read_records(path)]
        [(12, b'one'), (31, b'two')]
    """
    start, size = 0, os.path.getsize(path)
    damaged = False
    try:
        for content in tf.data.TFRecordDataset(os.fspath(path)).as_numpy_iterator():
            yield Record(start + _HEADER, content)
            start += _HEADER + len(content) + _FOOTER
    except tf.errors.DataLossError:
        damaged = True
    # TensorFlow accepts a file that ends within a header as complete.
    if damaged or start != size:
        raise DataError(
            f"{os.fspath(path)}: expected whole TFRecords, got one that is damaged or cut off at byte {start} of "
            f"{size}; make the file again"
        )
