"""Gradient norms of the last word's loss at each earlier state: whether gradients vanish or explode.

For every step t the norm of d loss(T) / d state(t) is recorded, over the cell's own states, averaged over a few
captions (Pascanu et al. 2013, section 2). A simple RNN's fall or rise exponentially with the distance T - t; gates
keep them level. Training writes a row a step and epoch into `gradients.csv`; this draws several runs in one image:

    python training/analyze.py gradients runs/flickr8k_gru runs/flickr8k_lstm --out gradients.png

or, without runs, builds small cells that differ in their kind alone and trains them on a copy task (`--compare`):

    python training/analyze.py gradients --compare 'simple_rnn*0.5' simple_rnn 'simple_rnn*3' gru lstm --out gradients
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner import atomic, checks
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import DataError, MissingDependency
from captioner.types import START
from training.loop.run_folder import GRADIENTS, METRICS, read_epochs, read_metrics, write_table

# epoch -> norms [T].
Curves = dict[int, np.ndarray]


def norms(model: Any, inputs: Any, captions: Sequence[Sequence[int]] | np.ndarray) -> np.ndarray:
    """Gradient norms of the last word's loss at each earlier state.

    Args:
        model: CaptionModel, or a `Decoder` when `inputs` are features.
        inputs: features [B, L, C], or pixels [B, H, W, 3].
        captions: B id sequences of one length T.

    Returns:
        float64 [T]: mean over captions of ||d loss(T) / d state(t)||, t = 0 (the state before the first word) to
        T - 1.
    """
    import keras
    import tensorflow as tf

    ids = np.asarray(captions, np.int32)
    words = np.concatenate([np.full((len(ids), 1), START, np.int32), ids], axis=1)
    inputs = tf.convert_to_tensor(inputs)
    features = model.encode(inputs) if inputs.shape.rank == 4 else inputs
    with tf.GradientTape() as tape:
        memory, state = model.start(features)
        states = [_leaves(state)]
        for t in range(ids.shape[1]):
            tape.watch(states[-1])
            output, _, state = model.step(tf.constant(words[:, t]), memory, state)
            states.append(_leaves(state))
        loss = keras.ops.sparse_categorical_crossentropy(ids[:, -1], model.head(output), from_logits=True)
    # A leaf of the state that no step changes is not recurrent, and would count the whole caption at t = 0.
    constant = {id(leaf) for leaf in states[0]} & {id(leaf) for leaf in states[1]}
    watched = [[leaf for leaf in leaves if id(leaf) not in constant] for leaves in states[:-1]]
    means = []
    for gradients in tape.gradient(loss, watched):
        squares = sum(
            tf.reduce_sum(tf.cast(tf.reshape(gradient, (len(ids), -1)), tf.float64) ** 2, axis=1)
            for gradient in gradients
            if gradient is not None
        )
        means.append(float(tf.reduce_mean(tf.sqrt(squares))))
    return np.array(means)


def _leaves(state: Any) -> list[Any]:
    """The float leaves of a state, each once (a state may name one tensor twice)."""
    import keras

    return list({id(leaf): leaf for leaf in keras.tree.flatten(state) if leaf.dtype.is_floating}.values())


def record(model: Any, inputs: Any, captions: Sequence[Sequence[int]], path: Path, epoch: int) -> None:
    """Adds one epoch's norms to a CSV with the columns epoch, step, norm (an epoch done again replaces its rows)."""
    before = read_epochs(path, "step", "norm") if path.is_file() else []
    now = enumerate(norms(model, inputs, captions))
    rows = [{"epoch": epoch, "step": step, "norm": f"{norm:.6e}"} for step, norm in now]
    write_table(path, [*(row for row in before if row["epoch"] < epoch), *rows])


def curves_of(run: Path) -> Curves:
    """The norms of a run's first epoch and of its best one, or of the last while the run is not finished.

    Raises:
        DataError: if the folder has no readable `gradients.csv`.
    """
    path = run / GRADIENTS
    if not path.is_file():
        raise DataError(
            f"expected a run with a gradients.csv, got {run}: train it, or try --compare without runs"
        )
    try:
        rows = [(row["epoch"], float(row["norm"])) for row in read_epochs(path, "step", "norm")]
        best = max(epoch for epoch, _ in rows)
        if (run / METRICS).is_file():
            best = read_metrics(run).get("epoch", best)
        first = min(epoch for epoch, _ in rows)
        curves = {
            number: np.array([norm for epoch, norm in rows if epoch == number]) for number in (first, best)
        }
        if not all(len(norms) for norms in curves.values()):
            raise ValueError(f"no epoch {best}")
        return curves
    except ValueError as error:
        raise DataError(
            f"expected the columns epoch, step, norm in {path}, got something else ({error})"
        ) from None


