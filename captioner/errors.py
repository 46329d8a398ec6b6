"""The exception tree.

    CaptionerError
    ├── ImageError            an image that cannot be read: missing, truncated, of a kind we do not decode
    ├── DataError             captions or datasets: wrong columns, absent images, empty captions
    ├── SpecError             a spec string, name or option that no table knows (also a ValueError)
    ├── ModelError            a model that cannot be built, or weights and vocabulary that do not fit it
    ├── BundleError           a model folder that is missing, foreign, damaged, or would be overwritten
    ├── EngineError           the thing that runs the model cannot: away, too old, asked for what it lacks
    └── MissingDependency     an optional package is not installed (also an ImportError)

Every message is one line: what was expected, what came, what to do. Programs print it and exit with
`CaptionerError.exit_code`; they never show a traceback for one of these. What to do is told in words of Python, as
"pass NAME=VALUE"; programs print it `in_command_line_words`.
"""

from __future__ import annotations

import re

# What messages tell users of Python to do, and what that is on the command line.
_REMEDIES = (
    (r"\bpass overwrite=True(?: \(--overwrite\))?", "add --overwrite"),
    (r"\bsay \w+\(overwrite=True\)", "add --overwrite"),
    (r"\bpass trust=\([\"']([\w.]+)[\"'],\)", r"add --trust \1"),
)


class CaptionerError(Exception):
    """Base of every error that captioner raises on purpose."""

    exit_code = 2


class ImageError(CaptionerError):
    """An image that cannot be read."""


class DataError(CaptionerError):
    """Captions or datasets that cannot be used as they are."""


class SpecError(CaptionerError, ValueError):
    """A spec string, name or option that is not known."""


class ModelError(CaptionerError):
    """A model that cannot be built, or weights or a vocabulary that do not fit it."""


class BundleError(CaptionerError):
    """A model folder that is missing, foreign, damaged, or in the way."""


class EngineError(CaptionerError):
    """An engine that cannot run the model."""


class MissingDependency(CaptionerError, ImportError):
    """An optional package is not installed.

    Args:
        package: str. The import name that failed.
        extra: str. The extra of captioner that brings it.
        purpose: str. What it was needed for.
    """

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: "
            f"run `pip install 'captioner[{extra}]'`"
        )


def in_command_line_words(message: str) -> str:
    """A message about Python arguments, reworded for the command line.

    Example:
        >>> in_command_line_words("dogs holds a model: pass overwrite=True to replace it")
        'dogs holds a model: add --overwrite to replace it'
    """
    for python, command in _REMEDIES:
        message = re.sub(python, command, message)
    return message
