"""Makes a model that others can use out of a finished run: small, exported, calibrated, measured and described.

    python training/publish.py runs/best saved_models/mine "flickr(folder='...', captions='...')" \\
        --ratings ExpertAnnotations.txt --notes notes.md

writes a model folder with weights in half precision, batch statistics folded into the weights beside them, how sure
the model may be (`training/calibrate_confidence.py`, where ratings are given), a SavedModel and `.tflite` files in
float16 and 8 bits, and then scores each of them on the test split and measures what it costs here. `card.md` says it
all, with what the model confuses (`training/analysis/biases.py`), and ends with the notes.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

import captioner
from captioner import atomic, benchmark, bundle, metadata
from captioner.cli.parser import Parser, add_trust
from captioner.engines import ENGINES, engine_for
from captioner.engines.base import DEFAULT_STRATEGY
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import BundleError, ModelError, SpecError
from captioner.metrics.official import ptb_words
from captioner.programs import run_program
from captioner.registry import parse_spec, table_specs_only
from training.loop.run_folder import CONFIG, MODEL, finite, read_config

_FIGURES = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D")
_THREADS = 2


def make(run: Path, folder: Path, trust: Sequence[str] = ()) -> str | None:
    """Writes the model folder.

    Args:
        run: path of a finished run's folder.
        folder: path, where nothing is yet.
        trust: sequence of str, default none; see `captioner.load`.

    Returns:
        What training did to the encoder, see `moved`.

    Raises:
        BundleError: if it is no finished run.
    """
    if not (run / bundle.CALIBRATION).is_dir() or not (run / CONFIG).is_file():
        raise BundleError(
            f"expected {run} to be a finished run with {CONFIG}, {MODEL} and {bundle.CALIBRATION}, it is not"
        )
    with captioner.load(run / MODEL, trust=trust) as found:
        model = found.engine.model
        said = moved(run, model.encoder, trust)
        fold_statistics(model.encoder.network)
        captioner.save(model, folder, half_precision=True)
    return said


def moved(run: Path, encoder: Any, trust: Sequence[str] = ()) -> str | None:
    """How far training has moved an encoder, as trained, from the pretrained weights that the run names.

    Returns:
        A sentence, or None if the run began with random weights or the file of those weights is gone.
    """
    from captioner.image import tf_decode
    from captioner.models.encoders import build_encoder, without_weights

    spec = read_config(run, "model.encoder")["model"]["encoder"]
    if without_weights(spec) == parse_spec(spec):
        return None
    try:
        with table_specs_only(trust):  # run.json may be anybody's
            began, _ = build_encoder(spec, encoder.image_size)
    except (ModelError, SpecError) as error:
        print(f"not compared with the weights at the start: {error}", flush=True)
        return None
    # The one that was loaded may be frozen; which weights are trained, the new one tells.
    own = {id(weight) for weight in began.network.trainable_weights}
    pairs = zip(began.network.weights, encoder.network.weights, strict=True)
    same = [np.array_equal(then, now) for then, now in pairs if id(then) in own]
    read = tf_decode.reader(encoder.image_size)
    pixels = np.stack([read(path.read_bytes()) for path in sorted((run / bundle.CALIBRATION).iterdir())[:64]])
    then, now = (np.asarray(each(pixels)) for each in (began, encoder))
    away = 100 * np.linalg.norm(now - then) / np.linalg.norm(then)
    return (
        f"training has changed {same.count(False)} of the {len(same)} tensors of the encoder, and its features of "
        f"{len(pixels)} training images by {away:.0f} % of their norm"
    )


def fold_statistics(network: Any) -> None:
    """Puts the statistics of batch normalisation into its trained weights; what it computes stays the same.

    gamma (x - mean) / sqrt(variance + epsilon) + beta (Ioffe and Szegedy 2015, algorithm 2) is also
    gamma' x + beta' with gamma' = gamma / sqrt(variance + epsilon) and beta' = beta - mean gamma'. What is left of
    the statistics is a mean of 0 and a variance of 1 - epsilon.

    Args:
        network: keras.Model; changed in place. Normalisations without gamma or beta stay as they are.
    """
    import keras

    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale and layer.center:
            gamma, beta, mean, variance = (value.astype(np.float64) for value in layer.get_weights())
            slope = gamma / np.sqrt(variance + layer.epsilon)
            rest = np.full_like(variance, 1 - layer.epsilon)
            layer.set_weights([slope, beta - mean * slope, np.zeros_like(mean), rest])


def export(run: Path, folder: Path, strategy: str, trust: Sequence[str] = ()) -> None:
    """The SavedModel and the `.tflite` files, of the weights as they are kept."""
    eight = f"tflite(quantize='int8', calibration={str(run / 'calibration')!r})"
    for target in ("saved_model", "tflite(quantize='float16')", eight):
        captioner.export(folder, [target], strategy=strategy, trust=trust)
        print(f"exported {target.partition(', ')[0]}", flush=True)


def measure(
    folder: Path, dataset: Any, split: str, strategy: str, official: bool, trust: Sequence[str] = ()
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Figures on a split and costs here, of everything in the folder.

    Returns:
        dict of the variant's name to dict of figures, "error" (standard error of CIDEr-D, bootstrap over images) and
        costs; and what the first variant says of each image.
    """
    from captioner.image.pillow_preprocess import drawn
    from captioner.metrics import scored
    from captioner.reports.bootstrap import resampled, spread
    from training.evaluate import evaluate

    examples = list(dataset.examples(split))
    references = {example.id: list(example.captions) for example in examples}
    found: dict[str, dict[str, Any]] = {}
    said: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        drawn_image = Path(place, "drawn.jpg")
        drawn_image.write_bytes(drawn((480, 640)))
        for source in benchmark.variants(folder):
            engine = ENGINES[engine_for(source)]
            name = engine.label(source)
            # A SavedModel is a graph: it names no parts.
            with captioner.load(source, trust=trust if "trust" in engine.options() else ()) as model:
                figures, captions = evaluate(model, dataset, split, [strategy], official)
            said = said or captions[strategy]
            whole = scored(captions[strategy], references, metrics=["cider_d"])
            error = spread(resampled([whole], 1000)[0]["CIDEr-D"])["error"]
            cost = benchmark.cost(source, [str(drawn_image)], threads=_THREADS, trust=trust)
            found[name] = {
                **{k: round(v, 2) for k, v in figures[strategy].items()},
                "error": round(error, 2),
                "megabytes": round(cost.megabytes or 0.0, 1),
                "start": round(cost.first, 2),
                "memory": round(cost.memory or 0.0),
                "median": round(1e3 * cost.latency(), 1),
                "p95": round(1e3 * cost.latency(0.95), 1),
            }
            cider = figures[strategy]["CIDEr-D"]
            print(f"{name}: CIDEr-D {cider:.1f}, {found[name]['median']} ms", flush=True)
    return found, said


