"""Messages of commands on standard error, one line each."""

from __future__ import annotations

import argparse
import re
import sys

from captioner.errors import in_command_line_words


def print_error(text: str) -> None:
    """Prints an error line."""
    print(f"captioner: {one_line(in_command_line_words(text))}", file=sys.stderr, flush=True)


def print_note(options: argparse.Namespace, text: str) -> None:
    """Prints a remark, unless `--quiet` is among the options."""
    if not getattr(options, "quiet", False):
        print_error(text)


def one_line(text: str) -> str:
    r"""Escapes line breaks and control characters of a text, such as those in file names.

    Example:
        >>> print(one_line("a\nb\x1b[2J.png"))
        a\nb\x1b[2J.png
        >>> print(one_line("\u202egpj.exe"))
        \u202egpj.exe
    """
    control = r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"  # the latter change the direction of writing
    return re.sub(control, lambda match: ascii(match[0])[1:-1], text)
