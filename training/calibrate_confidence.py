"""Fits the confidence of a model (`captioner.outputs.confidence`) to people's ratings of captions.

    python training/calibrate_confidence.py runs/flickr8k_lstm/model "flickr(folder='...', captions='...')" \\
        --ratings ExpertAnnotations.txt

writes `confidence.json` and the image `reliability.png` into the model folder. There are no ratings of this model's
captions, so it takes two steps:

1. From the rated pairs of image and caption (`training/analyze.py human_agreement`): the probability that an expert
   gives a pair 3 or 4 of 4 points, by logistic regression on its CIDEr-D, ROUGE-L and BLEU-1 against the captions of
   the image.
2. The model captions one split, each caption gets that probability, and a second logistic regression predicts it from
   the log-probabilities of the caption's words.

Reliability is measured on another split. What remains unknown is how experts would rate the sentences of a model: the
rated ones were written by people, most of them for another image.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner import atomic, bundle
from captioner.api import Captioner, load
from captioner.cli.parser import Parser, add_trust
from captioner.cli.progress import progress_bar
from captioner.errors import DataError
from captioner.metrics import METRICS
from captioner.outputs.confidence import FEATURES, Confidence, features
from captioner.programs import program
from captioner.signals import defer_signals
from captioner.text import words
from captioner.types import Caption
from training.analysis.human_agreement import SCORES, pairs, read_ratings

ACCEPTED = 3  # of 4 points: "describes the image with minor errors"
_BINS = 10
_BATCH = 32


def fit(inputs: np.ndarray, probabilities: np.ndarray, ridge: float = 1e-3) -> tuple[np.ndarray, float]:
    """Logistic regression on probabilities as targets instead of classes.

    Args:
        inputs: float [N, F].
        probabilities: float [N], 0..1. The targets.
        ridge: float, default 1e-3. L2 penalty on the weights of inputs scaled to unit variance.

    Returns:
        Weights float64 [F] and the bias.

    Example:
        >>> weights, bias = fit(np.array([[0.0], [1.0]] * 50), np.array([0.2, 0.8] * 50), ridge=0.0)
        >>> np.round(1 / (1 + np.exp(-(weights[0] * np.array([0, 1]) + bias))), 3)
        array([0.2, 0.8])
    """
    from scipy.optimize import minimize

    mean, scale = inputs.mean(0), np.maximum(inputs.std(0), 1e-9)
    scaled = (inputs - mean) / scale

    def loss(parameters: np.ndarray) -> float:
        logits = scaled @ parameters[:-1] + parameters[-1]
        penalty = ridge * np.sum(parameters[:-1] ** 2)
        return float(np.mean(np.logaddexp(0, logits) - probabilities * logits) + penalty)

    fitted = minimize(loss, np.zeros(inputs.shape[1] + 1), method="BFGS", options={"gtol": 1e-9}).x
    weights = fitted[:-1] / scale
    return weights, float(fitted[-1] - weights @ mean)


def scored(candidates: Any, references: Any) -> np.ndarray:
    """CIDEr-D (its square root: most are near 0), ROUGE-L and BLEU-1 of captions as words, 0..1: float64 [N, 3]."""
    columns = []
    for metric, name in SCORES.items():
        scores = METRICS.build(metric).score(candidates, references).per_image[name] / 100
        columns.append(np.sqrt(scores) if name == "CIDEr-D" else scores)
    return np.stack(columns, axis=1)


class AcceptanceModel:
    """The probability that an expert accepts a caption, from its metrics against the image's captions.

    Args:
        captions: mapping of image id to its captions.
        ratings: what `read_ratings` returned.

    Raises:
        DataError: if no rated pair is among the captions.
    """

    def __init__(self, captions: Mapping[str, Sequence[str]], ratings: Any):
        candidates, references, rated = pairs({k: list(v) for k, v in captions.items()}, ratings)
        accepted = np.array([np.mean([points >= ACCEPTED for points in ratings]) for ratings in rated])
        self.pairs = len(candidates)
        self._weights, self._bias = fit(scored(candidates, references), accepted)

    def predict(self, captions: Sequence[Caption], references: Sequence[Sequence[str]]) -> np.ndarray:
        """The probability of each caption, float64 [N]."""
        reference_words = [[words(text) for text in texts] for texts in references]
        scores = scored([caption.words for caption in captions], reference_words)
        return 1 / (1 + np.exp(-(scores @ self._weights + self._bias)))


def caption_split(model: Captioner, examples: Sequence[Any], strategy: str) -> list[Caption]:
    """Captions of the examples.

    Raises:
        DataError: for an image that cannot be read.
    """
    results = model.caption_many((example.read() for example in examples), strategy, _BATCH)
    captions = []
    for example in progress_bar(examples, desc="captioning"):
        caption = next(results)
        if not caption.ok:
            raise DataError(f"image {example.id}: {caption.error}")
        captions.append(caption)
    return captions


def reliability(predicted: np.ndarray, probabilities: np.ndarray, bins: int = _BINS) -> dict[str, Any]:
    """How well predictions are calibrated: a curve over bins of equal size, and the expected calibration error.

    Args:
        predicted, probabilities: float [N].
        bins: int, default 10.

    Returns:
        dict with "curve", rows of mean prediction, mean probability and count, "error" (Naeini et al. 2015: the mean
        distance of the two), "brier", and "base", the Brier score of always predicting the mean.

    Example:
        >>> reliability(np.array([0.2, 0.8]), np.array([0.3, 0.7]), bins=2)["error"]
        0.1
    """
    groups = [g for g in np.array_split(np.argsort(predicted, kind="stable"), bins) if len(g)]
    curve = [[float(predicted[g].mean()), float(probabilities[g].mean()), len(g)] for g in groups]
    error = sum(count * abs(a - b) for a, b, count in curve) / len(predicted)

    def brier(prediction: Any) -> float:
        # The expectation of (prediction - accepted)^2 where `accepted` is 1 with these probabilities.
        return float(np.mean(probabilities * (1 - prediction) ** 2 + (1 - probabilities) * prediction**2))

    return {
        "curve": [[round(a, 4), round(b, 4), n] for a, b, n in curve],
        "error": round(float(error), 4),
        "brier": round(brier(predicted), 4),
        "base": round(brier(probabilities.mean()), 4),
    }


def draw(calibration: Mapping[str, Any], path: Path) -> None:
    """The reliability curve as an image."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    x, y, _ = zip(*calibration["reliability"]["curve"], strict=True)
    figure, axes = pyplot.subplots(figsize=(5, 5), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="perfect")
    axes.plot(x, y, marker="o", label=f"{calibration['checked_on']} split, tenths by confidence")
    axes.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share that experts would accept, estimated"
    )
    error = 100 * calibration["reliability"]["error"]
    axes.set(title=f"off by {error:.1f} points on average", aspect="equal")
    axes.legend(loc="upper left")
    axes.grid(alpha=0.3)
    with atomic.replacing(path, suffix=path.suffix) as aside:
        figure.savefig(aside, dpi=110)
    pyplot.close(figure)


