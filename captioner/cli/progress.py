"""Progress bars on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from tqdm import tqdm

TERMINAL_SECONDS = 0.5  # between two displays on a terminal
LOG_SECONDS = 60.0  # between two displays where standard error is a file


class _LogLines(tqdm):
    """A tqdm bar that prints a new line for each display, for files."""

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """See `tqdm`."""

        def write(text: str) -> None:
            if text:
                print(text, file=file, flush=True)

        return write


def progress_bar(
    items: Iterable[Any] | None = None, total: int | None = None, unit: str = "image", **options: Any
) -> tqdm:
    """A tqdm bar: on a terminal one line, removed at the end, else a line a minute, the first after a minute.

    Args:
        items: iterable, default None. The items to iterate over; without it the caller calls `update`.
        total: int, default the length of `items`.
        unit: str, default "image". Unit of the count.
        options: others of `tqdm`, such as `desc`, `initial` and `disable`.

    Returns:
        `tqdm.tqdm`.

    Example:
        >>> sum(progress_bar([1, 2, 3], unit="number"))
        6
    """
    terminal = sys.stderr.isatty()
    seconds = TERMINAL_SECONDS if terminal else LOG_SECONDS
    kind, delay = (tqdm, 0.0) if terminal else (_LogLines, seconds)
    return kind(
        items, total=total, unit=unit, leave=False, file=sys.stderr, delay=delay,
        mininterval=seconds, maxinterval=seconds, **options,
    )  # fmt: skip
