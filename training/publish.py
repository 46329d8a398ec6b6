"""Publishes a finished run as a model folder: half precision, exports, confidence, measurements and a card.

    python training/publish.py runs/best saved_models/mine "flickr(folder='...', captions='...')" \\
        --ratings ExpertAnnotations.txt --notes notes.md

writes a model folder with weights in half precision, batch normalisation folded into its own weights, a calibrated
confidence (`training/calibrate_confidence.py`, if ratings are given), what tells which images to decline
(`training/fit_ood.py`, with --ood), a SavedModel and `.tflite` files in float16 and 8 bits; then each of them is scored
on the test split, and its latency and memory are measured. `card.md` has the results, with what the model confuses
(`training/analyze.py biases`), and ends with the notes.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import captioner
from captioner import atomic, benchmark, bundle
from captioner.cli.parser import Parser, add_trust
from captioner.engines import ENGINES, engine_for
from captioner.engines.base import default_strategy
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import BundleError, ModelError, SpecError
from captioner.metrics.official import ptb_words
from captioner.programs import program
from captioner.registry import parse_spec, table_specs_only
from training.loop.run_folder import CONFIG, MODEL, finite, read_config

_THREADS = 2


def make(run: Path, folder: Path, trust: Sequence[str] = ()) -> str | None:
    """Writes the model folder.

    Args:
        run: path of a finished run's folder.
        folder: path, where nothing is yet.
        trust: sequence of str, default none; see `captioner.load`.

    Returns:
        How far training has changed the encoder, see `encoder_change`.

    Raises:
        BundleError: if it is no finished run.
    """
    if not (run / bundle.CALIBRATION).is_dir() or not (run / CONFIG).is_file():
        raise BundleError(
            f"expected {run} to be a finished run with {CONFIG}, {MODEL} and {bundle.CALIBRATION}, got something else"
        )
    with captioner.load(run / MODEL, trust=trust) as loaded:
        model = loaded.engine.model
        change = encoder_change(run, model.encoder, trust)
        fold_batch_norm(model.encoder.network)
        captioner.save(model, folder, half_precision=True)
    return change


def encoder_change(run: Path, encoder: Any, trust: Sequence[str] = ()) -> str | None:
    """How far training has changed an encoder from the pretrained weights that the run names.

    Returns:
        A sentence, or None if the run began with random weights or their file is gone.
    """
    from captioner.image import tf_decode
    from captioner.models.encoders import build_encoder, without_weights

    spec = read_config(run, "model.encoder")["model"]["encoder"]
    if without_weights(spec) == parse_spec(spec):
        return None
    try:
        with table_specs_only(trust):  # run.json is not to be trusted
            initial, _ = build_encoder(spec, encoder.image_size)
    except (ModelError, SpecError) as error:
        print(f"not compared with the initial weights: {error}", flush=True)
        return None
    # The loaded encoder may be frozen; the new one tells which weights are trainable.
    trainable = {id(weight) for weight in initial.network.trainable_weights}
    pairs = zip(initial.network.weights, encoder.network.weights, strict=True)
    same = [np.array_equal(before, after) for before, after in pairs if id(before) in trainable]
    read = tf_decode.reader(encoder.image_size)
    pixels = np.stack([read(path.read_bytes()) for path in sorted((run / bundle.CALIBRATION).iterdir())[:64]])
    before, after = (np.asarray(network(pixels)) for network in (initial, encoder))
    percent = 100 * np.linalg.norm(after - before) / np.linalg.norm(before)
    return (
        f"training has changed {same.count(False)} of the {len(same)} tensors of the encoder, and its features of "
        f"{len(pixels)} training images by {percent:.0f} % of their norm"
    )


def fold_batch_norm(network: Any) -> None:
    """Folds the statistics of batch normalisation into its trained weights; its outputs stay the same.

    gamma (x - mean) / sqrt(variance + epsilon) + beta (Ioffe and Szegedy 2015, algorithm 2) is also
    gamma' x + beta' with gamma' = gamma / sqrt(variance + epsilon) and beta' = beta - mean gamma'. The
    statistics become a mean of 0 and a variance of 1 - epsilon.

    Args:
        network: keras.Model; changed in place. Normalisations without gamma or beta stay as they are.
    """
    import keras

    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale and layer.center:
            gamma, beta, mean, variance = (value.astype(np.float64) for value in layer.get_weights())
            folded = gamma / np.sqrt(variance + layer.epsilon)
            unit = np.full_like(variance, 1 - layer.epsilon)
            layer.set_weights([folded, beta - mean * folded, np.zeros_like(mean), unit])


def export(run: Path, folder: Path, strategy: str | None, trust: Sequence[str] = ()) -> None:
    """Writes the SavedModel and the `.tflite` files, from the weights as they were saved."""
    int8 = f"tflite(quantize='int8', calibration={str(run / 'calibration')!r})"
    for target in ("saved_model", "tflite(quantize='float16')", int8):
        captioner.export(folder, [target], strategy=strategy, trust=trust)
        print(f"exported {target.partition(', ')[0]}", flush=True)


def measure(
    folder: Path, dataset: Any, split: str, strategy: str | None, official: bool, trust: Sequence[str] = ()
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Metrics on a split, and latency and memory, of the model folder and its exports, each with its own strategy.

    Returns:
        dict of the variant's name to dict of metrics, "error" (standard error of CIDEr-D, bootstrap over images) and
        costs; and the captions of the first variant.
    """
    from captioner.image.pillow_preprocess import drawn
    from captioner.metrics import scored
    from captioner.reports.bootstrap import resampled, spread
    from training.evaluate import evaluate

    examples = list(dataset.examples(split))
    references = {example.id: list(example.captions) for example in examples}
    measured: dict[str, dict[str, Any]] = {}
    first_captions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as directory:
        drawn_image = Path(directory, "drawn.jpg")
        drawn_image.write_bytes(drawn((480, 640)))
        for source in benchmark.variants(folder):
            engine = ENGINES[engine_for(source)]
            name = engine.label(source)
            # A SavedModel is a graph, without specs.
            with captioner.load(source, trust=trust if "trust" in engine.options() else ()) as model:
                evaluated = evaluate(model, dataset, split, [strategy] if strategy else [], official)
            metrics, captions = next(iter(evaluated[0].values())), next(iter(evaluated[1].values()))
            first_captions = first_captions or captions
            table = scored(captions, references, metrics=["cider_d"])
            error = spread(resampled([table], 1000)[0]["CIDEr-D"])["error"]
            cost = benchmark.cost(source, [str(drawn_image)], threads=_THREADS, trust=trust)
            measured[name] = {
                **{k: round(v, 2) for k, v in metrics.items()},
                "error": round(error, 2),
                "megabytes": round(cost.megabytes or 0.0, 1),
                "start": round(cost.first, 2),
                "memory": round(cost.memory or 0.0),
                "median": round(1e3 * cost.latency(), 1),
                "p95": round(1e3 * cost.latency(0.95), 1),
            }
            print(f"{name}: CIDEr-D {metrics['CIDEr-D']:.1f}, {measured[name]['median']} ms", flush=True)
    return measured, first_captions


