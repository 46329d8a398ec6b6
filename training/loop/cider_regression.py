"""Fitting of image-conditioned reranking: ridge regression from mean features to tf-idf vectors of captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from captioner import bundle
from captioner.cli.progress import progress_bar
from captioner.decoding import STRATEGIES
from captioner.decoding.backend import numpy_backend
from captioner.decoding.pooling import unit
from captioner.errors import DataError
from captioner.metrics.ngrams import index_orders
from captioner.rerank.cider_regression import CiderRegression
from captioner.rerank.ngrams import ORDERS, extended, keyed
from captioner.text import Tokenizer, words

RANK, MIN_COUNT, RIDGE = 256, 3, 1e-4
_NO_KEY = 1 << 40  # larger than any key of an n-gram
_LARGEST_WEIGHT = 1.5  # of what a prior predicts
_LARGEST_RATIO = 4.0  # of an n-gram's idf to that of the prior


@dataclass(frozen=True)
class Prior:
    """The regression of an initial model, with its vocabulary: it knows more images, in words that may be others.

    Attributes:
        regression: CiderRegression. Its first term is used: a model that was adapted already has seen the same images.
        tokenizer: Tokenizer.
    """

    regression: CiderRegression
    tokenizer: Tokenizer


@dataclass(frozen=True)
class _Targets:
    """What is predicted of N images, for G n-grams.

    Attributes:
        keys: int32 [G], ascending.
        idf: float32 [G].
        vectors: sparse [N, G]. Each image's mean tf-idf vector, unit length an order.
        prior_keys: int64 [G]. The keys of the same words in the prior's vocabulary, `_NO_KEY` where it lacks one.
    """

    keys: np.ndarray
    idf: np.ndarray
    vectors: Any
    prior_keys: np.ndarray


def fit(
    features: np.ndarray,
    captions: Sequence[Sequence[str]],
    tokenizer: Tokenizer,
    rank: int = RANK,
    min_count: int = MIN_COUNT,
    ridge: float = RIDGE,
    prior: Prior | None = None,
) -> CiderRegression:
    """Reduced-rank ridge regression (Izenman 1975) from mean features to mean tf-idf vectors of captions.

    With a prior it predicts what the prior leaves to explain, and their sum is the result.

    Args:
        features: float32 [A, N, C]. Mean features of N images: of the images themselves first, then of augmentations.
        captions: N sequences of str.
        tokenizer: Tokenizer.
        rank: int, default 256. R; at most C.
        min_count: int, default 3. N-grams that occur with fewer images are left out.
        ridge: float, default 1e-4. Weight of the squared weights, for a mean over images and features of unit length.
        prior: Prior, default None. Fitted for the same encoder.

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
    targets = _targets(captions, tokenizer, min_count, prior.tokenizer if prior else tokenizer)
    count, channels = features.shape[1:]
    centre = features[0].mean(axis=0, dtype=np.float64)
    with numpy_backend():
        rows = unit(features.astype(np.float64) - centre)
    flat = rows.reshape(-1, channels)
    covariance = flat.T @ flat / len(flat)
    mean = np.asarray(targets.vectors.mean(axis=0)).ravel()
    cross = targets.vectors.T @ rows.mean(axis=0) / count - np.outer(mean, rows.mean(axis=(0, 1)))
    terms = []
    if prior:
        before, projection, images = _prior_term(prior.regression, targets, features)
        cross -= before @ ((images - images.mean(axis=0)).T @ flat / len(flat))
        mean -= before @ images.mean(axis=0)
        terms.append((prior.regression.terms()[0][0], projection, before))
    weights = np.linalg.solve(covariance + ridge * np.eye(channels), cross.T).T
    terms.append((centre, *_of_rank(weights, covariance, min(rank, channels))))
    return CiderRegression(
        keys=targets.keys,
        idf=targets.idf,
        mean=mean.astype(np.float32),
        images=np.array(count, np.int32),
        vocabulary=np.array(tokenizer.fingerprint),
        **_summed(terms),
    )


