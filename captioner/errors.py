"""The exception tree.

    CaptionerError
    ├── ImageError            an image that cannot be read: missing, truncated, of an unsupported format
    ├── DataError             captions or datasets: wrong columns, missing images, empty captions
    ├── SpecError             an unknown spec string, name or option, or a value out of range (also a ValueError)
    ├── ModelError            a model that cannot be built, or weights and vocabulary that do not fit it
    ├── BundleError           a model folder that is missing, not captioner's, damaged, or would be overwritten
    ├── EngineError           an engine that cannot run the model: unreachable, too old, without a feature
    └── MissingDependency     an optional package is not installed (also an ImportError)

Every message is one line, "expected X, got Y; do Z". Programs print it and exit with `CaptionerError.exit_code`; they
never show a traceback for one of these. Messages name arguments of Python, as "pass NAME=VALUE"; programs print them
`in_command_line_words`.
"""

from __future__ import annotations

import re

# Remedies in messages, as arguments in Python and as options of the command line.
_REMEDIES = (
    (r"\bpass overwrite=True(?: \(--overwrite\))?", "add --overwrite"),
    (r"\bsay \w+\(overwrite=True\)", "add --overwrite"),
    (r"\bpass trust=\([\"']([\w.]+)[\"'],\)", r"add --trust \1"),
)


class CaptionerError(Exception):
    """Base class of all errors of captioner."""

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
    """A model folder that is missing, not captioner's, damaged, or would be overwritten."""


class EngineError(CaptionerError):
    """An engine that cannot run the model."""


class MissingDependency(CaptionerError, ImportError):
    """An optional package is not installed.

    Args:
        package: str. The import name that failed.
        extra: str. The extra of captioner that installs it.
        purpose: str. The task that needs it.
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
