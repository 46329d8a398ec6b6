"""Learns what people say of images, so that a model can choose among its captions: `consensus(evidence='image')`.

    python training/expect.py runs/flickr8k_lstm/model "flickr(folder='...', captions='...')"

writes `expectation.npz` into the model folder. The training images are encoded by the model's own encoder (kept in
the feature cache), and the mean tf-idf vector of an image's captions is predicted from its mean feature by ridge
regression of low rank, see `captioner.decoding.expectation`. There is nothing to iterate: on Flickr8k it takes a minute
once the features are there. Exports carry it on where their strategy needs it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from tqdm import tqdm

from captioner import atomic, bundle, checks
from captioner.cli.parser import Parser, add_trust
from captioner.decoding.backend import numpy_arrays
from captioner.decoding.expectation import Expectation, keyed, unit
from captioner.decoding.ngrams import ngrams
from captioner.errors import BundleError, DataError
from captioner.programs import run_program
from captioner.text import Tokenizer, words

RANK, LEAST, RIDGE = 256, 3, 1e-4


def fit(
    features: np.ndarray,
    captions: Sequence[Sequence[str]],
    tokenizer: Tokenizer,
    rank: int = RANK,
    least: int = LEAST,
    ridge: float = RIDGE,
) -> Expectation:
    """Reduced-rank ridge regression (Izenman 1975) from mean features to mean tf-idf vectors of captions.

    Args:
        features: float32 [V, N, C]. Mean features of N images in V views, the images' own among them.
        captions: N sequences of str.
        tokenizer: Tokenizer.
        rank: int, default 256. R; at most C.
        least: int, default 3. N-grams that occur with fewer images are left out.
        ridge: float, default 1e-4. Weight of the squared weights, for a mean over images and features of unit length.

    Returns:
        `Expectation`.

    Raises:
        DataError: if no n-gram occurs with `least` images.

    Example:
        >>> views = np.random.default_rng(0).normal(size=(1, 40, 6)).astype(np.float32)
        >>> said = [["a dog runs"] if x > 0 else ["two cats sleep"] for x in views[0, :, 0]]
        >>> found = fit(views, said, Tokenizer(["a", "dog", "runs", "two", "cats", "sleep"]))
        >>> found.vectors.shape  # 2 x (3 + 2 + 1) n-grams
        (12, 6)
    """
    keys, idf, targets = _targets(captions, tokenizer, least)
    count, channels = features.shape[1:]
    centre = features[0].mean(axis=0, dtype=np.float64)
    with numpy_arrays():
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
    return Expectation(
        keys=keys,
        idf=idf,
        mean=mean.astype(np.float32),
        vectors=(fitted @ turn).astype(np.float16),
        centre=centre.astype(np.float32),
        project=((axes / scale) @ turn).astype(np.float32),
        images=np.array(count, np.int32),
        vocabulary=np.array(tokenizer.fingerprint),
    )


def _targets(
    captions: Sequence[Sequence[str]], tokenizer: Tokenizer, least: int
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Keys and idf of the n-grams that count, and each image's mean tf-idf vector, unit length an order: [N, G]."""
    from scipy.sparse import csr_matrix, diags, hstack

    known = {word: number for number, word in enumerate(tokenizer.vocabulary)}
    size = len(known)
    owners = np.repeat(np.arange(len(captions)), [len(each) for each in captions])
    # Words that the vocabulary lacks are told apart: their n-grams lengthen vectors, but no caption will say them.
    said = [[known.setdefault(w, len(known)) for w in words(text)] for each in captions for text in each]
    ids = np.zeros((len(said), 1, max(map(len, said), default=0) or 1), np.int32)
    for row, caption in zip(ids[:, 0], said, strict=True):
        row[: len(caption)] = caption
    mean = diags(1.0 / np.maximum(np.bincount(owners, minlength=len(captions)), 1)) @ csr_matrix(
        (np.ones(len(owners)), (owners, np.arange(len(owners)))), (len(captions), len(owners))
    )
    parts, found, rarities, sayable = [], [], [], np.ones(ids.shape, bool)
    with numpy_arrays():
        for n, grams, real in ngrams(ids):
            sayable = sayable[:, :, : grams.shape[2]] & (ids[:, :, n - 1 :] < size)
            table, column = np.unique(keyed(grams, n)[real], return_inverse=True)
            row = np.nonzero(real)[0]
            counts = csr_matrix((np.ones(len(row)), (row, column)), (len(ids), len(table)))
            images = np.asarray(((mean @ counts) > 0).sum(axis=0)).ravel()
            weighed = counts @ diags(np.log(len(captions) / images))
            length = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
            kept = (images >= least) & (np.bincount(column, sayable[real], len(table)) > 0)
            parts.append((mean @ (diags(1.0 / np.maximum(length, 1e-9)) @ weighed))[:, kept])
            found.append(table[kept])
            rarities.append(np.log(len(captions) / images)[kept])
    keys = np.concatenate(found)
    # Numbers of two orders may meet, once in many tables; the first is kept.
    keys, order = np.unique(keys, return_index=True)
    if not len(keys):
        raise DataError(
            f"expected n-grams that occur with {least} images or more, found none in the captions of {len(captions)}"
        )
    return keys, np.concatenate(rarities)[order].astype(np.float32), hstack(parts).tocsc()[:, order]


