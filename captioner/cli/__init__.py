"""The command line: `captioner bench | caption | evaluate | export | models | show`.

Exit codes are in `captioner.cli.parser.EXIT_CODES`, and in every command's `--help`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from captioner.cli.parser import EXIT_CODES, Parser
from captioner.programs import run_program
from captioner.registry import unknown

# Each command is a module with `arguments(parser)`, `run(options) -> exit code`, and its help as docstring.
COMMANDS = {
    "bench": "measure size, start, latency and memory of models",
    "caption": "describe images in sentences",
    "evaluate": "score captions against references",
    "export": "export a model for TensorFlow Serving and TFLite",
    "models": "list the models here and the parts to build one from",
    "show": "show a model: its config, vocabulary, scores and card",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: sequence of str, default `sys.argv[1:]`.

    Returns:
        int, the exit code.
    """
    argv = list(sys.argv[1:] if argv is None else argv)

    def work() -> int:
        options = _parser(argv).parse_args(argv)
        return options.run(options)

    return run_program("captioner", work)


def _parser(argv: Sequence[str]) -> Parser:
    """The parser; only the command that `argv` names is imported, so that help comes at once."""
    parser = Parser(
        prog="captioner",
        description="Captions for your own images.",
        epilog=f"`captioner COMMAND --help` says more.\n\n{EXIT_CODES}",
    )
    parser.add_argument("--version", action=_Version, help="print the version and stop")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    wanted = next((argument for argument in argv if not argument.startswith("-")), None)
    if wanted is not None and wanted not in COMMANDS:
        parser.error(unknown("command", wanted, COMMANDS))
    for name, summary in COMMANDS.items():
        if name != wanted:
            commands.add_parser(name, help=summary)
            continue
        module = importlib.import_module(f"captioner.cli.{name}")
        command = commands.add_parser(name, help=summary, description=module.__doc__, epilog=EXIT_CODES)
        module.arguments(command)
        command.add_argument(
            "-q", "--quiet", action="store_true", help="print no progress and no notes; errors stay"
        )
        command.set_defaults(run=module.run)
    return parser


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None):
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from captioner.bundle import version

        print(f"captioner {version()}")
        parser.exit()
