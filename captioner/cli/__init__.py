"""The command line: `captioner bench | caption | evaluate | export | models | show`.

Exit codes: 0 fine; 1 some of several pictures failed; 2 nothing could be done, and one line on standard error
says why; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from captioner.errors import CaptionerError

# Each command is a module with `arguments(parser)`, `run(options) -> exit code`, and its help as docstring.
COMMANDS = {
    "bench": "measure size, start, latency and memory of models side by side",
    "caption": "describe pictures in sentences",
    "evaluate": "score captions against references",
    "export": "turn a model into what TensorFlow Serving runs",
    "models": "list the models here and the parts to build one from",
    "show": "what a model is: its config, vocabulary, scores and card",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: sequence of str, default `sys.argv[1:]`.

    Returns:
        int, the exit code.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        options = _parser(argv).parse_args(argv)
        code = options.run(options)
        sys.stdout.flush()
        return code
    except CaptionerError as error:
        print(f"captioner: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("captioner: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (head, less) has had enough; Python's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the commands that `argv` mentions are imported, so that help comes at once."""
    parser = argparse.ArgumentParser(
        prog="captioner",
        description="Captions for your own pictures.",
        epilog="`captioner COMMAND --help` says more.",
    )
    parser.add_argument("--version", action=_Version, help="print the version and stop")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        if name not in argv:
            commands.add_parser(name, help=summary)
            continue
        module = importlib.import_module(f"captioner.cli.{name}")
        command = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.arguments(command)
        command.set_defaults(run=module.run)
    return parser


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None):
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from captioner.bundle import version

        print(f"captioner {version()}")
        parser.exit()
