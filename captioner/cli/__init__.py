"""The command line: `captioner adapt | bench | caption | evaluate | export | models | show`.

Exit codes are in `captioner.cli.parser.EXIT_CODES`, and in every command's `--help`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from captioner.cli.parser import EXIT_CODES, Parser, add_commands
from captioner.programs import program

# Each command is a module with `arguments(parser)`, `run(options) -> exit code`, and its help as docstring.
COMMANDS = {
    "adapt": "adapt a model to your own images and captions",
    "bench": "measure size, start, latency and memory of models",
    "caption": "describe images in sentences",
    "evaluate": "score captions against references",
    "export": "export a model for TensorFlow Serving and TFLite",
    "models": "list the models here and the parts to build one from",
    "show": "show a model: its config, vocabulary, scores and card",
}


def parser() -> Parser:
    """The command line."""
    build = Parser(
        prog="captioner",
        description="Captions for your own images.",
        epilog=f"`captioner COMMAND --help` says more.\n\n{EXIT_CODES}",
    )
    build.add_argument("--version", action=_Version, help="print the version and stop")
    for command in add_commands(build, "captioner.cli", COMMANDS, EXIT_CODES):
        command.add_argument(
            "-q", "--quiet", action="store_true", help="print no progress and no notes; errors stay"
        )
    return build


main = program(parser, lambda options: options.run(options))


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None):
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from captioner.bundle import version

        print(f"captioner {version()}")
        parser.exit()
