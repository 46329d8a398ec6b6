"""Fitting of image-conditioned reranking: ridge regression from mean features to tf-idf vectors of captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

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


def fit_parameters(model: Any, source: Any, strategy: str) -> None:
    """Fits the parameters that a strategy's reranker needs on the training images, and gives them to the model.

    Args:
        model: CaptionModel with a frozen encoder.
        source: Source.
        strategy: spec of `STRATEGIES`.
    """
    if getattr(STRATEGIES.build(strategy).reranker, "parameters", None) != "cider_regression":
        return
    examples = source.examples("train")
    features = pooled(source.reader("train"), len(examples))[None]
    min_count = 2 if len(examples) < 1000 else MIN_COUNT
    model.reranker_parameters["cider_regression"] = fit(
        features,
        [example.captions for example in examples],
        model.tokenizer,
        min_count=min_count,
        ridge=ridge_for(len(examples)),
    )
