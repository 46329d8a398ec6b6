"""The captions file that the page writes: its rows and columns stay as they are but for the captions that are edited.

The file is read again before every change, so that what other programs wrote meanwhile is kept, and replaced
atomically: a crash leaves the old file or the new one.
"""

from __future__ import annotations

import csv
import io
import secrets
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner import atomic
from captioner.caption_files.columns import find_columns, separated
from captioner.caption_files.csv_rows import csv_rows
from captioner.caption_files.image_ids import composed
from captioner.caption_files.reading import read_text
from captioner.errors import DataError

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass
class _Record:
    """A row: its text in the file, line end included, and its fields."""

    text: str
    fields: list[str]


class CaptionTable:
    """A CSV or TSV file of images and captions, a caption a row; threads may share one.

    Args:
        path: path ending in `.csv` or `.tsv`. Made by the first caption if there is none. Its first line names the
            columns image and caption, under any of the names that `captioner.caption_files` accepts.

    Raises:
        DataError: if the ending is another, or the file is there and is no such table.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "captions.csv")
        ...     _ = path.write_text("image,rating,caption\\na.jpg,4,a dog\\n")
        ...     CaptionTable(path).put("b.jpg", ["a cat, asleep", "a grey cat"])
        ...     print(path.read_text().strip())
        image,rating,caption
        a.jpg,4,a dog
        b.jpg,,"a cat, asleep"
        b.jpg,,a grey cat
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser().resolve()
        delimiter = _DELIMITERS.get(self.path.suffix.lower())
        if delimiter is None:
            raise DataError(f"expected a captions file that ends in .csv or .tsv, got {path}")
        self._delimiter, self._lock = delimiter, threading.Lock()
        self.captions()

    def captions(self) -> dict[str, list[str]]:
        """The captions of each image that has one, by the composed form of its name; empty if there is no file.

        Raises:
            DataError: if the file cannot be read, or is no such table.
        """
        captions: dict[str, list[str]] = {}
        if self._is_empty():
            return captions
        for row in csv_rows(self.path, self.path.name).rows:
            texts = [text for text in map(_line, row.captions) if text]
            if not row.fault and texts:
                captions.setdefault(composed(row.image), []).extend(texts)
        return captions

    def check_writable(self) -> None:
        """Checks before work starts that the file can be written.

        Raises:
            DataError: in one line, if the disk refuses.
        """
        probe = self.path.with_name(f".{self.path.name[:50]}.{secrets.token_hex(4)}")
        try:
            if self.path.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            if self.path.exists():
                with self.path.open("ab"):
                    pass
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            reason = error.strerror or error
            raise DataError(
                f"cannot write {self.path}: {reason}; name another file with --captions"
            ) from None

    def put(self, image: str, captions: Sequence[str]) -> None:
        """Sets the captions of one image and writes the file, unless it holds them already.

        The first caption goes into the image's first row, and so on, other columns unchanged; further ones into rows
        at the end, rows without one are removed. New rows of a table with a column split are of the image's split,
        else of train.

        Args:
            image: str. Name relative to the folder of the images, with forward slashes.
            captions: sequence of str, one line each; none removes those of the image.

        Raises:
            DataError: if the file cannot be read or written; it is unchanged then.
        """
        with self._lock:
            before = b"" if self._is_empty() else self.path.read_bytes()
            header, records = self._records()
            after = self._text(header, self._changed(header, records, image, captions))
            mark = _BYTE_ORDER_MARK if before.startswith(_BYTE_ORDER_MARK) else b""
            data = mark + after.encode("utf-8", "surrogateescape")
            if data != before and (before or captions):
                atomic.write_bytes(self.path, data)

    def _is_empty(self) -> bool:
        return not self.path.exists() or (self.path.is_file() and self.path.stat().st_size == 0)

    def _records(self) -> tuple[_Record, list[_Record]]:
        """The header and the rows; a new header if there is no file."""
        if self._is_empty():
            names = ["image", "caption"]
            return _Record(self._row(names, "\n"), names), []
        csv_rows(self.path, self.path.name)  # raises for a broken table, with the line
        lines = list(io.StringIO(read_text(self.path, strict=False), newline=""))
        reader, records, start = csv.reader(iter(lines), delimiter=self._delimiter), [], 0
        for fields in reader:
            records.append(_Record("".join(lines[start : reader.line_num]), fields))
            start = reader.line_num
        first = next(i for i, record in enumerate(records) if any(map(str.strip, record.fields)))
        header = _Record(
            "".join(record.text for record in records[: first + 1]),
            [n.strip() for n in records[first].fields],
        )
        return header, records[first + 1 :]

    def _changed(
        self, header: _Record, records: Iterable[_Record], image: str, captions: Sequence[str]
    ) -> list[_Record]:
        names, end = header.fields, _line_end(header.text)
        image_name, caption_name = find_columns(str(self.path), names, separated(names, self._delimiter))
        image_column, caption_column = names.index(image_name), names.index(caption_name)
        split_column = next((i for i, name in enumerate(names) if name.lower() == "split"), None)
        remaining, changed, split = list(captions), [], "train"
        for record in records:
            fields = record.fields
            if len(fields) != len(names) or composed(fields[image_column].strip()) != composed(image):
                changed.append(record)
                continue
            if split_column is not None and fields[split_column].strip():
                split = fields[split_column]
            if not remaining:
                continue
            caption = remaining.pop(0)
            if _line(fields[caption_column]) != caption:
                fields = [*fields[:caption_column], caption, *fields[caption_column + 1 :]]
                record = _Record(self._row(fields, _line_end(record.text)), fields)
            changed.append(record)
        for caption in remaining:
            values = {image_column: image, caption_column: caption}
            if split_column is not None:
                values[split_column] = split
            fields = [values.get(i, "") for i in range(len(names))]
            changed.append(_Record(self._row(fields, end), fields))
        return changed

    def _text(self, header: _Record, records: Iterable[_Record]) -> str:
        """The whole file; every row but the last ends its line."""
        texts = [header.text, *(record.text for record in records)]
        end = _line_end(header.text)
        complete = [text if text.endswith(("\n", "\r")) else text + end for text in texts[:-1]]
        return "".join([*complete, texts[-1]])

    def _row(self, fields: Sequence[str], end: str) -> str:
        """The text of a row."""
        row = io.StringIO(newline="")
        csv.writer(row, delimiter=self._delimiter, lineterminator=end).writerow(fields)
        return row.getvalue()


def _line(caption: str) -> str:
    """A caption in one line, without blanks around it."""
    return " ".join(caption.split())


def _line_end(text: str) -> str:
    return next((end for end in ("\r\n", "\n", "\r") if text.endswith(end)), "\n")
