"""Turns a model folder into what other programs run: pictures in, sentences out.

saved_model gives a folder that TensorFlow Serving takes as it is. It goes into the model folder, or into --into,
under the next number, so that a server which watches the folder picks it up by itself. How words are chosen is
fixed from then on.

tflite gives one file for devices without TensorFlow, vocabulary and all: model.tflite, or smaller with
--to "tflite(quantize='int8', calibration='FOLDER')", FOLDER holding a few dozen pictures like those to come.
"""

from __future__ import annotations

import argparse

from captioner.api import DEFAULT_MODEL, export, located


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", default=DEFAULT_MODEL, help="model folder (default: %(default)s)"
    )
    parser.add_argument(
        "--to",
        action="append",
        metavar="TARGET",
        help="what to make, with its options: 'saved_model(batch_sizes=(1, 8, 32))', tflite, "
        "\"tflite(quantize='float16')\"; may be repeated; `captioner models` lists them all (default: saved_model)",
    )
    parser.add_argument(
        "--strategy",
        help="how words are chosen: greedy, 'beam(width=5, n_best=3)' ... (default: beam(width=3))",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="T",
        help="most words of a caption, counting its end (default: the model's)",
    )
    parser.add_argument("--into", metavar="FOLDER", help="where the versions stand (default: MODEL)")


def run(options: argparse.Namespace) -> int:
    """Prints the path of everything written."""
    made = export(
        located(options.model),
        to=options.to or ["saved_model"],
        strategy=options.strategy,
        max_length=options.max_length,
        into=options.into,
    )
    for path in made.values():
        print(path)
    return 0
