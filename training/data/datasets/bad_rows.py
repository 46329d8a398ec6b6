"""Rows that cannot be used: counted, listed in a file, refused when they are too many."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import NamedTuple

from captioner import atomic
from captioner.checks import number
from captioner.errors import DataError

_log = logging.getLogger("captioner.datasets")


class BadRow(NamedTuple):
    """A row that cannot be used: its position, what it names, and the reason."""

    where: str
    row: str
    reason: str


class BadRows:
    """Collects the rows of one dataset that cannot be used.

    The stage that reads the captions and the stage that decodes the images use it alike: `add` each bad
    row, then `check` once against the number of rows seen. A few bad rows are listed and left out; many mean
    a wrong folder or file, and raise an error.

    Args:
        source: str. Name of the dataset in the message ("flickr").
        path: str, Path or None. Where the list goes, one JSON object a line; defaults to
            `cache/bad_rows_<source>.jsonl`. Nothing is written while there are no bad rows.
        max_bad: float. The largest share of bad rows to accept. Defaults to 0.01.

    Example:
        >>> bad = BadRows("photos", max_bad=0.5)
        >>> bad.add("photos.csv:2", "dog.jpg", "no such image")
        >>> len(bad), bad.share(total=10)
        (1, 0.1)
    """

    def __init__(self, source: str, path: str | Path | None = None, max_bad: float = 0.01):
        self.source = source
        self.path = Path(path) if path else Path("cache", f"bad_rows_{source}.jsonl")
        self.max_bad = number(max_bad, "max_bad", 0, 1, error=DataError)
        self.rows: list[BadRow] = []

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, where: str, row: str, reason: str) -> None:
        """Adds a bad row.

        Args:
            where: str. File and line, or the split and position.
            row: str. What the row names: an image, an id, the start of an unreadable line.
            reason: str. Why it cannot be used, in a few words.
        """
        self.rows.append(BadRow(_clean(where), _clean(row), _clean(reason)))

    def share(self, total: int) -> float:
        """The share of bad rows among `total` rows, good and bad."""
        return len(self) / total if total else float(len(self) > 0)

    def summary(self, total: int) -> str:
        """One line: how many of how many, the first reason, and where the list is."""
        first = self.rows[0]
        return (
            f"{self.source}: {len(self):,} of {total:,} rows ({self.share(total):.2%}) bad; the first, "
            f"{first.where} ({first.row}): {first.reason}; the list is in {self.path}"
        )

    def check(self, total: int) -> None:
        """Writes the list, if there is one, and raises an error if the share is too large.

        Args:
            total: int. Rows seen, good and bad.

        Raises:
            DataError: when more than `max_bad` of the rows are bad, or the list cannot be written.
        """
        if not self.rows:
            return
        self.write()
        if self.share(total) > self.max_bad:
            raise DataError(
                f"expected at most {self.max_bad:.2%} bad rows; {self.summary(total)}; "
                f"correct them or raise max_bad"
            )
        _log.warning("%s; left out", self.summary(total))

    def write(self) -> Path:
        """Writes the list to `path`, one JSON object a line with the keys where, row and reason.

        Returns:
            The path.

        Raises:
            DataError: if the file cannot be written.
        """
        lines = (json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in self.rows)
        try:
            atomic.write_text(self.path, "".join(lines))
        except DataError as error:
            reason = str(error).removeprefix(f"cannot write {self.path}: ")
            raise DataError(
                f"cannot write the list of {len(self)} bad rows to {self.path}: {reason}; "
                f"give another path with bad_rows="
            ) from None
        return self.path


def _clean(text: str) -> str:
    """One printable line: bytes that were no UTF-8 become escapes, long text is cut."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:197] + "..."
