"""The one search loop, for any model and any strategy: it calls `start/step/head` and `Strategy.choose`.

Each step stores the chosen ids and back-pointers to the beams they continue; captions are read back along these
pointers once, at the end. Nothing here relies on AutoGraph, so the loop exports as it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from captioner.decoding.backend import Array, set_static_shapes, xp
from captioner.decoding.rules import FORBIDDEN, Rules, Task, possible
from captioner.decoding.strategy import Step, Strategy
from captioner.types import END, PAD, START, Hypotheses


class _Beams(NamedTuple):
    """The loop variables. R = B * K rows, the beams of an image adjacent."""

    t: Array  # int32 scalar
    settled: Array  # bool scalar: no further step can change the outcome
    ids: Array  # int32 [B, K], the last ids
    ended: Array  # bool [B, K]: the last id is `<end>`, or the `<pad>` that follows it
    logp: Array  # float32 [B, K]
    lengths: Array  # int32 [B, K]
    state: Any  # of the model, leaves [R, ...]
    rule_state: Any  # leaves [R, ...]
    strategy_state: Any
    trace: Any  # TensorArrays over time: ids, parents, word_logp [B, K] and attention [B, K, L]


def search(model: Any, features: Array, strategy: Strategy, task: Task) -> Hypotheses:
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

    def keep_going(beams: _Beams) -> Array:
        return (beams.t < task.max_length) & ~beams.settled

    def advance(beams: _Beams) -> tuple[_Beams]:
        return (_advance(model, memory, beams, strategy, rules, task),)

    (beams,) = xp.while_loop(keep_going, advance, (beams,))
    return _read_back(beams, strategy, task)


def _begin(model: Any, features: Array, strategy: Strategy, rules: Rules, task: Task) -> tuple[_Beams, Any]:
    """The loop's state before the first word, and the memory."""
    k, images, static_images = strategy.rows, xp.shape(features)[0], features.shape[0]
    memory, state = model.start(features)
    state = xp.nest.map_structure(xp.convert_to_tensor, state)
    if k > 1:
        state = xp.nest.map_structure(lambda leaf: xp.repeat(leaf, k, axis=0), state)

    def array(dtype: Any, *shape: int | None) -> xp.TensorArray:
        return xp.TensorArray(dtype, size=task.max_length, element_shape=[static_images, k, *shape])

    shape = xp.stack([images, k])
    ids = xp.fill(shape, START)
    trace = (array(xp.int32), array(xp.int32), array(xp.float32), array(xp.float32, features.shape[1]))
    beams = _Beams(
        t=xp.constant(0),
        settled=xp.constant(False),
        ids=ids,
        ended=xp.fill(shape, False),
        logp=xp.broadcast_to(xp.constant(strategy.initial_logp(), xp.float32), shape),
        lengths=xp.zeros_like(ids),
        state=state,
        rule_state=rules.start(images * k),
        strategy_state=strategy.begin(images, task),
        trace=trace,
    )
    return beams, memory


def _advance(model: Any, memory: Any, beams: _Beams, strategy: Strategy, rules: Rules, task: Task) -> _Beams:
    """One step of the loop: one more id of every beam."""
    k, images = strategy.rows, xp.shape(beams.ids)[0]
    output, attention, state = model.step(xp.reshape(beams.ids, [-1]), memory, beams.state)
    logits = xp.cast(model.head(output), xp.float32)
    size = logits.shape[-1]
    strategy.check_vocabulary(size)
    top = xp.reduce_max(logits, axis=-1, keepdims=True)
    normaliser = top + xp.math.log(xp.reduce_sum(xp.exp(logits - top), axis=-1, keepdims=True))
    step = Step(
        t=beams.t,
        allowed=xp.reshape(rules.apply(logits, beams.t, beams.rule_state), [-1, k, size]),
        normaliser=xp.reshape(normaliser, [-1, k, 1]),
        logp=beams.logp,
        ended=beams.ended,
    )
    choice = strategy.choose(step, beams.strategy_state, task)
    logp, lengths, rule_state, parents = beams.logp, beams.lengths, beams.rule_state, choice.parents
    if parents is None:
        parents = xp.broadcast_to(xp.range(k), xp.shape(choice.ids))
    else:
        rows = xp.reshape(parents + k * xp.range(images)[:, xp.newaxis], [-1])
        state, rule_state = xp.nest.map_structure(lambda leaf: xp.gather(leaf, rows), (state, rule_state))
        logp, lengths = (xp.gather(x, parents, batch_dims=1) for x in (logp, lengths))
    state = set_static_shapes(state, beams.state)
    logp = logp + choice.word_logp
    lengths = lengths + xp.cast(choice.ids != PAD, xp.int32)
    ended = (choice.ids == END) | (choice.ids == PAD)
    settled = strategy.ranker.settled(logp, lengths, ended, strategy.list_size, task.max_length)
    attention = xp.reshape(xp.cast(attention, xp.float32), [images, k, -1])
    values = (choice.ids, parents, choice.word_logp, attention)
    return _Beams(
        t=beams.t + 1,
        settled=xp.reduce_all(settled),
        ids=choice.ids,
        ended=ended,
        logp=logp,
        lengths=lengths,
        state=state,
        rule_state=rules.advance(rule_state, xp.reshape(choice.ids, [-1])),
        strategy_state=choice.strategy_state,
        trace=tuple(a.write(beams.t, v) for a, v in zip(beams.trace, values, strict=True)),
    )


def _read_back(beams: _Beams, strategy: Strategy, task: Task) -> Hypotheses:
    """Follows the back-pointers of the n best from their last step to their first."""
    ids, parents, word_logp, attention = (array.stack() for array in beams.trace)
    # Steps that were never run hold zeros: there every beam continues itself.
    times = np.arange(task.max_length, dtype=np.int32)[:, None, None]
    parents = xp.where(times < beams.t, parents, np.arange(strategy.rows, dtype=np.int32))
    reachable = possible(beams.logp)
    score = xp.where(reachable, strategy.ranker.score(beams.logp, beams.lengths), FORBIDDEN)
    order = strategy.order(score, beams.strategy_state)
    score = xp.where(possible(order), score, FORBIDDEN)
    slot = xp.math.top_k(order, strategy.list_size).indices
    best = slot
    slots, rows = [], []
    for pointers in reversed(xp.unstack(parents)):
        slots.append(slot)
        slot = xp.gather(pointers, slot, batch_dims=1)
        rows.append(slot)
    slots, rows = xp.stack(slots[::-1]), xp.stack(rows[::-1])
    score = xp.gather(score, best, batch_dims=1)
    reachable = possible(score)
    logp = xp.gather(beams.logp, best, batch_dims=1)
    # Unreachable hypotheses are returned empty; NaN stays NaN, for the caller to see.
    logp = xp.where(reachable | (logp != logp), logp, FORBIDDEN)
    ids = xp.where(reachable, xp.gather(ids, slots, batch_dims=2), PAD)
    is_id = ids != PAD
    word_logp = xp.where(is_id, xp.gather(word_logp, slots, batch_dims=2), 0.0)
    attention = xp.where(is_id[..., xp.newaxis], xp.gather(attention, rows, batch_dims=2), 0.0)
    return Hypotheses(
        ids=xp.transpose(ids, [1, 2, 0]),
        lengths=xp.reduce_sum(xp.cast(is_id, xp.int32), axis=0),
        logp=logp,
        score=score,
        word_logp=xp.transpose(word_logp, [1, 2, 0]),
        attention=xp.transpose(attention, [1, 2, 0, 3]),
    )