def draw(runs: dict[str, Curves], titles: Sequence[str], out: Path, note: str = "") -> None:
    """Draws norms over the distance from the loss, on a log scale: one panel for each title, one colour for each run.

    Args:
        runs: label to its curves; the first epoch's go to the first panel, the last one's to the second.
        titles: one or two titles.
        out: path of the image.
        note: str. A line under the image.
    """
    try:
        import matplotlib
    except ImportError:
        raise MissingDependency("matplotlib", "train", "drawing gradients") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1,
        len(titles),
        figsize=(5.6 * len(titles) + 0.4, 4.6),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for panel, (axis, title) in enumerate(zip(axes[0], titles, strict=True)):
        for number, (label, curves) in enumerate(runs.items()):
            norm = list(curves.values())[0 if panel == 0 else -1]
            distance = np.arange(len(norm), 0, -1)
            ends = f"{label}  ({norm[0] / max(norm[-1], 1e-300):.2g}x)"
            style = {
                "color": f"C{number}",
                "marker": "os^Dv<>p"[number % 8],
                "markersize": 3.5,
                "linewidth": 1.6,
            }
            axis.plot(distance, np.maximum(norm, 1e-30), label=ends, **style)
        axis.set(title=title, xlabel="words between the state and the loss", yscale="log")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(True, which="major", alpha=0.3)
        axis.legend(title="(farthest against nearest)", fontsize=9, title_fontsize=8, framealpha=0.9)
    axes[0][0].set_ylabel("norm of d loss / d state")
    if note:
        figure.supxlabel(note, fontsize=8.5)
    # Without an ending that says which, it is a PNG.
    with atomic.replacing(out, suffix=out.suffix or ".png") as aside:
        try:
            figure.savefig(aside, dpi=130)
        except ValueError as error:  # an ending that matplotlib does not know
            raise DataError(f"cannot draw {out}: {error}") from None
    pyplot.close(figure)


DEFAULT_CELLS = ["simple_rnn*0.5", "simple_rnn", "simple_rnn*3", "gru", "lstm"]


def compare(cells: Sequence[str], out: Path, length: int = 20, units: int = 32, steps: int = 1000) -> None:
    """Measures cells built alike before and after `steps` of training; writes `gradients.csv` and `gradients.png`.

    Args:
        cells: specs as for `training.analysis.copy_task.build_decoder`.
        out: path of a folder.
        length: int, default 20. T: the word to remember was T - 1 words ago.
        units: int, default 32. Width of every cell.
        steps: int, default 1000. Training steps; 0 measures untrained cells only.
    """
    from training.analysis import copy_task

    probe = copy_task.copy_captions(length, seed=0)
    features = copy_task.zero_features(len(probe))
    decoders = {text: copy_task.build_decoder(text, units, length) for text in cells}
    runs: dict[str, Curves] = {}
    for text, decoder in decoders.items():
        runs[text] = {0: norms(decoder, features, probe)}
        before = runs[text][0][0] / runs[text][0][-1]
        line = f"{text}: the farthest state counts {before:.2g} times the nearest"
        if steps:
            loss = copy_task.train(decoder, length, steps)
            runs[text][steps] = norms(decoder, features, probe)
            after = runs[text][steps][0] / runs[text][steps][-1]
            line += f", after {steps} steps {after:.2g} times; loss {loss:.2f} (chance {np.log(copy_task.SYMBOLS):.2f})"
        print(line, flush=True)
    rows = [
        {"cell": text, "epoch": epoch, "step": step, "norm": f"{norm:.6e}"}
        for text, curves in runs.items()
        for epoch, values in curves.items()
        for step, norm in enumerate(values)
    ]
    write_table(out / GRADIENTS, rows)
    titles = ["before training"] + ([f"after {steps} steps of training"] if steps else [])
    note = (
        f"{units} units each, the same random words; the task: say the first of {length} words again at the end. "
        f"States more than {length - 2} words back have not read it yet."
    )
    draw(runs, titles, out / "gradients.png", note)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folders that train.py has written")
    parser.add_argument(
        "--compare",
        nargs="*",
        metavar="CELL",
        help=f"cells to build and measure instead, as CELL or CELL*SCALE (default {' '.join(DEFAULT_CELLS)})",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("gradients"), help="image, or with --compare a folder"
    )
    for name, default, text in (
        ("length", 20, "words"),
        ("units", 32, "width of the cells"),
        ("steps", 1000, "training steps"),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=default, help=f"with --compare: {text} (default {default})"
        )
    parser.add_argument("--overwrite", action="store_true", help="replace an image that is there")


def run(options: argparse.Namespace) -> None:
    """Draws the gradients of runs, or of cells built for it."""
    if options.compare is None:
        if not options.runs:
            raise DataError("expected folders of runs, or --compare with cells; got neither")
        out = options.out if options.out.suffix else options.out.with_suffix(".png")
        names = [run.resolve().name for run in options.runs]
        labels = names if len(set(names)) == len(names) else [str(run) for run in options.runs]
        runs = {label: curves_of(run) for label, run in zip(labels, options.runs, strict=True)}
        _refuse_existing([out], options.overwrite)
        draw(runs, ["first epoch", "best epoch"], out)
    else:
        for name, least in {"length": 2, "units": 1, "steps": 0}.items():
            checks.integer(getattr(options, name), f"--{name}", least)
        out = options.out / "gradients.png"
        _refuse_existing([out, options.out / GRADIENTS], options.overwrite)
        import_tensorflow("measuring gradients")
        compare(options.compare or DEFAULT_CELLS, options.out, options.length, options.units, options.steps)
    print(f"image: {out}")


def _refuse_existing(paths: Sequence[Path], overwrite: bool) -> None:
    for path in paths:
        if path.exists() and not overwrite:
            raise DataError(f"{path} is there already: give another --out, or --overwrite to replace it")
