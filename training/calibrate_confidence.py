"""Learns how sure a model may be of its captions, from people's ratings: `captioner.outputs.confidence`, made true.

    python training/calibrate_confidence.py runs/flickr8k_lstm/model "flickr(folder='...', captions='...')" \\
        --ratings ExpertAnnotations.txt

writes `confidence.json` and the image `reliability.png` into the model folder. Nobody has rated this model's
captions, so that it takes two steps:

1. From the rated pairs of image and caption (`training/analysis/human_agreement.py`): the chance that an expert gives a
   pair 3 or 4 of 4 points, by logistic regression on its CIDEr-D, ROUGE-L and BLEU-1 against the image's captions.
2. The model captions one split, each caption gets that chance, and a second logistic regression learns it from what
   the model itself knows of a caption: the log-probabilities of its words.

Another split shows how reliable it is. What stays unknown is how experts would take to the smooth, usual sentences of a
model: the rated ones were written by people, most of them for another image.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from captioner import atomic, bundle
from captioner.api import Captioner, load
from captioner.cli.parser import Parser, add_trust
from captioner.cli.progress import progress_bar
from captioner.engines.base import DEFAULT_STRATEGY
from captioner.errors import DataError
from captioner.metrics import METRICS
from captioner.outputs.confidence import FEATURES, Confidence, features
from captioner.programs import run_program
from captioner.signals import defer_signals
from captioner.text import words
from captioner.types import Caption
from training.analysis.human_agreement import FIGURES, pairs, read_ratings

ACCEPTED = 3  # of 4 points: "describes the image with minor errors"
_BINS = 10
_BATCH = 32


def fit(inputs: np.ndarray, chances: np.ndarray, ridge: float = 1e-3) -> tuple[np.ndarray, float]:
    """Logistic regression on chances instead of yes and no.

    Args:
        inputs: float [N, F].
        chances: float [N], 0..1.
        ridge: float, default 1e-3. Weight of the squared weights, inputs scaled to unit variance.

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

    def loss(found: np.ndarray) -> float:
        logits = scaled @ found[:-1] + found[-1]
        return float(np.mean(np.logaddexp(0, logits) - chances * logits) + ridge * np.sum(found[:-1] ** 2))

    found = minimize(loss, np.zeros(inputs.shape[1] + 1), method="BFGS", options={"gtol": 1e-9}).x
    weights = found[:-1] / scale
    return weights, float(found[-1] - weights @ mean)


def scored(candidates: Any, references: Any) -> np.ndarray:
    """CIDEr-D (its square root: most are near 0), ROUGE-L and BLEU-1 of captions as words, 0..1: float64 [N, 3]."""
    found = [METRICS.build(m).score(candidates, references).per_image[f] / 100 for m, f in FIGURES.items()]
    return np.stack(
        [np.sqrt(x) if f == "CIDEr-D" else x for x, f in zip(found, FIGURES.values(), strict=True)], 1
    )


class People:
    """The chance that an expert accepts a caption, by how it scores against the image's captions.

    Args:
        captions: mapping of image id to its captions.
        ratings: what `read_ratings` gave.

    Raises:
        DataError: if no rated pair is among the captions.
    """

    def __init__(self, captions: Mapping[str, Sequence[str]], ratings: Any):
        candidates, references, rated = pairs({k: list(v) for k, v in captions.items()}, ratings)
        accepted = np.array([np.mean([each >= ACCEPTED for each in given]) for given in rated])
        self.pairs = len(candidates)
        self._weights, self._bias = fit(scored(candidates, references), accepted)

    def accept(self, captions: Sequence[Caption], references: Sequence[Sequence[str]]) -> np.ndarray:
        """The chance of each caption, float64 [N]."""
        found = scored([c.words for c in captions], [[words(text) for text in each] for each in references])
        return 1 / (1 + np.exp(-(found @ self._weights + self._bias)))


def said(model: Captioner, examples: Sequence[Any], strategy: str) -> list[Caption]:
    """Captions of a split.

    Raises:
        DataError: for an image that cannot be read.
    """
    found = model.caption_many((example.read() for example in examples), strategy, _BATCH)
    captions = []
    for example in progress_bar(examples, desc="captioning"):
        caption = next(found)
        if not caption.ok:
            raise DataError(f"image {example.id}: {caption.error}")
        captions.append(caption)
    return captions


def reliability(predicted: np.ndarray, chances: np.ndarray, bins: int = _BINS) -> dict[str, Any]:
    """How well predicted chances fit: a curve over groups of equal size, and the expected calibration error.

    Args:
        predicted, chances: float [N].
        bins: int, default 10.

    Returns:
        dict with "curve", rows of mean prediction, mean chance and count, "error" (Naeini et al. 2015: the mean
        distance of the two), "brier", and "base", the Brier score of saying the mean always.

    Example:
        >>> reliability(np.array([0.2, 0.8]), np.array([0.3, 0.7]), bins=2)["error"]
        0.1
    """
    groups = [g for g in np.array_split(np.argsort(predicted, kind="stable"), bins) if len(g)]
    curve = [[float(predicted[g].mean()), float(chances[g].mean()), len(g)] for g in groups]
    error = sum(count * abs(a - b) for a, b, count in curve) / len(predicted)

    def brier(guess: Any) -> float:
        # Chances stand for people who say yes with them: the mean of (guess - yes)^2 over these.
        return float(np.mean(chances * (1 - guess) ** 2 + (1 - chances) * guess**2))

    return {
        "curve": [[round(a, 4), round(b, 4), n] for a, b, n in curve],
        "error": round(float(error), 4),
        "brier": round(brier(predicted), 4),
        "base": round(brier(chances.mean()), 4),
    }


