"""Measures what decoding costs: how much longer the whole graph takes than its encoder alone.

The search runs inside the graph over all of its steps: weights are random, and no caption may end before. Both
graphs are run in turn on the same images, so compare the ratios of one run; on a busy machine those of processor
time are more reliable than those of wall-clock time.
"""

from __future__ import annotations

from captioner.programs import program  # first: it sets the import path

# isort: split
import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from captioner import checks
from captioner.cli.parser import Parser
from captioner.engines import import_tensorflow
from captioner.engines.base import DEFAULT_STRATEGY
from captioner.text import Tokenizer
from captioner.types import END

Graph = Callable[[Any], Any]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="decoding_cost.py", description=__doc__)
    build.add_argument("--encoder", nargs="+", default=["densenet169"], help="default: %(default)s")
    build.add_argument("--decoder", default="lstm(units=512)", help="default: %(default)s")
    build.add_argument("--strategy", default=DEFAULT_STRATEGY, help="default: %(default)s")
    build.add_argument("--vocabulary", type=int, default=3000, metavar="V", help="default: %(default)s")
    build.add_argument("--steps", type=int, default=20, metavar="T", help="default: %(default)s")
    build.add_argument("--batch", type=int, nargs="+", default=[1, 32], metavar="B", help="default: 1 32")
    build.add_argument("--runs", type=int, default=5, help="of each graph, after one (default: %(default)s)")
    return build


def run(options: argparse.Namespace) -> None:
    """Measures, and prints a line for each encoder and batch size.

    Raises:
        CaptionerError: if an option is out of range, or names no such part.
    """
    checks.integer(options.vocabulary, "--vocabulary", 5)  # four ids have meanings of their own
    checks.integer(options.steps, "--steps", 2)
    checks.integer(options.runs, "--runs", 1)
    for batch in options.batch:
        checks.integer(batch, "--batch", 1)
    import_tensorflow("measuring a model")
    print("encoder             B   encoder s   total s   added (clock)   added (processor)")
    for encoder in options.encoder:
        encode, caption = graphs(encoder, options)
        for batch in options.batch:
            wall, processor = measure(encode, caption, batch, options.runs)
            print(
                f"{encoder:<17}{batch:>4}{wall[0]:>12.3f}{wall[1]:>10.3f}"
                f"{wall[1] / wall[0] - 1:>15.0%}{processor[1] / processor[0] - 1:>20.0%}",
                flush=True,
            )


def graphs(encoder: str, options: argparse.Namespace) -> tuple[Graph, Graph]:
    """The encoder alone, and the encoder with the search behind it."""
    import tensorflow as tf

    from captioner.decoding import generate
    from captioner.models import CaptionModel

    tokenizer = Tokenizer([f"word{i}" for i in range(options.vocabulary - 4)])
    model = CaptionModel(encoder, options.decoder, tokenizer, max_length=options.steps)
    bias = model.decoder.logits.bias
    bias.assign(bias - 1e4 * np.eye(options.vocabulary)[END])
    pixels = [tf.TensorSpec([None, *model.image_size, 3], tf.float32)]
    encode = tf.function(model.encode, input_signature=pixels, autograph=False)

    def caption(images: Any) -> Any:
        return generate(model, model.encode(images), options.strategy, options.steps, tokenizer)

    return encode, tf.function(caption, input_signature=pixels, autograph=False)


def measure(encode: Graph, caption: Graph, batch: int, runs: int) -> tuple[list[float], list[float]]:
    """The median time of both graphs, which are run in turn.

    Args:
        encode, caption: callables of images, float32 [B, 224, 224, 3].
        batch: int. B.
        runs: int. Runs of each graph that count; one before them, which compiles it, does not.

    Returns:
        (wall-clock seconds, processor seconds), each [encode, caption].
    """
    import tensorflow as tf

    pixels = tf.constant(np.random.default_rng(0).uniform(0, 255, (batch, 224, 224, 3)).astype(np.float32))
    wall: tuple[list[float], list[float]] = ([], [])
    processor: tuple[list[float], list[float]] = ([], [])
    for iteration in range(runs + 1):
        for index, graph in enumerate((encode, caption)):
            wall_start, processor_start = time.perf_counter(), time.process_time()
            tf.nest.map_structure(lambda tensor: tensor.numpy(), graph(pixels))
            if iteration:
                wall[index].append(time.perf_counter() - wall_start)
                processor[index].append(time.process_time() - processor_start)
    return [statistics.median(times) for times in wall], [statistics.median(times) for times in processor]


main = program(parser, run)

if __name__ == "__main__":
    sys.exit(main())