def _strategies(folder: Path, strategy: str | None) -> list[str]:
    """The strategies of the model folder and its exports, without repetitions, that of the model folder first."""
    exported = [ENGINES[engine_for(source)].metadata(source) for source in benchmark.variants(folder)]
    model_strategy = strategy or default_strategy(bundle.read(folder))
    return list(dict.fromkeys([model_strategy, *(m["strategy"] for m in exported if m)]))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="publish.py", description=__doc__)
    build.add_argument("run", metavar="RUN", type=Path, help="folder of a finished run")
    build.add_argument("folder", metavar="FOLDER", type=Path, help="the model folder to make")
    build.add_argument("dataset", metavar="DATASET", help='such as "flickr(...)", see training/data/datasets')
    build.add_argument("--ratings", type=Path, help="ExpertAnnotations.txt, plain or .gz: calibrate with it")
    build.add_argument(
        "--ood", action="store_true", help="fit which images it declines, with training/fit_ood.py"
    )
    build.add_argument("--notes", type=Path, metavar="FILE", help="Markdown for the end of the card")
    build.add_argument("--split", default="test", help="scored (default: %(default)s)")
    build.add_argument("--strategy", metavar="SPEC", help="(default: the model's)")
    add_trust(build)
    build.add_argument(
        "--no-official", dest="official", action="store_false", help="go without pycocoevalcap and Java"
    )
    return build


def run(options: argparse.Namespace) -> None:
    """Publishes the run: the complete folder, or nothing."""
    folder = options.folder
    if folder.exists():
        raise BundleError(f"{folder} is there already: move it away or name another")
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        _publish(options, aside)
        try:
            atomic.put_folder(aside, folder)
        except OSError as error:
            raise BundleError(f"cannot write {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.1f} MB in all")


def _publish(options: argparse.Namespace, folder: Path) -> None:
    """Writes the model folder and everything in it."""
    import_tensorflow("publishing a model")
    from captioner.caption_files import read_text
    from training import calibrate_confidence, fit_ood
    from training.analysis.biases import biases
    from training.analysis.biases import table as biases_table
    from training.data.datasets import DATASETS
    from training.evaluate import training_captions
    from training.loop.model_card import published_card

    if options.official:
        ptb_words(["a dog"])  # raises an error now if there is no Java
    notes = read_text(options.notes, "notes") if options.notes else ""
    dataset = DATASETS.build(options.dataset)
    split, strategy, trust = options.split, options.strategy, options.trust
    dataset.examples(split)
    encoder_change = make(options.run, folder, trust)
    trusted = [f"--trust={package}" for package in trust]
    if options.ratings:
        chosen = [f"--strategy={strategy}"] if strategy else []
        words = [
            str(folder), options.dataset, f"--ratings={options.ratings}", *chosen, *trusted,
        ]  # fmt: skip
        calibration = calibrate_confidence.parser().parse_args(words)
        print(f"calibrated: {calibrate_confidence.calibrate_folder(calibration)}", flush=True)
    if options.ood:
        arguments = [str(folder), options.dataset, *trusted]
        print(fit_ood.fit_folder(fit_ood.parser().parse_args(arguments)), flush=True)
    export(options.run, folder, strategy, trust)
    measured, captions = measure(folder, dataset, split, strategy, options.official, trust)
    atomic.write_json(folder / bundle.METRICS, finite({split: measured}))
    references = {example.id: example.captions for example in dataset.examples(split)}
    confused = biases_table(*biases(captions, references, training_captions(dataset)))
    card = published_card(
        options.folder.name,
        read_config(options.run, "model.image_size"),
        folder,
        measured,
        split,
        _strategies(folder, strategy),
        _THREADS,
        encoder_change,
        confused,
        notes,
    )
    atomic.write_text(folder / bundle.CARD, card)


main = program(parser, run, "stopped; nothing was written")

if __name__ == "__main__":
    sys.exit(main())
