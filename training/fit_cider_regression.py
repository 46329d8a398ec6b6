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
from collections.abc import Sequence
from typing import Any

import numpy as np

from captioner import bundle, checks
from captioner.cli.parser import Parser, add_trust
from captioner.cli.progress import progress_bar
from captioner.decoding.backend import numpy_backend
from captioner.errors import DataError
from captioner.metrics.ngrams import index_orders
from captioner.programs import program
from captioner.rerank.cider_regression import CiderRegression, unit
from captioner.rerank.ngrams import ORDERS, extended, keyed
from captioner.text import Tokenizer, words

RANK, MIN_COUNT, RIDGE = 256, 3, 1e-4


def fit(
    features: np.ndarray,
    captions: Sequence[Sequence[str]],
    tokenizer: Tokenizer,
    rank: int = RANK,
    min_count: int = MIN_COUNT,
    ridge: float = RIDGE,
) -> CiderRegression:
    """Reduced-rank ridge regression (Izenman 1975) from mean features to mean tf-idf vectors of captions.

    Args:
        features: float32 [A, N, C]. Mean features of N images: of the images themselves first, then of augmentations.
        captions: N sequences of str.
        tokenizer: Tokenizer.
        rank: int, default 256. R; at most C.
        min_count: int, default 3. N-grams that occur with fewer images are left out.
        ridge: float, default 1e-4. Weight of the squared weights, for a mean over images and features of unit length.

    Returns:
        `CiderRegression`.

    Raises:
        DataError: if no n-gram occurs with `min_count` images.

    Example:
        >>> features = np.random.default_rng(0).normal(size=(1, 40, 6)).astype(np.float32)
        >>> captions = [["a dog runs"] if x > 0 else ["two cats sleep"] for x in features[0, :, 0]]
        >>> regression = fit(features, captions, Tokenizer(["a", "dog", "runs", "two", "cats", "sleep"]))
        >>> regression.vectors.shape  # 2 x (3 + 2 + 1) n-grams
        (12, 6)
    """
    keys, idf, targets = _targets(captions, tokenizer, min_count)
    count, channels = features.shape[1:]
    centre = features[0].mean(axis=0, dtype=np.float64)
    with numpy_backend():
        rows = unit(features.astype(np.float64) - centre)
    flat = rows.reshape(-1, channels)
    covariance = flat.T @ flat / len(flat)
    mean = np.asarray(targets.mean(axis=0)).ravel()
    cross = targets.T @ rows.mean(axis=0) / count - np.outer(mean, rows.mean(axis=(0, 1)))
    weights = np.linalg.solve(covariance + ridge * np.eye(channels), cross.T).T
    # Of all maps of this rank, the one whose predictions differ least from those of the whole regression.
    values, axes = np.linalg.eigh(covariance)
    scale = np.sqrt(np.maximum(values, max(1e-9 * values[-1], 1e-12)))
    fitted = weights @ (axes * scale)
    _, turn = np.linalg.eigh(fitted.T @ fitted)
    turn = turn[:, ::-1][:, : min(rank, channels)]
    return CiderRegression(
        keys=keys,
        idf=idf,
        mean=mean.astype(np.float32),
        vectors=(fitted @ turn).astype(np.float16),
        centre=centre.astype(np.float32),
        projection=((axes / scale) @ turn).astype(np.float32),
        images=np.array(count, np.int32),
        vocabulary=np.array(tokenizer.fingerprint),
    )


def _targets(
    captions: Sequence[Sequence[str]], tokenizer: Tokenizer, min_count: int
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Keys and idf of the n-grams that count, and each image's mean tf-idf vector, unit length an order: [N, G]."""
    from scipy.sparse import csr_matrix, hstack

    token_of = {word: number for number, word in enumerate(tokenizer.vocabulary)}
    size, count = len(token_of), len(captions)
    # Words outside the vocabulary have ids of their own: their n-grams lengthen vectors, but no caption will hold them.
    tokens = [
        [token_of.setdefault(word, len(token_of)) for word in words(text)]
        for texts in captions
        for text in texts
    ]
    lengths = np.array([len(caption) for caption in tokens], np.int64)
    references = np.array([len(texts) for texts in captions])
    images = np.repeat(np.arange(count), references)
    flat = np.array([token for caption in tokens for token in caption], np.int64)
    orders = index_orders(flat, lengths, len(token_of), ORDERS, images, images, count)
    grams = np.arange(len(token_of), dtype=np.int32)
    in_vocabulary = grams < size
    keys, idf, vectors = [], [], []
    for n, order in enumerate(orders, 1):
        if n > 1:  # a key of the index packs the n-gram before and its last word
            before, last = order.table >> 32, (order.table & 0xFFFFFFFF).astype(np.int32)
            grams = extended(grams[before], last)
            in_vocabulary = in_vocabulary[before] & (last < size)
        row, column, value = order.unit_vectors()
        shape = (count, len(order.table))
        kept = (order.documents >= min_count) & in_vocabulary
        vectors.append(csr_matrix((value / references[row], (row, column)), shape)[:, kept])
        keys.append(keyed(grams, n)[kept])
        idf.append(order.idf[kept])
    # Numbers of two n-grams may meet, once in many tables; the first is kept.
    table, first = np.unique(np.concatenate(keys), return_index=True)
    if not len(table):
        raise DataError(
            f"expected n-grams that occur with {min_count} images or more, found none in the captions of {count}"
        )
    return table, np.concatenate(idf)[first].astype(np.float32), hstack(vectors).tocsc()[:, first]


def pooled(features: Any, batch: int = 256) -> np.ndarray:
    """Mean features float32 [N, C] of cached features [N, L, C]."""
    starts = progress_bar(range(0, len(features), batch), desc="pool features", unit="batch")
    indices = np.arange(len(features))
    return np.concatenate([features[indices[s : s + batch]].astype(np.float32).mean(axis=1) for s in starts])


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
    from training.data.feature_cache import align, encode_split
    from training.data.transforms import AugmentedView

    versions = [dataset, *(AugmentedView(dataset, view) for view in range(1, cached_augmentations + 1))]
    splits = [encode_split(model.encoder, version, "train", folder) for version in versions]
    encoded = align(splits, "train", folder)
    captions = [example.captions for example in encoded[0].examples]
    return fit(np.stack([pooled(split) for split in encoded]), captions, model.tokenizer, **options)


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
