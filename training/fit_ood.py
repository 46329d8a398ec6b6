"""Fits how a model knows when not to speak: which images are unlike anything that it was trained on.

    python training/fit_ood.py runs/flickr8k_lstm/model "flickr(folder='...', captions='...')"

writes `ood.npz` into the model folder. From then on each image has one of three outcomes, in Python, on the command
line, on the page, and in exports that are made afterwards: a caption, a hedged caption ("Perhaps: ..."), or "no
caption: unlike anything this model was trained on". See `captioner.outputs.ood` for the score and
`captioner.outputs.outcome` for the rules.

A Gaussian is fitted to the mean features of the training images. Two thresholds come from the validation split: the
score above which a caption is hedged, and that above which an image is declined, at most 2 % of the split
(--max-declined). Images far from all photographs, which this program draws, tell how much of that is well spent. The
shares of another split that are declined and hedged, and the area under the ROC curve (AUROC) for each kind of drawn
image, are printed and stored for the card.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

from captioner import bundle, checks
from captioner.cli.parser import Parser, add_trust
from captioner.errors import SpecError
from captioner.outputs.ood import OutOfDistribution
from captioner.programs import program
from training.loop import ood
from training.loop.cider_regression import pooled


def fit_model(model: Any, dataset: Any, options: argparse.Namespace) -> OutOfDistribution:
    """The fitted parameters of a model.

    Args:
        model: CaptionModel.
        dataset: Dataset.
        options: those of `parser`.
    """
    from training.data.far_off import FarOffImages
    from training.data.feature_cache import encode_split

    def means(source: Any, split: str) -> np.ndarray:
        features = encode_split(model.encoder, source, split, options.features)
        return pooled(features.__getitem__, len(features))

    held_out = {name: means(dataset, name) for name in dict.fromkeys((options.split, options.eval_split))}
    drawn = FarOffImages(options.drawn, options.seed)
    far_off = {kind: means(drawn, kind) for kind in drawn.splits}
    fitted = ood.fit(means(dataset, "train"), options.rank, options.trim)
    in_domain = {name: ood.scored(fitted, rows) for name, rows in held_out.items()}
    scores = {kind: ood.scored(fitted, rows) for kind, rows in far_off.items()}
    fitted = ood.calibrated(
        fitted,
        in_domain[options.split],
        scores,
        options.max_declined,
        options.max_hedged,
        options.least_confidence,
    )
    about = {"split": options.split, "eval_split": options.eval_split, "seed": options.seed}
    return ood.with_figures(fitted, in_domain[options.eval_split], scores, about)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="fit_ood.py", description=__doc__)
    build.add_argument("model", metavar="MODEL", help="a model folder")
    build.add_argument("dataset", metavar="DATASET", help='such as "flickr(...)", see training/data/datasets')
    build.add_argument(
        "--features", default="cache/features", help="the feature cache (default: %(default)s)"
    )
    build.add_argument(
        "--split",
        default="validation",
        help="sets the thresholds, beside drawn images (default: %(default)s)",
    )
    build.add_argument("--eval-split", default="test", help="is measured on (default: %(default)s)")
    shares = {
        "--max-declined": (ood.MAX_DECLINED, "largest share of the split that is declined"),
        "--max-hedged": (ood.MAX_HEDGED, "share of the split that the score hedges or declines"),
        "--least-confidence": (
            ood.LEAST_CONFIDENCE,
            "captions of lower confidence are hedged, if it is calibrated (training/calibrate_confidence.py)",
        ),
        "--trim": (ood.TRIM, "share of the training images, the farthest, that is not fitted on"),
    }
    for name, (default, text) in shares.items():
        build.add_argument(
            name, type=float, default=default, metavar="SHARE", help=f"{text} (default: %(default)s)"
        )
    build.add_argument(
        "--rank", type=int, default=ood.RANK, help="axes of the Gaussian (default: %(default)s)"
    )
    build.add_argument(
        "--drawn", type=int, default=50, metavar="N", help="drawn images of each kind (default: %(default)s)"
    )
    build.add_argument("--seed", type=int, default=0, help="of the drawn images (default: %(default)s)")
    add_trust(build)
    build.add_argument("--overwrite", action="store_true", help="replace the parameters that are there")
    return build


def fit_folder(options: argparse.Namespace) -> str:
    """Writes the parameters into the model folder; returns what was measured, in lines."""
    _check(options)
    model = bundle.read(options.model)
    bundle.check_free(model.folder / bundle.OOD, options.overwrite)
    from captioner.engines.tensorflow_import import import_tensorflow

    import_tensorflow("encoding images")
    from captioner.engines.keras import network
    from training.data.datasets import DATASETS

    fitted = fit_model(network(model, options.trust), DATASETS.build(options.dataset), options)
    target = bundle.add_file(model.folder, bundle.OOD, fitted.save, options.overwrite)
    return "\n".join(
        [
            *ood.figures_table(fitted.measured()),
            f"{target}: {int(fitted.images):,} training images, rank {len(fitted.precisions)}, "
            f"{target.stat().st_size / 1e6:.2f} MB; hedged above {fitted.hedge:.2f}, declined above "
            f"{fitted.decline:.2f}; export again to carry it on",
        ]
    )


def _check(options: argparse.Namespace) -> None:
    """Checks the options before anything is loaded."""
    checks.integer(options.rank, "--rank", 1)
    checks.integer(options.drawn, "--drawn", 2)
    checks.integer(options.seed, "--seed", 0)
    for name in ("max_declined", "max_hedged", "least_confidence", "trim"):
        checks.number(getattr(options, name), f"--{name.replace('_', '-')}", 0, 0.9)
    if options.max_hedged < options.max_declined:
        raise SpecError(
            f"expected --max-hedged of at least --max-declined, got {options.max_hedged:g} and "
            f"{options.max_declined:g}: what is declined would have been hedged"
        )


def run(options: argparse.Namespace) -> None:
    """Fits, writes and prints."""
    print(fit_folder(options))


main = program(parser, run, "stopped; run the same command again to resume")

if __name__ == "__main__":
    sys.exit(main())