def _of_rank(weights: np.ndarray, covariance: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Of all maps of a rank, the one whose predictions differ least from those of weights [G, C]: [C, R] and [G, R]."""
    values, axes = np.linalg.eigh(covariance)
    scale = np.sqrt(np.maximum(values, max(1e-9 * values[-1], 1e-12)))
    fitted = weights @ (axes * scale)
    _, turn = np.linalg.eigh(fitted.T @ fitted)
    turn = turn[:, ::-1][:, :rank]
    return (axes / scale) @ turn, fitted @ turn


def _prior_term(
    regression: CiderRegression, targets: _Targets, features: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a prior says of these n-grams and images, weighted as it explains them best (least squares).

    Args:
        regression: CiderRegression of the prior, of rank R.
        targets: of N images and G n-grams.
        features: float [A, N, C].

    Returns:
        vectors [G, R], projection [C, R], and projected images [A * N, R].
    """
    centre, projection = regression.terms()[0]
    row = np.minimum(np.searchsorted(regression.keys, targets.prior_keys), len(regression.keys) - 1)
    known = regression.keys[row] == targets.prior_keys
    # An entry is proportional to its n-gram's idf, which depends on the images.
    ratio = np.minimum(targets.idf / np.maximum(regression.idf[row], 1e-3), _LARGEST_RATIO)
    vectors = regression.vectors[row, : projection.shape[1]].astype(np.float64)
    vectors *= np.where(known, ratio, 0.0)[:, None]
    with numpy_backend():
        images = unit(features.astype(np.float64) - centre) @ projection
    centred = images.mean(axis=0) - images.mean(axis=(0, 1))
    explained = np.sum((targets.vectors.T @ centred) * vectors)
    squares = np.sum((vectors @ (centred.T @ centred)) * vectors)
    weight = np.clip(explained / squares, 0.0, _LARGEST_WEIGHT) if squares > 0 else 0.0
    return vectors * weight, projection, images.reshape(-1, images.shape[-1])


def _summed(terms: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Centre, projection and vectors of a sum of regressions, which are brought to the same rank with zeros."""
    if len(terms) == 1:
        centre, projection, vectors = terms[0]
    else:
        rank = max(projection.shape[1] for _, projection, _ in terms)
        wide = [[np.pad(a, [(0, 0), (0, rank - a.shape[1])]) for a in term[1:]] for term in terms]
        centre = np.stack([centre for centre, *_ in terms])
        projection = np.stack([projection for projection, _ in wide])
        vectors = np.concatenate([vectors for _, vectors in wide], axis=1)
    return {
        "centre": centre.astype(np.float32),
        "projection": projection.astype(np.float32),
        "vectors": vectors.astype(np.float16),
    }


def _targets(
    captions: Sequence[Sequence[str]], tokenizer: Tokenizer, min_count: int, prior: Tokenizer
) -> _Targets:
    """The n-grams that count, in the vocabulary of the captions and in a prior's."""
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
    number_of = {word: number for number, word in enumerate(prior.vocabulary)}
    # Of each n-gram its hash in both vocabularies, and whether all its words are in them.
    grams = np.arange(len(token_of), dtype=np.int32)
    theirs = prior_grams = np.array([number_of.get(word, -1) for word in token_of], np.int32)
    known, in_prior = grams < size, theirs >= 0
    keys, idf, vectors, prior_keys = [], [], [], []
    for n, order in enumerate(orders, 1):
        if n > 1:  # a key of the index packs the n-gram before and its last word
            before, last = order.table >> 32, (order.table & 0xFFFFFFFF).astype(np.int32)
            grams = extended(grams[before], last)
            prior_grams = extended(prior_grams[before], theirs[last])
            known, in_prior = known[before] & (last < size), in_prior[before] & (theirs[last] >= 0)
        row, column, value = order.unit_vectors()
        kept = (order.documents >= min_count) & known
        shape = (count, len(order.table))
        vectors.append(csr_matrix((value / references[row], (row, column)), shape)[:, kept])
        keys.append(keyed(grams, n)[kept])
        prior_keys.append(np.where(in_prior, keyed(prior_grams, n), _NO_KEY)[kept])
        idf.append(order.idf[kept])
    # Numbers of two n-grams may meet, once in many tables; the first is kept.
    table, first = np.unique(np.concatenate(keys), return_index=True)
    if not len(table):
        raise DataError(
            f"expected n-grams that occur with {min_count} images or more, found none in the captions of {count}"
        )
    return _Targets(
        table,
        np.concatenate(idf)[first].astype(np.float32),
        hstack(vectors).tocsc()[:, first],
        np.concatenate(prior_keys)[first],
    )


def pooled(read: Callable[[np.ndarray], np.ndarray], count: int, batch: int = 256) -> np.ndarray:
    """Mean features float32 [N, C] of N = `count` images, whose features [B, L, C] `read` returns for numbers [B]."""
    starts = progress_bar(range(0, count, batch), desc="pool features", unit="batch")
    return np.concatenate(
        [read(np.arange(s, min(s + batch, count))).astype(np.float32).mean(axis=1) for s in starts]
    )


def ridge_for(images: int) -> float:
    """A ridge for few images: 1e-2 for 270, 1e-4 for 6,000, at most 5e-2; chosen on validation images of Flickr8k and
    of photographs of flowers, see training/README.md.

    Example:
        >>> [round(ridge_for(n), 4) for n in (40, 270, 6000)]
        [0.05, 0.01, 0.0001]
    """
    return min(5e-2, 1e-2 * (270 / images) ** 1.5)


def read_prior(folder: str, channels: int) -> Prior | None:
    """The prior that an initial model has, None if it was fitted none.

    Args:
        folder: str. A model folder.
        channels: int. C of its features.

    Raises:
        BundleError: if the folder or the parameters are damaged.
    """
    stored = bundle.read(folder)
    path = stored.reranker_parameters.get("cider_regression")
    if path is None:
        return None
    regression = CiderRegression.load(path, stored.tokenizer.fingerprint, channels)
    return Prior(regression, stored.tokenizer)


def fit_parameters(
    model: Any,
    source: Any,
    strategy: str,
    splits: Sequence[str] = ("train",),
    prior: Prior | None = None,
) -> None:
    """Fits the parameters that a strategy's reranker needs on images with captions, and gives them to the model.

    Args:
        model: CaptionModel with a frozen encoder.
        source: Source.
        strategy: spec of `STRATEGIES`.
        splits: sequence of str, default ("train",). The splits of the images.
        prior: Prior, default None.
    """
    if getattr(STRATEGIES.build(strategy).reranker, "parameters", None) != "cider_regression":
        return
    examples = [example for split in splits for example in source.examples(split)]
    features = [pooled(source.reader(split), len(source.examples(split))) for split in splits]
    model.reranker_parameters["cider_regression"] = fit(
        np.concatenate(features)[None],
        [example.captions for example in examples],
        model.tokenizer,
        min_count=2 if len(examples) < 1000 else MIN_COUNT,
        ridge=ridge_for(len(examples)),
        prior=prior,
    )
