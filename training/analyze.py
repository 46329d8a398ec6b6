"""Analyses of models, runs and metrics: `python training/analyze.py COMMAND`."""

from __future__ import annotations

import sys

from captioner.cli.parser import Parser, add_commands
from captioner.programs import program

# Each command is a module of `training.analysis` with `arguments(parser)` and `run(options)`.
COMMANDS = {
    "biases": "count what captions confuse and presume: sexes, animals, numbers, colours",
    "gradients": "draw the gradient norms of runs, or of freshly built cells, side by side",
    "human_agreement": "measure how far metrics agree with people's ratings",
    "metric_agreement": "measure how far our metrics are from pycocoevalcap",
    "report": "write a page of curves, settings and captions of one run or of several",
    "results": "write the table of results from finished runs",
    "throughput": "measure captions per second of training, and the share of the machine's peak",
}


def parser() -> Parser:
    """The command line."""
    build = Parser(
        prog="analyze.py",
        description=(__doc__ or "").split(":")[0] + ".",
        epilog="`python training/analyze.py COMMAND --help` says more.",
    )
    add_commands(build, "training.analysis", COMMANDS)
    return build


main = program(parser, lambda options: options.run(options))

if __name__ == "__main__":
    sys.exit(main())
