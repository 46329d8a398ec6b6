"""What choosing words costs beside looking: how much longer the whole graph takes than its encoder alone.

The search runs inside the graph over all of its steps: weights are random, and no caption may end before. Both
graphs take turns on the same images, so the figures to keep are the ratios of one run; on a busy machine those
of processor time say more than those of the clock.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

if __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from captioner import checks
from captioner.cli.parser import Parser
from captioner.engines import import_tensorflow
from captioner.engines.base import DEFAULT_STRATEGY
from captioner.programs import run_program
from captioner.text import Tokenizer
from captioner.types import END


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="decoding_cost.py", description=__doc__)
    build.add_argument("--encoder", nargs="+", default=["densenet169"], help="default: %(default)s")
    build.add_argument("--decoder", default="lstm(units=512)", help="default: %(default)s")
    build.add_argument("--strategy", default=DEFAULT_STRATEGY, help="default: %(default)s")
    build.add_argument("--vocabulary", type=int, default=3000, metavar="V", help="default: %(default)s")
    build.add_argument("--steps", type=int, default=20, metavar="T", help="default: %(default)s")
    build.add_argument("--batch", type=int, nargs="+", default=[1, 32], metavar="N", help="default: 1 32")
    build.add_argument("--runs", type=int, default=5, help="of each graph, after one (default: %(default)s)")
    return build


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints a line for each encoder and batch size."""
    options = parser().parse_args(argv)
    return run_program("decoding_cost.py", lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Measures what the options ask for.

    Raises:
        CaptionerError: if an option is out of range, or names no such part.
    """
    checks.integer(options.vocabulary, "--vocabulary", 5)  # four ids have meanings of their own
    checks.integer(options.steps, "--steps", 2)
    checks.integer(options.runs, "--runs", 1)
    for batch in options.batch:
        checks.integer(batch, "--batch", 1)
    import_tensorflow("measuring a model")
    print("encoder             N   encoder s   whole s   added (clock)   added (processor)")
    for encoder in options.encoder:
        look, say = graphs(encoder, options)
        for batch in options.batch:
            spent = measure(look, say, batch, options.runs)
            clock, processor = ([statistics.median(s[i] for s in spent[k]) for k in (0, 1)] for i in (0, 1))
            print(
                f"{encoder:<17}{batch:>4}{clock[0]:>12.3f}{clock[1]:>10.3f}"
                f"{clock[1] / clock[0] - 1:>15.0%}{processor[1] / processor[0] - 1:>20.0%}",
                flush=True,
            )
    return 0


def graphs(encoder: str, options: argparse.Namespace) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """The encoder alone, and the encoder with the search behind it."""
    import tensorflow as tf

    from captioner.decoding import generate
    from captioner.models import CaptionModel

    words = Tokenizer([f"word{i}" for i in range(options.vocabulary - 4)])
    model = CaptionModel(encoder, options.decoder, words, max_length=options.steps)
    bias = model.decoder.logits.bias
    bias.assign(bias - 1e4 * np.eye(options.vocabulary)[END])
    pixels = [tf.TensorSpec([None, *model.image_size, 3], tf.float32)]
    look = tf.function(model.encode, input_signature=pixels, autograph=False)

    def search(images: Any) -> Any:
        return generate(model, model.encode(images), options.strategy, options.steps, words)

    return look, tf.function(search, input_signature=pixels, autograph=False)


def measure(
    look: Callable[[Any], Any], say: Callable[[Any], Any], batch: int, runs: int
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Seconds by the clock and of the processor for each run of both graphs, which take turns."""
    import tensorflow as tf

    pixels = tf.constant(np.random.default_rng(0).uniform(0, 255, (batch, 224, 224, 3)).astype(np.float32))
    spent: tuple[list, list] = ([], [])
    for turn in range(runs + 1):
        for graph, times in zip((look, say), spent, strict=True):
            clock, processor = time.perf_counter(), time.process_time()
            tf.nest.map_structure(lambda tensor: tensor.numpy(), graph(pixels))
            if turn:  # the first one also compiles
                times.append((time.perf_counter() - clock, time.process_time() - processor))
    return spent


if __name__ == "__main__":
    sys.exit(main())
