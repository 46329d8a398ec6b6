"""Fits image-conditioned reranking, `beam(width=20, rerank='cider_regression')`, for a model.

    python training/fit_cider_regression.py runs/flickr8k_lstm/model "flickr(folder='...', captions='...')"

writes the fitted parameters, `expectation.npz`, into the model folder. The training images are encoded by the model's
own encoder (kept in the feature cache), and the mean tf-idf vector of an image's captions is predicted from its mean
feature by ridge regression of low rank, see `captioner.rerank.cider_regression`. There is nothing to iterate: on
Flickr8k it takes a minute once the features are there. A SavedModel whose strategy reranks so holds them as well.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np

from captioner import bundle, checks
from captioner.cli.parser import Parser, add_trust
from captioner.programs import program
from captioner.rerank.cider_regression import CiderRegression
from training.loop.cider_regression import MIN_COUNT, RANK, RIDGE, fit, pooled


def fit_model(
    model: Any, dataset: Any, folder: str, cached_augmentations: int, **options: Any
) -> CiderRegression:
    """The regression for a model, from the training split of a dataset.

    Args:
        model: CaptionModel.
        dataset: Dataset.
        folder: str. The feature cache.
        cached_augmentations: int. Augmentations of each image to fit on as well, see `data.cached_augmentations`.
        **options: those of `fit`.
    """
    from training.data.feature_cache import encode_split
    from training.data.features import align
    from training.data.transforms import AugmentedView

    versions = [dataset, *(AugmentedView(dataset, view) for view in range(1, cached_augmentations + 1))]
    splits = [encode_split(model.encoder, version, "train", folder) for version in versions]
    encoded = align(splits, "train", folder)
    captions = [example.captions for example in encoded[0].examples]
    features = [pooled(split.__getitem__, len(split)) for split in encoded]
    return fit(np.stack(features), captions, model.tokenizer, **options)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="fit_cider_regression.py", description=__doc__)
    build.add_argument("model", metavar="MODEL", help="a model folder")
    build.add_argument("dataset", metavar="DATASET", help='such as "flickr(...)", see training/data/datasets')
    build.add_argument(
        "--features", default="cache/features", help="the feature cache (default: %(default)s)"
    )
    build.add_argument(
        "--cached-augmentations",
        type=int,
        default=0,
        help="as data.cached_augmentations (default: %(default)s)",
    )
    build.add_argument("--rank", type=int, default=RANK, help="of the regression (default: %(default)s)")
    build.add_argument(
        "--min-count",
        type=int,
        default=MIN_COUNT,
        help="minimum number of images that an n-gram occurs with (default: %(default)s)",
    )
    build.add_argument("--ridge", type=float, default=RIDGE, help="(default: %(default)s)")
    add_trust(build)
    build.add_argument("--overwrite", action="store_true", help="replace the parameters that are there")
    return build


def run(options: argparse.Namespace) -> None:
    """Fits the regression and writes its parameters into the model folder."""
    checks.integer(options.cached_augmentations, "--cached-augmentations", 0)
    checks.integer(options.rank, "--rank", 1)
    checks.integer(options.min_count, "--min-count", 1)
    checks.number(options.ridge, "--ridge", 1e-12)
    model = bundle.read(options.model)
    name = bundle.RERANKER_FILES["cider_regression"]
    bundle.check_free(model.folder / name, options.overwrite)
    from captioner.engines.tensorflow_import import import_tensorflow

    import_tensorflow("encoding images")
    from captioner.engines.keras import network
    from training.data.datasets import DATASETS

    regression = fit_model(
        network(model, options.trust),
        DATASETS.build(options.dataset),
        options.features,
        options.cached_augmentations,
        rank=options.rank,
        min_count=options.min_count,
        ridge=options.ridge,
    )
    target = bundle.add_file(model.folder, name, regression.save, options.overwrite)
    print(
        f"{target}: {len(regression.keys):,} n-grams of {int(regression.images):,} images, rank "
        f"{regression.projection.shape[1]}, {target.stat().st_size / 1e6:.1f} MB; rerank with "
        "\"beam(width=20, rerank='cider_regression')\""
    )


main = program(parser, run, "stopped; run the same command again to resume")

if __name__ == "__main__":
    sys.exit(main())
