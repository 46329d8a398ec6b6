"""Measures what models cost on this machine, each in processes of its own.

For a model folder that is the bundle itself, its newest SavedModel and its .tflite files, side by side; other
models, as `captioner caption` takes them, may be named too.

  size     on disk, in MB (10^6 bytes)
  start    seconds from the start of a process to its first sentence
  held     most memory that a process has held by then, in MB
  min, median, p95
           milliseconds from an encoded picture to its sentence, one at a time, once warm
  peak     most memory in the end, in MB
  speed    how many times as fast as the first row, by the median
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from captioner import benchmark
from captioner.api import DEFAULT_MODEL, located
from captioner.errors import CaptionerError, EngineError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "models",
        metavar="MODEL",
        nargs="*",
        default=[DEFAULT_MODEL],
        help="model folder, exported version, .tflite file or address (default: %(default)s)",
    )
    parser.add_argument(
        "--pictures",
        nargs="+",
        metavar="IMG",
        default=[],
        help="captioned in turn: pictures, folders, patterns (default: one of 640 x 480 that is drawn)",
    )
    parser.add_argument("--strategy", help="how words are chosen (default: each model's own)")
    parser.add_argument(
        "--rounds",
        type=int,
        default=30,
        metavar="N",
        help="pictures captioned by each process once warm (default: %(default)s)",
    )
    parser.add_argument(
        "--starts", type=int, default=3, metavar="N", help="processes for each model (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="for arithmetic (default: one a core)")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each model")


def run(options: argparse.Namespace) -> int:
    """Prints a row for each model; 1 if some could not be measured."""
    sources = [source for given in options.models for source in benchmark.variants(located(given))]
    with tempfile.TemporaryDirectory() as place:
        pictures = _pictures(options.pictures, Path(place))
        if not options.json:
            print(
                f"{'size':>8}{'start':>8}{'held':>7}{'min':>9}{'median':>9}{'p95':>9}{'peak':>7}{'speed':>8}  model"
            )
        first: float | None = None
        failed: list[CaptionerError] = []
        for source in sources:
            try:
                cost = benchmark.cost(
                    source, pictures, options.strategy, options.rounds, options.starts, options.threads
                )
            except CaptionerError as error:
                print(f"captioner: {error}", file=sys.stderr)
                failed.append(error)
                continue
            first = first or cost.latency()
            print(_json(cost) if options.json else _row(cost, first), flush=True)
    if len(failed) == len(sources):
        raise EngineError("none of these models could be measured; see above")
    return 1 if failed else 0


def _pictures(given: list[str], place: Path) -> list[str]:
    """Paths of the pictures to caption."""
    if given:
        from captioner.cli.caption import pictures

        return [path for each in given for path in pictures(each)]
    from captioner.pixels import drawn

    path = place / "drawn.jpg"
    path.write_bytes(drawn((480, 640)))
    return [str(path)]


def _row(cost: benchmark.Cost, first: float) -> str:
    def held(megabytes: float | None, digits: int = 0) -> str:
        return "?" if megabytes is None else f"{megabytes:.{digits}f}"

    low, median, high = (1e3 * cost.latency(share) for share in (0.0, 0.5, 0.95))
    return (
        f"{held(cost.megabytes, 1):>8}{cost.first:>8.2f}{held(cost.first_memory):>7}"
        f"{low:>9.1f}{median:>9.1f}{high:>9.1f}{held(cost.memory):>7}{first / cost.latency():>7.1f}x  {cost.source}"
    )


def _json(cost: benchmark.Cost) -> str:
    return json.dumps({**asdict(cost), "median": cost.latency(), "p95": cost.latency(0.95)})
