"""Entry point for decoding: features in, captions out."""

from __future__ import annotations

from typing import Any

from captioner import checks
from captioner.decoding.backend import Array, do_not_convert, xp
from captioner.decoding.rules import Task
from captioner.decoding.search import search
from captioner.decoding.strategy import Strategy
from captioner.decoding.tables import STRATEGIES
from captioner.errors import SpecError
from captioner.types import Hypotheses


@do_not_convert
def generate(
    model: Any,
    features: Any,
    strategy: str | Strategy = "greedy",
    max_length: int = 20,
    tokenizer: Any = None,
    seed: Any = None,
) -> Hypotheses:
    """Captions images from their features.

    Works inside a `tf.function`, with a batch size known only at run time, and exports to a SavedModel. A
    caption holds at most `max_length` ids; one that has not ended by then is cut and has no `<end>`. `<pad>`
    and `<start>` never occur, `<unk>` only with `allow_unknown=True`. Each `word_logp` is the model's own
    log-probability under teacher forcing, whatever rules and strategy did. Unreachable hypotheses are
    returned empty: if there are fewer captions than `n_best`, the rest have length 0, `logp` and `score` -1e9.

    Args:
        model: anything with `start(features)`, `step(ids, memory, state)` and `head(output)`; for a reranker with
            fitted parameters also `reranker_parameters`, a dict that holds them by name.
        features: float [B, L, C].
        strategy: str or Strategy. A row of `STRATEGIES` with its options. Defaults to `"greedy"`.
        max_length: int. T. Defaults to `20`.
        tokenizer: Tokenizer, needed by options that hold words (`banned`, `must_include`). Defaults to `None`.
        seed: int or int tensor [2], for strategies that draw at random; goes before the strategy's own
            `seed`. Defaults to `None`.

    Returns:
        `Hypotheses` of tensors, K = `n_best`, best first.

    Raises:
        SpecError: for an unknown strategy or an option that is unknown or out of range, and for a reranker whose
            parameters the model lacks.

    Example:
        >>> import numpy as np
        >>> import tensorflow as tf
        >>> class Coin:  # word 4 with probability 0.75, else `<end>`
        ...     def start(self, features):
        ...         return {}, tf.zeros([tf.shape(features)[0], 1])
        ...     def step(self, ids, memory, state):
        ...         return state, tf.ones([tf.shape(ids)[0], 1]), state
        ...     def head(self, output):
        ...         return output + np.log([1e-9, 1e-9, 0.25, 1e-9, 0.75]).astype("float32")
        >>> generate(Coin(), tf.zeros([1, 1, 1]), "greedy", max_length=3).ids.numpy().tolist()
        [[[4, 4, 4]]]
        >>> generate(Coin(), tf.zeros([1, 1, 1]), "beam(length_penalty=0)", max_length=9).lengths.numpy()
        array([[1]], dtype=int32)
    """
    if not isinstance(strategy, Strategy):
        strategy = STRATEGIES.build(strategy)
    if not isinstance(strategy, Strategy):
        got = type(strategy).__name__
        raise SpecError(f"expected a Strategy of captioner.decoding, got {got}: derive it from Strategy")
    task = Task(checks.integer(max_length, "max_length", 1), tokenizer, _seed(seed))
    features = xp.convert_to_tensor(features)
    if strategy.reranker is None:
        return search(model, features, strategy, task)
    parameters = strategy.reranker.find_parameters(getattr(model, "reranker_parameters", {}))
    hypotheses = search(model, features, strategy, task)
    return strategy.reranker.rerank(hypotheses, strategy.n_best, features, parameters)


def _seed(seed: Any) -> Array | None:
    """The seed of stateless random operations: int32 [2]."""
    if seed is None:
        return None
    seed = xp.cast(xp.convert_to_tensor(seed), xp.int32)
    if seed.shape.rank == 0:
        seed = xp.stack([seed, 0])
    if seed.shape != [2]:
        raise SpecError(f"seed expects one whole number or two, got shape {seed.shape}")
    return seed
