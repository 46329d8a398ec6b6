"""Teacher forcing by stepping: what a model thinks of given captions."""

from __future__ import annotations

from typing import Any

from captioner.decoding.backend import tf, without_autograph
from captioner.types import PAD, START


@without_autograph
def teacher_forced_logp(model: Any, features: Any, ids: Any) -> tf.Tensor:
    """Log-probability of each word of given captions, by the same `start/step/head` that search calls.

    Args:
        model: anything with `start`, `step` and `head`.
        features: float [B, L, C].
        ids: int [B, K, T], K captions an image, `<pad>` after their end, as in `Hypotheses.ids`; T known.

    Returns:
        float32 [B, K, T]; 0 at `<pad>`.

    Example:
        >>> class Even:  # all of four ids are equally likely
        ...     def start(self, features):
        ...         return {}, tf.zeros([tf.shape(features)[0], 1])
        ...     def step(self, ids, memory, state):
        ...         return tf.zeros([tf.shape(ids)[0], 4]), state, state
        ...     def head(self, output):
        ...         return output
        >>> teacher_forced_logp(Even(), tf.zeros([1, 1, 1]), [[[2, 0]]]).numpy().round(3)
        array([[[-1.386,  0.   ]]], dtype=float32)
    """
    ids = tf.cast(ids, tf.int32)
    k, length = ids.shape[1:]
    memory, state = model.start(tf.convert_to_tensor(features))
    state = tf.nest.map_structure(lambda leaf: tf.repeat(leaf, k, axis=0), state)
    rows = tf.reshape(ids, [-1, length])
    before = tf.fill(tf.shape(rows)[:1], START)
    found = []
    for t in range(length):
        output, _, state = model.step(before, memory, state)
        logp = tf.nn.log_softmax(tf.cast(model.head(output), tf.float32))
        before = rows[:, t]
        found.append(tf.where(before == PAD, 0.0, tf.gather(logp, before, batch_dims=1)))
    return tf.reshape(tf.stack(found, axis=1), tf.shape(ids))
