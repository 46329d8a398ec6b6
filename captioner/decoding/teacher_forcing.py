"""Teacher forcing: the log-probabilities of given captions, step by step."""

from __future__ import annotations

from typing import Any

from captioner.decoding.backend import Array, do_not_convert, xp
from captioner.types import PAD, START


@do_not_convert
def teacher_forced_logp(model: Any, features: Any, ids: Any) -> Array:
    """Log-probability of each word of given captions, from the same `start/step/head` that search calls.

    Args:
        model: anything with `start`, `step` and `head`.
        features: float [B, L, C].
        ids: int [B, K, T], K captions an image, `<pad>` after their end, as in `Hypotheses.ids`; T known.

    Returns:
        float32 [B, K, T]; 0 at `<pad>`.

    Example:
        >>> import tensorflow as tf
        >>> class Uniform:  # all of four ids are equally likely
        ...     def start(self, features):
        ...         return {}, tf.zeros([tf.shape(features)[0], 1])
        ...     def step(self, ids, memory, state):
        ...         return tf.zeros([tf.shape(ids)[0], 4]), state, state
        ...     def head(self, output):
        ...         return output
        >>> teacher_forced_logp(Uniform(), tf.zeros([1, 1, 1]), [[[2, 0]]]).numpy().round(3)
        array([[[-1.386,  0.   ]]], dtype=float32)
    """
    ids = xp.cast(ids, xp.int32)
    k, length = ids.shape[1:]
    memory, state = model.start(xp.convert_to_tensor(features))
    state = xp.nest.map_structure(lambda leaf: xp.repeat(leaf, k, axis=0), state)
    rows = xp.reshape(ids, [-1, length])
    previous = xp.fill(xp.shape(rows)[:1], START)
    word_logp = []
    for t in range(length):
        output, _, state = model.step(previous, memory, state)
        logp = xp.nn.log_softmax(xp.cast(model.head(output), xp.float32))
        previous = rows[:, t]
        word_logp.append(xp.where(previous == PAD, 0.0, xp.gather(logp, previous, batch_dims=1)))
    return xp.reshape(xp.stack(word_logp, axis=1), xp.shape(ids))
