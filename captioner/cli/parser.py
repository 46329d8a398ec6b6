"""Command-line parsing for every program, with one wording for mistakes."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from captioner.registry import unknown

EXIT_CODES = """\
exit codes:
  0    fine
  1    some of several failed; a line on standard error for each says why
  2    nothing could be done, and one line on standard error says why
  129  stopped: the terminal was closed
  130  stopped by Ctrl-C
  143  stopped by SIGTERM"""


class Parser(argparse.ArgumentParser):
    """Argument parser: keeps the line breaks of descriptions and reports a mistake in one line.

    Takes the arguments of `argparse.ArgumentParser`. Options of `type=int` and `type=float` report the expected type;
    programs check their ranges by `captioner.checks`. Parsing also prepares the output: characters that the terminal's
    encoding lacks are escaped instead of ending the program, and with an option `--json` the output is UTF-8 in every
    environment.

    Example:
        >>> parser = Parser(prog="train.py")
        >>> _ = parser.add_argument("--epochs", type=int)
        >>> parser.parse_args(["--epochs", "3"]).epochs
        3
    """

    def __init__(self, *args: Any, **settings: Any):
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **settings)
        self.register("type", int, _whole_number)
        self.register("type", float, _number)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """See `argparse.ArgumentParser`; an unknown option is refused before a missing argument is."""
        args = list(sys.argv[1:] if args is None else args)
        ready_output()
        known = [option for option in self._option_string_actions if option.startswith("--")]
        for name in self._unknown_options(args):
            self.error(unknown("option", name, known))
        options, extra = super().parse_known_args(args, namespace)
        if extra and extra[0].startswith("-"):
            self.error(unknown("option", extra[0], known))
        if extra:
            self.error(f"expected nothing more, got {extra[0]!r}")
        if getattr(options, "json", False) is True:
            ready_output(encoding="utf-8")
        return options, extra

    def _unknown_options(self, args: Sequence[str]) -> list[str]:
        names = []
        for argument in args:
            # What comes behind a command is for that command's own parser.
            if argument == "--" or (self._subparsers and not argument.startswith("-")):
                break
            name = argument.partition("=")[0]
            is_option = name.startswith("--") and " " not in argument
            if is_option and not any(known.startswith(name) for known in self._option_string_actions):
                names.append(name)
        return names

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, _Commands) and value not in action.choices:
            self.error(unknown("command", value, action.choices))
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        """Exits with one line: the mistake, the usage, and where to find help."""
        optional = r" \[-(?:[^\[\]]|\[(?:[^\[\]]|\[[^\[\]]*\])*\])*\]"
        usage = re.sub(optional, "", " ".join(self.format_usage().split()))
        usage = usage.replace(self.prog, f"{self.prog} [options]", 1)
        message = re.sub(r"^argument (\S+): expects", r"\1 expects", message)  # as `captioner.checks` says it
        message = re.sub(
            r"^argument (\S+): ignored explicit argument (.*)", r"\1 takes no value, got \2", message
        )
        message = re.sub(r"^argument (\S+): expected one argument", r"\1 expects a value, got none", message)
        self.exit(2, f"{self.prog.split()[0]}: {message}; {usage}; see {self.prog} --help\n")


class _Commands(argparse._SubParsersAction):
    """The commands of a program; only the module of the command that is called is imported, so help comes at once."""

    package = ""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        command: Any = self.choices[values[0]]
        module = importlib.import_module(f"{self.package}.{values[0]}")
        command.description = module.__doc__
        module.arguments(command)
        command.set_defaults(run=module.run)
        super().__call__(parser, namespace, values, option_string)


def add_commands(
    parser: Parser, package: str, commands: Mapping[str, str], epilog: str | None = None
) -> list[Parser]:
    """Declares the commands of a program, each a module of a package with `arguments(parser)` and `run(options)`.

    The options that the parser returns then hold the command's `run`.

    Args:
        parser: Parser of the program.
        package: str. Dotted name of the package.
        commands: mapping of the name of the command, which is that of its module, to its help in one line.
        epilog: str, default None. The end of every command's help; its beginning is the docstring of the module.

    Returns:
        list of Parser, one a command.

    Example:
        >>> parser = Parser(prog="captioner")
        >>> _ = add_commands(parser, "captioner.cli", {"models": "list the models"})
        >>> parser.parse_args(["models"]).run.__module__
        'captioner.cli.models'
    """
    added: Any = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, action=_Commands)
    added.package = package
    return [added.add_parser(name, help=summary, epilog=epilog) for name, summary in commands.items()]


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Declares `--trust`, for commands that open a model."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PKG",
        help="a package of your own that the model's file may name parts of; they are imported, and run: only for "
        "models from people whom you trust; may be repeated",
    )


def ready_output(encoding: str | None = None) -> None:
    r"""Makes standard output and error accept any text: unencodable characters are written as \u1234.

    A file name that is not UTF-8 holds lone surrogates, which no encoding has; as \udc85 they are right in JSON, too.

    Args:
        encoding: str, default None, which is the environment's. Of standard output.
    """
    # Closed before the program began (`2>&-`): else the next file to be opened gets its number, and what is said.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream, wanted in ((sys.stdout, encoding), (sys.stderr, None)):
        if hasattr(stream, "reconfigure"):  # not of a stream that somebody has put in its place
            stream.reconfigure(encoding=wanted, errors="backslashreplace")


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expects a whole number, got {text!r}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expects a number, got {text!r}") from None
