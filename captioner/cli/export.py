"""Exports a model folder for servers and devices: encoded images in, captions out.

saved_model gives a folder that TensorFlow Serving loads unchanged. It is written into the model folder, or into
--output-dir, under the next version number, so that a server which watches the folder loads it. Its search strategy is
fixed.

tflite gives one file for devices without TensorFlow, with its vocabulary: model.tflite, or a smaller one with
--to "tflite(quantize='int8', calibration='FOLDER')", FOLDER holding a few dozen images like those of its use.

The paths of the exported files are printed; progress on standard error.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from captioner import checks
from captioner.api import DEFAULT_MODEL, export, located
from captioner.cli.messages import print_error
from captioner.cli.parser import add_trust
from captioner.errors import SpecError
from captioner.registry import Spec, parse_spec


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", default=DEFAULT_MODEL, help="model folder (default: %(default)s)"
    )
    parser.add_argument(
        "--to",
        action="append",
        metavar="TARGET",
        help="target with its options: 'saved_model(batch_sizes=(1, 8, 32))', tflite, "
        "\"tflite(quantize='float16')\"; may be repeated; `captioner models` lists them all (default: saved_model)",
    )
    parser.add_argument(
        "--strategy",
        help="search strategy: greedy, 'beam(width=5, n_best=3)' ... (default: the model's; in a .tflite file without "
        "a reranker that needs fitted parameters)",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="T",
        help="largest number of ids of a caption, its end included (default: the model's)",
    )
    parser.add_argument("--output-dir", metavar="FOLDER", help="folder of the versions (default: MODEL)")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an existing .tflite file (versions are never replaced)",
    )
    add_trust(parser)


def run(options: argparse.Namespace) -> int:
    """Prints the path of everything written."""
    if options.max_length is not None:
        checks.integer(options.max_length, "--max-length", 2)
    targets = [parse_spec(target) for target in options.to or ["saved_model"]]
    if options.overwrite:
        targets = [_replacing(target) for target in targets]
    try:
        with _stages(quiet=options.quiet):
            paths = export(
                located(options.model),
                to=targets,
                strategy=options.strategy,
                max_length=options.max_length,
                output_dir=options.output_dir,
                trust=options.trust,
            )
    except SpecError as error:  # names the option of the command line
        raise SpecError(str(error).replace("max_length expects", "--max-length expects", 1)) from None
    for path in paths.values():
        print(path)
    return 0


def _replacing(target: Spec) -> Spec:
    """A `.tflite` target with `overwrite=True`; other targets unchanged, as a SavedModel is never replaced."""
    return Spec(target.name, {**target.args, "overwrite": True}) if target.name == "tflite" else target


@contextmanager
def _stages(quiet: bool) -> Iterator[None]:
    """Prints the stages that the library logs inside the block on standard error, with the elapsed seconds."""
    logger, start = logging.getLogger("captioner"), time.monotonic()

    class Stage(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            is_stage = record.levelno < logging.WARNING
            seconds = f"{time.monotonic() - start:.0f} s: " if is_stage else ""
            print_error(f"{seconds}{record.getMessage()}")

    handler, level, propagate = Stage(), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
