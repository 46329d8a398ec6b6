"""Messages of commands on standard error, one line each."""

from __future__ import annotations

import argparse
import re
import sys

from captioner.errors import in_command_line_words


def tell(text: str) -> None:
    """Prints an error line."""
    print(f"captioner: {one_line(in_command_line_words(text))}", file=sys.stderr, flush=True)


def note(options: argparse.Namespace, text: str) -> None:
    """Prints a line that is good to know, unless `--quiet` is among the options."""
    if not getattr(options, "quiet", False):
        tell(text)


def one_line(text: str) -> str:
    r"""A text as one line without control characters: file names may hold anything.

    Example:
        >>> print(one_line("a\nb\x1b[2J.png"))
        a\nb\x1b[2J.png
        >>> print(one_line("\u202egpj.exe"))
        \u202egpj.exe
    """
    control = r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"  # the latter turn the direction of writing
    return re.sub(control, lambda match: ascii(match[0])[1:-1], text)
