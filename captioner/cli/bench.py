"""Measures size, start, latency and memory of models on this machine, each in separate processes.

A model folder stands for its bundle, its newest SavedModel and its .tflite files. Other models can be named as for
`captioner caption`.

  size     on disk, in MB (10^6 bytes)
  start    seconds from the start of a process to its first caption
  rss      peak memory until the first caption, in MB
  min, median, p95
           milliseconds from an encoded image to its caption, one at a time, after the warm-up
  peak     peak memory at the end, in MB
  speed    relative to the first row, by the median
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

from captioner import benchmark, checks
from captioner.api import DEFAULT_MODEL, located
from captioner.cli.image_files import image_files
from captioner.cli.messages import print_error, print_note
from captioner.cli.parser import add_trust
from captioner.errors import CaptionerError, EngineError, ImageError
from captioner.image import loading


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "models",
        metavar="MODEL",
        nargs="*",
        default=[DEFAULT_MODEL],
        help=f"model folder, exported version, .tflite file or address (default: {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="IMG",
        default=[],
        help="images to caption in turn: files, folders, patterns (default: one drawn image of 640 x 480)",
    )
    parser.add_argument("--recursive", action="store_true", help="search sub-folders as well")
    parser.add_argument("--strategy", help="search strategy (default: the model's)")
    parser.add_argument(
        "--iterations",
        type=int,
        default=30,
        metavar="N",
        help="images captioned by each process after the warm-up (default: %(default)s)",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=3,
        metavar="N",
        help="processes for each model (default: %(default)s)",
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads for arithmetic (default: one a core)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object for each model")
    add_trust(parser)


def run(options: argparse.Namespace) -> int:
    """Prints a row for each model; 1 if some could not be measured."""
    for name in ("iterations", "processes"):
        checks.integer(getattr(options, name), f"--{name}", 1)
    if options.threads is not None:
        checks.integer(options.threads, "--threads", 1, os.cpu_count() or 1)
    sources = [source for model in options.models for source in benchmark.variants(located(model))]
    failed: list[CaptionerError] = []
    with tempfile.TemporaryDirectory() as scratch:
        images = _images(options, Path(scratch), failed)
        if not options.json:
            print(
                f"{'size':>8}{'start':>8}{'rss':>7}{'min':>9}{'median':>9}{'p95':>9}{'peak':>7}{'speed':>8}  model"
            )
        first: float | None = None
        missing: list[str] = []
        for source in sources:
            try:
                cost = benchmark.cost(
                    source,
                    images,
                    options.strategy,
                    options.iterations,
                    options.processes,
                    options.threads,
                    options.trust,
                )
            except CaptionerError as error:
                print_error(str(error))
                missing.append(source)
                continue
            first = first or cost.latency()
            print(_json(cost) if options.json else _row(cost, first), flush=True)
    if len(missing) == len(sources):
        raise EngineError("none of these models could be measured; see above")
    if missing:
        print_error(f"{len(sources) - len(missing)} of {len(sources)} models measured, {len(missing)} failed")
    return 1 if missing or failed else 0


def _images(options: argparse.Namespace, scratch: Path, failed: list[CaptionerError]) -> list[str]:
    """Paths of the images to caption, as many as are needed; unreadable ones are reported and counted."""
    if not options.images:
        from captioner.image.pillow_preprocess import drawn

        example = scratch / "drawn.jpg"
        example.write_bytes(drawn((480, 640)))
        return [str(example)]
    files = image_files(options.images, options.recursive)
    for line in files.notes():
        print_note(options, line)
    failed += [ImageError(error) for error in files.errors]
    paths: list[str] = []
    for path in files.paths:
        try:
            loading.to_bytes(path)
            paths.append(path)
        except ImageError as error:
            failed.append(error)
        if len(paths) == max(options.iterations, benchmark.WARM_UP):
            break
    for failure in failed:
        print_error(str(failure))
    if not paths:
        raise ImageError("none of these images can be read; see above")
    return paths


def _row(cost: benchmark.Cost, first: float) -> str:
    def shown(megabytes: float | None, digits: int = 0) -> str:
        return "?" if megabytes is None else f"{megabytes:.{digits}f}"

    low, median, high = (1e3 * cost.latency(quantile) for quantile in (0.0, 0.5, 0.95))
    return (
        f"{shown(cost.megabytes, 1):>8}{cost.first:>8.2f}{shown(cost.first_memory):>7}"
        f"{low:>9.1f}{median:>9.1f}{high:>9.1f}{shown(cost.memory):>7}{first / cost.latency():>7.1f}x  {cost.source}"
    )


def _json(cost: benchmark.Cost) -> str:
    return json.dumps({**asdict(cost), "median": cost.latency(), "p95": cost.latency(0.95)})