def draw(noted: Mapping[str, Any], path: Path) -> None:
    """The reliability curve as an image."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    x, y, _ = zip(*noted["reliability"]["curve"], strict=True)
    figure, axes = pyplot.subplots(figsize=(5, 5), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="perfect")
    axes.plot(x, y, marker="o", label=f"{noted['checked_on']} split, tenths by confidence")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share that experts would accept, estimated",
             title=f"off by {100 * noted['reliability']['error']:.1f} points on average", aspect="equal")  # fmt: skip
    axes.legend(loc="upper left")
    axes.grid(alpha=0.3)
    with atomic.replacing(path, suffix=path.suffix) as aside:
        figure.savefig(aside, dpi=110)
    pyplot.close(figure)


def calibrate(
    model: Captioner, dataset: Any, ratings: Path, split: str, check: str, strategy: str
) -> dict[str, Any]:
    """What `confidence.json` holds.

    Args:
        model: Captioner.
        dataset: Dataset with the rated images in one of its splits.
        ratings: path of the expert ratings.
        split, check: str. What is learnt from, and what shows the reliability.
        strategy: str. How captions are chosen.

    Returns:
        dict.
    """
    every = {name: list(dataset.examples(name)) for name in dataset.splits}
    captions = {example.id: example.captions for examples in every.values() for example in examples}
    people = People(captions, read_ratings(ratings))
    given, chances = {}, {}
    for name in (split, check):
        given[name] = said(model, every[name], strategy)
        chances[name] = people.accept(given[name], [example.captions for example in every[name]])
    inputs = np.array([features(caption) for caption in given[split]])
    weights, bias = fit(inputs, chances[split])
    if not np.isfinite([*weights, bias]).all():
        raise DataError(
            f"no confidence can be learnt from the {len(inputs)} captions of {split}: they are too alike"
        )
    noted: dict[str, Any] = {
        "bias": bias,
        "weights": dict(zip(FEATURES, weights.tolist(), strict=True)),
        "means": f"the chance that an expert gives the caption {ACCEPTED} or 4 of 4 points",
        "learnt_on": split,
        "checked_on": check,
        "captions": len(given[split]),
        "rated_pairs": people.pairs,
        "strategy": strategy,
        "accepted": {name: round(float(found.mean()), 4) for name, found in chances.items()},
    }
    sure = Confidence(noted)
    noted["reliability"] = reliability(np.array([sure.of(c) for c in given[check]]), chances[check])
    return noted


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="calibrate_confidence.py", description=__doc__)
    build.add_argument("model", metavar="MODEL", help="a model folder")
    build.add_argument("dataset", metavar="DATASET", help='such as "flickr(...)", see training/data/datasets')
    build.add_argument("--ratings", type=Path, required=True, help="ExpertAnnotations.txt, plain or .gz")
    build.add_argument("--split", default="validation", help="learnt from (default: %(default)s)")
    build.add_argument("--check", default="test", help="shows the reliability (default: %(default)s)")
    build.add_argument("--strategy", default=DEFAULT_STRATEGY, help="(default: %(default)s)")
    add_trust(build)
    build.add_argument("--overwrite", action="store_true", help="replace a calibration that is there")
    return build


def run(given: argparse.Namespace) -> str:
    """Does what the command line says; returns what there is to tell."""
    from training.data.datasets import DATASETS

    folder = bundle.read(given.model).folder
    target, image = folder / bundle.CONFIDENCE, folder / "reliability.png"
    for path in (target, image):
        bundle.check_free(path, given.overwrite)
    dataset = DATASETS.build(given.dataset)
    with load(folder, trust=given.trust) as model:
        noted = calibrate(model, dataset, given.ratings, given.split, given.check, given.strategy)
    with defer_signals():
        draw(noted, image)
        bundle.add_file(
            folder, bundle.CONFIDENCE, lambda path: atomic.write_json(path, noted), overwrite=True
        )
    shown = noted["reliability"]
    return (
        f"experts would accept {100 * noted['accepted'][given.check]:.0f} % of the {given.check} captions; "
        f"confidence is off by {100 * shown['error']:.1f} points on average (Brier {shown['brier']:.3f}, "
        f"{shown['base']:.3f} for always the same)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""

    def work() -> None:
        given = parser().parse_args(arguments)
        print(f"{Path(given.model, bundle.CONFIDENCE)}: {run(given)}; export again to carry it on")

    return run_program("calibrate_confidence.py", work, "stopped; nothing was written")


if __name__ == "__main__":
    sys.exit(main())
