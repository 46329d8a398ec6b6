"""The one search loop. It knows neither network nor strategy: it calls `start/step/head` and `choose`.

Each step stores what was chosen and which beam it continues; captions are read back along these pointers
once, at the end. Nothing here relies on autograph, so the loop exports as it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from captioner.decoding.backend import shaped_like, tf
from captioner.decoding.rules import FORBIDDEN, Rules, Task, possible
from captioner.decoding.strategy import Step, Strategy
from captioner.types import END, PAD, START, Hypotheses


class _Beams(NamedTuple):
    """What the loop carries. R = B * K rows, an image's beams adjacent."""

    t: tf.Tensor  # int32 scalar
    settled: tf.Tensor  # bool scalar: nothing can change any more
    ids: tf.Tensor  # int32 [B, K], the last ids
    ended: tf.Tensor  # bool [B, K]: the last id is `<end>`, or the `<pad>` that follows it
    logp: tf.Tensor  # float32 [B, K]
    lengths: tf.Tensor  # int32 [B, K]
    state: Any  # the model's, leaves [R, ...]
    rules: Any  # the rules', leaves [R, ...]
    own: Any  # the strategy's
    trace: Any  # TensorArrays over time: ids, parents, word_logp [B, K] and attention [B, K, L]


def search(model: Any, features: tf.Tensor, strategy: Strategy, task: Task) -> Hypotheses:
    """Runs a strategy on a model.

    Args:
        model: anything with `start`, `step` and `head`.
        features: float [B, L, C]; B may be unknown when traced.
        strategy: Strategy.
        task: Task.

    Returns:
        `Hypotheses` with `strategy.list_size` captions an image.
    """
    strategy = strategy.bind(task)
    rules = Rules(strategy.rules, task)
    beams, memory = _begin(model, features, strategy, rules, task)

    def unsettled(beams: _Beams) -> tf.Tensor:
        return (beams.t < task.max_length) & ~beams.settled

    def advance(beams: _Beams) -> tuple[_Beams]:
        return (_advance(model, memory, beams, strategy, rules, task),)

    (beams,) = tf.while_loop(unsettled, advance, (beams,))
    return _read_back(beams, strategy, task)


def _begin(
    model: Any, features: tf.Tensor, strategy: Strategy, rules: Rules, task: Task
) -> tuple[_Beams, Any]:
    """The loop's state before the first word, and the memory."""
    k, images, known = strategy.rows, tf.shape(features)[0], features.shape[0]
    memory, state = model.start(features)
    state = tf.nest.map_structure(tf.convert_to_tensor, state)
    if k > 1:
        state = tf.nest.map_structure(lambda leaf: tf.repeat(leaf, k, axis=0), state)

    def array(dtype: Any, *shape: int | None) -> tf.TensorArray:
        return tf.TensorArray(dtype, size=task.max_length, element_shape=[known, k, *shape])

    shape = tf.stack([images, k])
    ids = tf.fill(shape, START)
    trace = (array(tf.int32), array(tf.int32), array(tf.float32), array(tf.float32, features.shape[1]))
    beams = _Beams(
        t=tf.constant(0),
        settled=tf.constant(False),
        ids=ids,
        ended=tf.fill(shape, False),
        logp=tf.broadcast_to(tf.constant(strategy.fresh_logp(), tf.float32), shape),
        lengths=tf.zeros_like(ids),
        state=state,
        rules=rules.start(images * k),
        own=strategy.begin(images, task),
        trace=trace,
    )
    return beams, memory


