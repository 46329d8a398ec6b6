"""Initial weights of a model from another one, whose vocabulary may differ.

Words that both vocabularies have keep their vectors and their weights of the logits. A new word begins with the mean
over all words, or over those whose character n-grams are most alike ("petals" begins as "petal" and "petalled"; n-grams
with word boundaries as in Bojanowski et al. 2017, "Enriching word vectors with subword information", section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from captioner import bundle
from captioner.engines.keras import load_weights, network
from captioner.errors import ModelError
from captioner.models import CaptionModel
from captioner.text import Tokenizer
from captioner.types import SPECIALS

_NEIGHBOURS = 3  # known words that a new one is averaged from
_LEAST_SIMILARITY = 0.3


def load_initial_weights(
    model: CaptionModel,
    folder: str,
    parts: str = "all",
    new_words: str = "subwords",
    trust: Sequence[str] = (),
) -> None:
    """Loads the weights of a model folder into a model.

    Args:
        model: CaptionModel.
        folder: str. A model folder.
        parts: str, default "all". `encoder` leaves the decoder as it is.
        new_words: str, default "subwords". How new words begin: `mean` or `subwords`.
        trust: sequence of str, default none; see `captioner.load`.

    Raises:
        BundleError: if it is no complete model folder.
        ModelError: if it is another network.
    """
    stored = bundle.read(folder)
    if parts == "all" and stored.tokenizer.fingerprint == model.tokenizer.fingerprint:
        load_weights(model, stored)
        return
    start = network(stored, trust)
    _copy_all(start.encoder, model.encoder, folder, "encoder")
    if parts == "encoder":
        return
    sources = source_rows(stored.tokenizer, model.tokenizer, new_words)
    by_word = {id(variable): axis for variable, axis in model.decoder.vocabulary_weights()}
    _check_shapes(start.decoder, model.decoder, folder, by_word)
    for old, new in zip(start.decoder.weights, model.decoder.weights, strict=True):
        values = keras.ops.convert_to_numpy(old.value)
        axis = by_word.get(id(new))
        new.assign(values if axis is None else averaged_rows(values, sources, axis))


def source_rows(old: Tokenizer, new: Tokenizer, new_words: str) -> list[list[int]]:
    """The ids of the old vocabulary that each word of the new one begins as the mean of.

    Args:
        old, new: Tokenizer.
        new_words: str. `mean`: of all words; `subwords`: of up to three whose character n-grams are most alike, and of
            all where none is alike.

    Example:
        >>> source_rows(Tokenizer(["a", "petal"]), Tokenizer(["petals", "a"]), "subwords")
        [[0], [1], [2], [3], [5], [4]]
    """
    everything = list(range(len(SPECIALS), len(old)))
    known = {word: number for number, word in enumerate(old.vocabulary)}
    grams = [_ngrams(word) for word in old.vocabulary[len(SPECIALS) :]] if new_words == "subwords" else []
    rows = []
    for word in new.vocabulary:
        if word in known:
            rows.append([known[word]])
        else:
            rows.append(_alike(word, grams) or everything)
    return rows


def averaged_rows(values: np.ndarray, sources: Sequence[Sequence[int]], axis: int) -> np.ndarray:
    """Means of entries along an axis.

    Args:
        values: float array with V entries along `axis`.
        sources: V' sequences of the entries to average.
        axis: int.

    Returns:
        The array with V' entries along `axis`.

    Example:
        >>> averaged_rows(np.array([1.0, 2.0, 4.0]), [[2], [0, 1]], 0)
        array([4. , 1.5])
    """
    entries = np.moveaxis(values, axis, 0)
    return np.moveaxis(np.stack([entries[list(rows)].mean(0) for rows in sources]), 0, axis)


def _ngrams(word: str) -> frozenset[str]:
    marked = f"<{word}>"
    return frozenset(marked[i : i + n] for n in (3, 4, 5) for i in range(len(marked) - n + 1))


def _alike(word: str, grams: Sequence[frozenset[str]]) -> list[int]:
    """Ids of the known words that share most n-grams with a word (Dice coefficient), at most three."""
    own_grams = _ngrams(word)
    similarity = np.array(
        [2 * len(own_grams & other) / (len(own_grams) + len(other)) for other in grams] or [0.0]
    )
    best = np.argsort(-similarity, kind="stable")[:_NEIGHBOURS]
    return [int(i) + len(SPECIALS) for i in best if similarity[i] >= _LEAST_SIMILARITY]


def _copy_all(start: Any, part: Any, folder: str, name: str) -> None:
    weights, shapes = start.get_weights(), [w.shape for w in part.get_weights()]
    if [w.shape for w in weights] != shapes:
        raise ModelError(
            f"expected the {name} of model.init_from={folder} to be that of this model, got another"
        )
    part.set_weights(weights)


def _check_shapes(start: Any, decoder: Any, folder: str, by_word: dict[int, int]) -> None:
    """Raises a ModelError unless decoders are alike but for their vocabularies."""

    def shapes(variables: Any, axes: Sequence[int | None]) -> list[Any]:
        return [
            (tuple(n for i, n in enumerate(v.shape) if i != axis), str(v.dtype))
            for v, axis in zip(variables, axes, strict=False)
        ]

    axes = [by_word.get(id(variable)) for variable in decoder.weights]
    old, new = start.weights, decoder.weights
    if len(old) != len(new) or shapes(old, axes) != shapes(new, axes):
        raise ModelError(
            f"expected the decoder of model.init_from={folder} to be that of this model, got another; leave "
            "model.decoder empty to take its own, or set model.init_parts=encoder"
        )