def pooled(features: Any, batch: int = 256) -> np.ndarray:
    """Mean features float32 [N, C] of kept ones [N, L, C]."""
    starts = tqdm(range(0, len(features), batch), desc="pool features", leave=False, mininterval=1.0)
    every = np.arange(len(features))
    return np.concatenate([features[every[s : s + batch]].astype(np.float32).mean(axis=1) for s in starts])


def learn(model: Any, dataset: Any, folder: str, views: int, **options: Any) -> Expectation:
    """An expectation for a model, from the training split of a dataset.

    Args:
        model: CaptionModel.
        dataset: Dataset.
        folder: str. The feature cache.
        views: int. Other views of each image to learn from as well, see `data.cached_augmentations`.
        **options: those of `fit`.
    """
    from training.data.feature_cache import align, encode_split
    from training.data.transforms import AugmentedView

    every = [dataset, *(AugmentedView(dataset, view) for view in range(1, views + 1))]
    encoded = align([encode_split(model.encoder, each, "train", folder) for each in every], "train", folder)
    captions = [example.captions for example in encoded[0].examples]
    return fit(np.stack([pooled(each) for each in encoded]), captions, model.tokenizer, **options)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="expect.py", description=__doc__)
    build.add_argument("model", metavar="MODEL", help="a model folder")
    build.add_argument("dataset", metavar="DATASET", help='such as "flickr(...)", see training/data/datasets')
    build.add_argument(
        "--features", default="cache/features", help="the feature cache (default: %(default)s)"
    )
    build.add_argument("--views", type=int, default=0, help="as data.views (default: %(default)s)")
    build.add_argument("--rank", type=int, default=RANK, help="of the regression (default: %(default)s)")
    build.add_argument(
        "--least", type=int, default=LEAST, help="images that an n-gram occurs with (default: %(default)s)"
    )
    build.add_argument("--ridge", type=float, default=RIDGE, help="(default: %(default)s)")
    add_trust(build)
    build.add_argument("--overwrite", action="store_true", help="replace an expectation that is there")
    return build


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_program("expect.py", lambda: _run(arguments), "stopped; run the same command again to go on")


def _run(arguments: Sequence[str] | None) -> None:
    given = parser().parse_args(arguments)
    for name, least in {"views": 0, "rank": 1, "least": 1}.items():
        checks.integer(getattr(given, name), f"--{name}", least)
    checks.number(given.ridge, "--ridge", 1e-12)
    read = bundle.read(given.model)
    target = read.folder / bundle.EXPECTATION
    if target.exists() and not given.overwrite:
        raise BundleError(f"{target} is there already: pass --overwrite to replace it")
    from captioner.engines.tensorflow_import import import_tensorflow

    import_tensorflow("encoding images")
    from captioner.engines.keras import network
    from training.data.datasets import DATASETS

    found = learn(
        network(read, given.trust),
        DATASETS.build(given.dataset),
        given.features,
        given.views,
        rank=given.rank,
        least=given.least,
        ridge=given.ridge,
    )
    bundle.settle(read.folder)
    with atomic.replacing(target, BundleError) as aside:
        found.save(aside)
    print(
        f"{target}: {len(found.keys):,} n-grams of {int(found.images):,} images, rank {found.project.shape[1]}, "
        f"{target.stat().st_size / 1e6:.1f} MB; choose with \"consensus(width=20, evidence='image')\""
    )


if __name__ == "__main__":
    sys.exit(main())
