"""The wrapper of every program: start, one-line errors, signals and exit codes.

A file directly in `training/` or `serving/` is a program. It has `parser()` and `run(options)`, and ends with

    main = program(parser, run)

    if __name__ == "__main__":
        sys.exit(main())

Importing this module prepares a program that is run as a file (`python training/train.py`): the folder of the
repository takes the place of the program's own folder on the import path. No TensorFlow here.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from captioner.errors import CaptionerError, in_command_line_words
from captioner.signals import stoppable

_REPOSITORY = Path(__file__).resolve().parents[1]
_FOLDERS = ("training", "serving")  # of programs


def program(
    parser: Callable[[], argparse.ArgumentParser],
    run: Callable[[argparse.Namespace], int | None],
    stopped: str = "stopped",
) -> Callable[..., int]:
    """The `main` of a program: reads the options and runs it inside `run_program`.

    Args:
        parser: function without arguments that returns the parser of the options. Its `prog` begins every error line.
        run: function of the options that returns the exit code, or None for 0.
        stopped: str, default "stopped". See `run_program`.

    Returns:
        Function of the arguments (sequence of str, or None for those of the command line) that returns the exit code.

    Example:
        >>> main = program(lambda: argparse.ArgumentParser(prog="example"), lambda options: None)
        >>> main([])
        0
    """

    def main(arguments: Sequence[str] | None = None) -> int:
        """Entry point; returns the exit code."""
        built = parser()
        return run_program(built.prog, lambda: run(built.parse_args(arguments)), stopped)

    return main


def run_program(name: str, work: Callable[[], int | None], stopped: str = "stopped") -> int:
    """Runs a program; an error or a signal ends it with one line on standard error, never with a traceback.

    Args:
        name: str. What the line begins with, such as "train.py".
        work: function without arguments that returns the exit code, or None for 0.
        stopped: str, default "stopped". What the line says when the program is asked to stop, such as how to go on.

    Returns:
        int, the exit code: what `work` returned; `CaptionerError.exit_code` after an error, 2 if a file could not be
        read or written; 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP; 0 when the reader of the output
        (`head`, `less`) has had enough.

    Example:
        >>> run_program("example", lambda: None)
        0
    """
    try:
        with stoppable():
            code = work()
            print(end="", flush=True)  # where there is a standard output
            return code or 0
    except CaptionerError as error:
        _print_error(f"{name}: {' '.join(in_command_line_words(str(error)).split())}")
        return error.exit_code
    except KeyboardInterrupt as stop:
        # The terminal shows ^C, or half a progress bar, on the line so far.
        _print_error(f"{chr(10) if sys.stderr.isatty() else ''}{name}: {stopped}")
        return getattr(stop, "exit_code", 130)
    except BrokenPipeError:
        # Python's own flush at the exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _print_error(f"{name}: cannot read or write{where}: {error.strerror or error}")
        return 2


def _print_error(line: str) -> None:
    """Prints a line on standard error, unless that is closed (a terminal that is gone)."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _prepare_script() -> None:
    """Prepares the program that is run as a file, if it is one of this repository's.

    Raises:
        SystemExit: if the program lies in another copy of the repository, whose `captioner` is not the one imported.
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

    def until_it_runs(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Ctrl-C while modules are still being imported ends in a line as well."""
        if issubclass(kind, KeyboardInterrupt):
            _print_error(f"{name}: stopped")
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = until_it_runs


_prepare_script()