def table(measured: dict[str, dict[str, Any]]) -> list[str]:
    """The figures as lines of Markdown, pycocoevalcap's where they are there."""
    names = [n for n in _FIGURES if any(f"official {n}" in row or n in row for row in measured.values())]
    head = ["", *names, "MB", "start, s", "memory, MB", "median, ms", "p95, ms"]
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for variant, row in measured.items():
        cells = [f"`{variant}`" if variant.endswith(".tflite") else variant]
        for name in names:
            value = row.get(f"official {name}", row.get(name))
            spread = f" ± {row['error']:.1f}" if name == "CIDEr-D" else ""
            cells.append("-" if value is None else f"{value:.1f}{spread}")
        cells += [str(row[key]) for key in ("megabytes", "start", "memory", "median", "p95")]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def card(
    name: str,
    config: Mapping[str, Any],
    folder: Path,
    measured: dict[str, dict[str, Any]],
    split: str,
    strategy: str,
    trained: str | None,
    confused: Sequence[str],
    notes: str,
) -> str:
    """Markdown for `card.md`: settings, figures, what `biases` counts, and the notes."""
    about = metadata.load(folder / bundle.MANIFEST)
    parameters = about["parameters"]
    lines = [
        f"# {name}",
        "",
        f"- encoder: `{about['model']['encoder']}`, {parameters['encoder']:,} weights, images at "
        f"{config['model']['image_size']} x {config['model']['image_size']}",
        f"- decoder: `{about['model']['decoder']}`, {parameters['decoder']:,} weights",
        *([f"- {trained}"] if trained else []),
        f"- vocabulary: {about['vocabulary']['size']:,}; captions of at most {about['model']['max_length'] - 1} words",
        f"- weights in half precision; exports choose words by `{strategy}`",
        "",
        f"## Measured on the {split} split",
        "",
        *table(measured),
        "",
        "Figures of coco-caption, x100; ± is the standard error over images (bootstrap). Latency from encoded "
        f"image to sentence, one image of 640 x 480 at a time, {_THREADS} threads; start: to the first one.",
        "",
    ]
    if (folder / bundle.CONFIDENCE).is_file():
        noted = metadata.load(folder / bundle.CONFIDENCE)
        lines += [
            "## How sure it is",
            "",
            f"Calibrated on the {noted['learnt_on']} split: {noted['means']}. On the {noted['checked_on']} split it is "
            f"off by {100 * noted['reliability']['error']:.1f} points on average; an estimated "
            f"{100 * noted['accepted'][noted['checked_on']]:.0f} % of its captions there would be accepted.",
            "",
            "![Confidence against the estimated share of captions that experts would accept](reliability.png)",
            "",
        ]
    if confused:
        lines += [f"## What it confuses, on the {split} split", "", *confused, ""]
    return "\n".join(lines) + "\n" + notes.strip() + "\n"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="publish.py", description=__doc__)
    build.add_argument("run", metavar="RUN", type=Path, help="folder of a finished run")
    build.add_argument("folder", metavar="FOLDER", type=Path, help="the model folder to make")
    build.add_argument("dataset", metavar="DATASET", help='such as "flickr(...)", see training/data/datasets')
    build.add_argument("--ratings", type=Path, help="ExpertAnnotations.txt, plain or .gz: calibrate with it")
    build.add_argument("--notes", type=Path, metavar="FILE", help="Markdown for the end of the card")
    build.add_argument("--split", default="test", help="scored (default: %(default)s)")
    build.add_argument("--strategy", default=DEFAULT_STRATEGY, help="(default: %(default)s)")
    add_trust(build)
    build.add_argument(
        "--no-official", dest="official", action="store_false", help="go without pycocoevalcap and Java"
    )
    return build


