"""What can go wrong, as one tree.

    CaptionerError
    ├── ImageError            a picture that cannot be read: missing, truncated, of a kind we do not decode
    ├── DataError             captions or datasets: wrong columns, absent images, empty captions
    ├── SpecError             a spec string, name or option that no table knows (also a ValueError)
    ├── ModelError            a model that cannot be built, or weights and vocabulary that do not fit it
    ├── BundleError           a model folder that is missing, foreign, damaged, or would be overwritten
    ├── EngineError           the thing that runs the model cannot: away, too old, asked for what it lacks
    └── MissingDependency     an optional package is not installed (also an ImportError)

Every message is one line: what was expected, what came, what to do. Programs print it and exit with
`CaptionerError.exit_code`; they never show a traceback for one of these. What to do may be called otherwise on the
command line (`--overwrite`) than in Python (`overwrite=True`): such an error carries both, and
`captioner.signals.run_program` prints the former.
"""

from __future__ import annotations


class CaptionerError(Exception):
    """Base of every error that captioner raises on purpose.

    Args:
        *args: the message, in words of Python.
        command_line: str, default None, which is the same message. It in words of the command line.

    Example:
        >>> error = CaptionerError("pass overwrite=True", command_line="add --overwrite")
        >>> str(error), error.command_line
        ('pass overwrite=True', 'add --overwrite')
    """

    exit_code = 2

    def __init__(self, *args: object, command_line: str | None = None):
        super().__init__(*args)
        self._command_line = command_line

    @property
    def command_line(self) -> str:
        """The message in words of the command line."""
        return str(self) if self._command_line is None else self._command_line


class ImageError(CaptionerError):
    """A picture that cannot be read."""


class DataError(CaptionerError):
    """Captions or datasets that cannot be used as they are."""


class SpecError(CaptionerError, ValueError):
    """A spec string, name or option that is not known."""


class ModelError(CaptionerError):
    """A model that cannot be built, or weights or a vocabulary that do not fit it."""


class BundleError(CaptionerError):
    """A model folder that is missing, foreign, damaged, or in the way."""


class EngineError(CaptionerError):
    """The engine that should run the model cannot."""


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
