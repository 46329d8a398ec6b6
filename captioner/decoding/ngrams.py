"""The n-grams of captions as numbers, inside the graph."""

from __future__ import annotations

from collections.abc import Iterator

from captioner.decoding.backend import tf
from captioner.types import END, PAD

ORDERS = 4
# Runs of words become numbers by a polynomial in this, modulo 2 ** 32: two that differ almost never meet.
_BASE = 1_000_003


def ngrams(ids: tf.Tensor) -> Iterator[tuple[int, tf.Tensor, tf.Tensor]]:
    """The n-grams of captions, order by order.

    Args:
        ids: int32 [B, K, T], `<pad>` behind the end. The end itself is no word.

    Yields:
        n from 1 to at most 4; int32 [B, K, T - n + 1], a number for each n-gram, equal for equal ones of that order;
        and bool of that shape, whether there is an n-gram.

    Example:
        >>> import numpy as np
        >>> [(n, real.tolist()) for n, _, real in ngrams(np.array([[[5, 6, 2]]], np.int32))]
        [(1, [[[True, True, False]]]), (2, [[[True, False]]]), (3, [[[False]]])]
    """
    length = ids.shape[2]
    said = (ids != PAD) & (ids != END)
    grams, whole = ids, said
    for n in range(1, min(ORDERS, length) + 1):
        if n > 1:
            grams = grams[:, :, :-1] * _BASE + ids[:, :, n - 1 :]
            whole = said[:, :, n - 1 :]  # a caption's words have no gaps
        yield n, grams, whole
