"""Hashes of the n-grams of captions, in TensorFlow or NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from captioner.types import END, PAD

ORDERS = 4
# An n-gram is a polynomial hash of its ids in this base, modulo 2 ** 32: collisions are very rare.
_BASE = 1_000_003
_ORDER_BASE = 31  # n-grams of different orders share one table of keys


def ngrams(ids: Any) -> Iterator[tuple[int, Any, Any]]:
    """The n-grams of captions, order by order.

    Args:
        ids: int32 [B, K, T], `<pad>` after the end. The end token itself is no word.

    Yields:
        n from 1 to at most 4; int32 [B, K, T - n + 1], a hash for each n-gram, equal for equal n-grams;
        and bool of that shape, whether there is an n-gram.

    Example:
        >>> import numpy as np
        >>> [(n, real.tolist()) for n, _, real in ngrams(np.array([[[5, 6, 2]]], np.int32))]
        [(1, [[[True, True, False]]]), (2, [[[True, False]]]), (3, [[[False]]])]
    """
    length = ids.shape[2]
    is_word = (ids != PAD) & (ids != END)
    grams, real = ids, is_word
    for n in range(1, min(ORDERS, length) + 1):
        if n > 1:
            grams = extended(grams[:, :, :-1], ids[:, :, n - 1 :])
            real = is_word[:, :, n - 1 :]  # a caption's words have no gaps
        yield n, grams, real


def extended(grams: Any, ids: Any) -> Any:
    """Hashes of n-grams one word longer: int32, from the n-grams and the ids that follow them."""
    return grams * _BASE + ids


def keyed(grams: Any, n: int) -> Any:
    """Keys of n-grams of order n in a table that holds all orders: int32."""
    return grams * _ORDER_BASE + n
