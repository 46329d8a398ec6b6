"""The wrapper of all programs: start, one-line errors, signals and exit codes.

A file directly in `training/` or `serving/` is a program. It has `parser()` and `run(options)`, and ends with

    main = program(parser, run)

    if __name__ == "__main__":
        sys.exit(main())

Importing this module prepares a program that is run as a file (`python training/train.py`): the folder of the
repository replaces the program's folder on the import path. No TensorFlow here.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from captioner.errors import CaptionerError, in_command_line_words
from captioner.signals import stoppable

_REPOSITORY = Path(__file__).resolve().parents[1]
_FOLDERS = ("training", "serving")  # of programs


def program(
    parser: Callable[[], argparse.ArgumentParser],
    run: Callable[[argparse.Namespace], int | None],
    stopped: str = "stopped",
) -> Callable[..., int]:
    """Makes the `main` of a program, which parses the options and calls `run` inside `run_program`.

    Args:
        parser: function without arguments that returns the parser of the options. Error lines begin with its `prog`.
        run: function of the options that returns the exit code, or None for 0.
        stopped: str, default "stopped". See `run_program`.

    Returns:
        Function of the arguments (sequence of str, or None for those of the command line) that returns the exit code.

    Example:
        >>> from captioner.cli.parser import Parser
        >>> main = program(lambda: Parser(prog="example"), lambda options: None)
        >>> main([])
        0
    """

    def main(arguments: Sequence[str] | None = None) -> int:
        """Entry point; returns the exit code."""
        built = parser()
        return run_program(built.prog, lambda: run(built.parse_args(arguments)), stopped)

    return main


def training_program(name: str) -> Any:
    """Imports a program of the folder training/, which the library itself never imports.

    Args:
        name: str, such as "adapt".

    Returns:
        The module.

    Raises:
        CaptionerError: if this installation lacks the folder.
    """
    if not (_REPOSITORY / _FOLDERS[0] / f"{name}.py").is_file():
        raise CaptionerError(
            f"expected the folder {_FOLDERS[0]} beside the package captioner, {_REPOSITORY} has none: training needs a "
            "clone of the repository, with `pip install -e '.[train]'`"
        )
    if str(_REPOSITORY) not in sys.path:
        sys.path.append(str(_REPOSITORY))
    return importlib.import_module(f"{_FOLDERS[0]}.{name}")


def run_program(name: str, work: Callable[[], int | None], stopped: str = "stopped") -> int:
    """Runs a program; an error or a signal ends it with one line on standard error, never with a traceback.

    Args:
        name: str. The beginning of the line, such as "train.py".
        work: function without arguments that returns the exit code, or None for 0.
        stopped: str, default "stopped". The message after Ctrl-C or SIGTERM, which may say how to resume.

    Returns:
        int, the exit code: that of `work`; `CaptionerError.exit_code` after an error, 2 if a file could not be read
        or written; 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP; 0 when the reader of the output (`head`,
        `less`) has closed the pipe.

    Example:
        >>> run_program("example", lambda: None)
        0
    """
    try:
        with stoppable():
            code = work()
            print(end="", flush=True)  # does nothing without a standard output
            return code or 0
    except CaptionerError as error:
        _print_error(f"{name}: {' '.join(in_command_line_words(str(error)).split())}")
        return error.exit_code
    except KeyboardInterrupt as stop:
        # The terminal may show ^C or half a progress bar on the current line.
        _print_error(f"{chr(10) if sys.stderr.isatty() else ''}{name}: {stopped}")
        return getattr(stop, "exit_code", 130)
    except BrokenPipeError:
        # Else Python's flush at exit would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _print_error(f"{name}: cannot read or write{where}: {error.strerror or error}")
        return 2


def _print_error(line: str) -> None:
    """Prints a line on standard error, unless that is closed."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _prepare_script() -> None:
    """Prepares a program of this repository that is run as a file.

    Raises:
        SystemExit: if the program is in another copy of the repository than the imported `captioner`.
    """
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    folder = Path(file).resolve().parent if file else None
    if (
        folder is None
        or folder.name not in _FOLDERS
        or not (folder.parent / "captioner/programs.py").exists()
    ):
        return
    name, repository = Path(str(file)).name, folder.parent
    if repository != _REPOSITORY:
        _print_error(
            f"{name}: expected the package captioner of {repository}, got the one of {_REPOSITORY}; "
            f"run `pip install -e .` in {repository}"
        )
        raise SystemExit(2)
    if sys.path and Path(sys.path[0]).resolve() == folder:
        sys.path[0] = str(repository)

    def report_interrupt(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """Prints one line for Ctrl-C during the imports, before `run_program` is called."""
        if issubclass(kind, KeyboardInterrupt):
            _print_error(f"{name}: stopped")
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = report_interrupt


_prepare_script()