def publish(given: argparse.Namespace) -> None:
    """Does what the command line says: all of it, or nothing is left."""
    folder = given.folder
    if folder.exists():
        raise BundleError(f"{folder} is there already: move it away or name another")
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        _publish(given, aside)
        try:
            atomic.put_folder(aside, folder)
        except OSError as error:
            raise BundleError(f"cannot write {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB in all")


def _publish(given: argparse.Namespace, folder: Path) -> None:
    """Writes the model folder and everything in it."""
    import_tensorflow("publishing a model")
    from captioner.caption_files import read_text
    from training import calibrate_confidence
    from training.analysis.biases import biases
    from training.analysis.biases import table as table_of_biases
    from training.data.datasets import DATASETS

    if given.official:
        ptb_words(["a dog"])  # so that missing Java is told now
    notes = read_text(given.notes, "notes") if given.notes else ""
    dataset = DATASETS.build(given.dataset)
    dataset.examples(given.split)
    trained = make(given.run, folder, given.trust)
    if given.ratings:
        trusted = [f"--trust={package}" for package in given.trust]
        options = [f"--ratings={given.ratings}", f"--strategy={given.strategy}", *trusted]
        learnt_from = calibrate_confidence.parser().parse_args([str(folder), given.dataset, *options])
        print(f"calibrated: {calibrate_confidence.run(learnt_from)}", flush=True)
    export(given.run, folder, given.strategy, given.trust)
    measured, said = measure(folder, dataset, given.split, given.strategy, given.official, given.trust)
    atomic.write_json(folder / bundle.METRICS, finite({given.split: measured}))
    people = {example.id: example.captions for example in dataset.examples(given.split)}
    learnt = [c for e in dataset.examples("train") for c in e.captions] if "train" in dataset.splits else None
    confused = table_of_biases(*biases(said, people, learnt))
    config = read_config(given.run, "model.image_size")
    atomic.write_text(
        folder / bundle.CARD,
        card(
            given.folder.name, config, folder, measured, given.split, given.strategy, trained, confused, notes
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_program(
        "publish.py",
        lambda: publish(parser().parse_args(arguments)),
        "stopped; nothing was written",
    )


if __name__ == "__main__":
    sys.exit(main())