def calibrate(
    model: Captioner, dataset: Any, ratings: Path, split: str, eval_split: str, strategy: str
) -> dict[str, Any]:
    """Fits the confidence on one split and measures its reliability on another.

    Args:
        model: Captioner.
        dataset: Dataset with the rated images in one of its splits.
        ratings: path of the expert ratings.
        split: str. Split to fit on.
        eval_split: str. Split to measure the reliability on.
        strategy: spec of `STRATEGIES`.

    Returns:
        dict, the content of `confidence.json`.
    """
    examples = {name: list(dataset.examples(name)) for name in dataset.splits}
    references = {example.id: example.captions for part in examples.values() for example in part}
    acceptance = AcceptanceModel(references, read_ratings(ratings))
    captions, probabilities = {}, {}
    for name in (split, eval_split):
        captions[name] = caption_split(model, examples[name], strategy)
        probabilities[name] = acceptance.predict(
            captions[name], [example.captions for example in examples[name]]
        )
    inputs = np.array([features(caption) for caption in captions[split]])
    weights, bias = fit(inputs, probabilities[split])
    if not np.isfinite([*weights, bias]).all():
        raise DataError(
            f"no confidence can be fitted to the {len(inputs)} captions of {split}: they are too alike"
        )
    calibration: dict[str, Any] = {
        "bias": bias,
        "weights": dict(zip(FEATURES, weights.tolist(), strict=True)),
        "means": f"the chance that an expert gives the caption {ACCEPTED} or 4 of 4 points",
        "learnt_on": split,
        "checked_on": eval_split,
        "captions": len(captions[split]),
        "rated_pairs": acceptance.pairs,
        "strategy": strategy,
        "accepted": {name: round(float(values.mean()), 4) for name, values in probabilities.items()},
    }
    confidence = Confidence(calibration)
    predicted = np.array([confidence.of(caption) for caption in captions[eval_split]])
    calibration["reliability"] = reliability(predicted, probabilities[eval_split])
    return calibration


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="calibrate_confidence.py", description=__doc__)
    build.add_argument("model", metavar="MODEL", help="a model folder")
    build.add_argument("dataset", metavar="DATASET", help='such as "flickr(...)", see training/data/datasets')
    build.add_argument("--ratings", type=Path, required=True, help="ExpertAnnotations.txt, plain or .gz")
    build.add_argument("--split", default="validation", help="fitted on (default: %(default)s)")
    build.add_argument(
        "--eval-split", default="test", help="reliability is measured on (default: %(default)s)"
    )
    build.add_argument("--strategy", metavar="SPEC", help="(default: the model's)")
    add_trust(build)
    build.add_argument("--overwrite", action="store_true", help="replace a calibration that is there")
    return build


def calibrate_folder(options: argparse.Namespace) -> str:
    """Writes the calibration into the model folder; returns a line that sums it up."""
    from training.data.datasets import DATASETS

    folder = bundle.read(options.model).folder
    target, image = folder / bundle.CONFIDENCE, folder / "reliability.png"
    for path in (target, image):
        bundle.check_free(path, options.overwrite)
    dataset = DATASETS.build(options.dataset)
    with load(folder, trust=options.trust) as model:
        strategy = options.strategy or model.engine.describe()["strategy"]
        calibration = calibrate(model, dataset, options.ratings, options.split, options.eval_split, strategy)
    with defer_signals():
        draw(calibration, image)
        bundle.add_file(
            folder,
            bundle.CONFIDENCE,
            lambda path: atomic.write_json(path, calibration),
            options.overwrite,
        )
    measured = calibration["reliability"]
    return (
        f"experts would accept {100 * calibration['accepted'][options.eval_split]:.0f} % of the {options.eval_split} "
        f"captions; confidence is off by {100 * measured['error']:.1f} points on average (Brier "
        f"{measured['brier']:.3f}, {measured['base']:.3f} for always the same)"
    )


def run(options: argparse.Namespace) -> None:
    """Calibrates the model and prints how well."""
    summary = calibrate_folder(options)
    print(f"{Path(options.model, bundle.CONFIDENCE)}: {summary}; export again to carry it on")


main = program(parser, run, "stopped; nothing was written")

if __name__ == "__main__":
    sys.exit(main())