def _advance(model: Any, memory: Any, beams: _Beams, strategy: Strategy, rules: Rules, task: Task) -> _Beams:
    """One word more."""
    k, images = strategy.rows, tf.shape(beams.ids)[0]
    output, attention, state = model.step(tf.reshape(beams.ids, [-1]), memory, beams.state)
    logits = tf.cast(model.head(output), tf.float32)
    size = logits.shape[-1]
    strategy.fit(size)
    top = tf.reduce_max(logits, axis=-1, keepdims=True)
    normaliser = top + tf.math.log(tf.reduce_sum(tf.exp(logits - top), axis=-1, keepdims=True))
    step = Step(
        t=beams.t,
        allowed=tf.reshape(rules.apply(logits, beams.t, beams.rules), [-1, k, size]),
        normaliser=tf.reshape(normaliser, [-1, k, 1]),
        logp=beams.logp,
        ended=beams.ended,
    )
    choice = strategy.choose(step, beams.own, task)
    logp, lengths, rule_state, parents = beams.logp, beams.lengths, beams.rules, choice.parents
    if parents is None:
        parents = tf.broadcast_to(tf.range(k), tf.shape(choice.ids))
    else:
        rows = tf.reshape(parents + k * tf.range(images)[:, tf.newaxis], [-1])
        state, rule_state = tf.nest.map_structure(lambda leaf: tf.gather(leaf, rows), (state, rule_state))
        logp, lengths = (tf.gather(x, parents, batch_dims=1) for x in (logp, lengths))
    state = shaped_like(state, beams.state)
    logp = logp + choice.word_logp
    lengths = lengths + tf.cast(choice.ids != PAD, tf.int32)
    ended = (choice.ids == END) | (choice.ids == PAD)
    settled = strategy.ranker.settled(logp, lengths, ended, strategy.list_size, task.max_length)
    attention = tf.reshape(tf.cast(attention, tf.float32), [images, k, -1])
    values = (choice.ids, parents, choice.word_logp, attention)
    return _Beams(
        t=beams.t + 1,
        settled=tf.reduce_all(settled),
        ids=choice.ids,
        ended=ended,
        logp=logp,
        lengths=lengths,
        state=state,
        rules=rules.advance(rule_state, tf.reshape(choice.ids, [-1])),
        own=choice.own,
        trace=tuple(a.write(beams.t, v) for a, v in zip(beams.trace, values, strict=True)),
    )


def _read_back(beams: _Beams, strategy: Strategy, task: Task) -> Hypotheses:
    """Follows the pointers of the n best from their last step to their first."""
    ids, parents, word_logp, attention = (array.stack() for array in beams.trace)
    # Steps that were never run hold zeros: there every beam continues itself.
    times = np.arange(task.max_length, dtype=np.int32)[:, None, None]
    parents = tf.where(times < beams.t, parents, np.arange(strategy.rows, dtype=np.int32))
    alive = possible(beams.logp)
    score = tf.where(alive, strategy.ranker.score(beams.logp, beams.lengths), FORBIDDEN)
    order = strategy.order(score, beams.own)
    score = tf.where(possible(order), score, FORBIDDEN)
    slot = tf.math.top_k(order, strategy.list_size).indices
    best = slot
    slots, rows = [], []
    for pointers in reversed(tf.unstack(parents)):
        slots.append(slot)
        slot = tf.gather(pointers, slot, batch_dims=1)
        rows.append(slot)
    slots, rows = tf.stack(slots[::-1]), tf.stack(rows[::-1])
    score = tf.gather(score, best, batch_dims=1)
    real = possible(score)
    logp = tf.gather(beams.logp, best, batch_dims=1)
    # Unreachable hypotheses are returned empty; NaN stays NaN, for the caller to see.
    logp = tf.where(real | (logp != logp), logp, FORBIDDEN)
    ids = tf.where(real, tf.gather(ids, slots, batch_dims=2), PAD)
    said = ids != PAD
    word_logp = tf.where(said, tf.gather(word_logp, slots, batch_dims=2), 0.0)
    attention = tf.where(said[..., tf.newaxis], tf.gather(attention, rows, batch_dims=2), 0.0)
    return Hypotheses(
        ids=tf.transpose(ids, [1, 2, 0]),
        lengths=tf.reduce_sum(tf.cast(said, tf.int32), axis=0),
        logp=logp,
        score=score,
        word_logp=tf.transpose(word_logp, [1, 2, 0]),
        attention=tf.transpose(attention, [1, 2, 0, 3]),
    )
