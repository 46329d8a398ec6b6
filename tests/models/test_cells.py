"""Cells and attentions against software we did not write (Keras' own layers) and against the formulas in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from captioner.models import ATTENTIONS, CELLS

UNITS, WORDS, SEEN, ROWS, TIME = 5, 4, 3, 2, 6


def randomise(layer, seed=0):
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.5))


def built(name, seen, **options):
    cell = CELLS[name](units=UNITS, max_length=TIME, **options)
    states = [tf.zeros((1, size)) for size in cell.state_sizes]
    look = tf.zeros((1, SEEN)) if seen else None
    cell(cell.read(tf.zeros((1, WORDS))), look, states + cell.history(tf.zeros((1, WORDS))))
    randomise(cell)
    return cell


def inputs(seen, seed=1):
    rng = np.random.default_rng(seed)
    words = rng.normal(size=(TIME, ROWS, WORDS)).astype(np.float32)
    looks = rng.normal(size=(TIME, ROWS, SEEN)).astype(np.float32) if seen else [None] * TIME
    whole = np.concatenate([words, looks], axis=-1) if seen else words
    return words, looks, whole


def kernels(reader, joint, recur):
    """The one input matrix and the recurrent one that Keras has, from our split."""
    parts = [reader.kernel.numpy()]
    if recur is not None:
        parts += [joint.kernel.numpy()] if joint.built else []
        return np.concatenate(parts), recur.kernel.numpy()
    matrix = joint.kernel.numpy()
    return np.concatenate([*parts, matrix[:-UNITS]]), matrix[-UNITS:]


@pytest.mark.parametrize("seen", [True, False], ids=["with context", "words only"])
@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("lstm", keras.layers.LSTMCell),
        ("gru", keras.layers.GRUCell),
        ("simple_rnn", keras.layers.SimpleRNNCell),
    ],
)
def test_a_cell_is_the_one_of_keras(name, theirs, seen):
    cell, other = built(name, seen), theirs(UNITS)
    words, looks, whole = inputs(seen)
    other.build(whole[0].shape)
    kernel, recurrent = kernels(cell.reader, cell.joint, getattr(cell, "recur", None))
    bias = cell.reader.bias.numpy()
    if name == "gru":
        bias = np.stack([bias, cell.recur.bias.numpy()])
    other.set_weights([kernel, recurrent, bias])
    ours = [tf.fill((ROWS, size), 0.3) for size in cell.state_sizes]
    states = list(ours)
    for t in range(TIME):
        output, ours = cell(cell.read(words[t]), looks[t], ours)
        expected, states = other(whole[t], states)
        np.testing.assert_allclose(output, expected, atol=1e-6)
    for mine, their in zip(ours, states, strict=True):
        np.testing.assert_allclose(mine, their, atol=1e-6)


@pytest.mark.parametrize("seen", [True, False], ids=["with context", "words only"])
@pytest.mark.parametrize("places", [TIME, 0], ids=["fixed buffer", "growing buffer"])
def test_bidirectional_is_reading_everything_again(places, seen):
    """At each word: `keras.layers.Bidirectional` over the whole prefix, from the start."""
    cell = built("bidirectional", seen, backward_units=UNITS)
    words, looks, whole = inputs(seen)
    other = keras.layers.Bidirectional(keras.layers.LSTM(UNITS))
    other.build((ROWS, TIME, whole.shape[-1]))
    forward = [*kernels(cell.reader, cell.joint, None), cell.reader.bias.numpy()]
    back = [cell.back_reader.kernel.numpy()] + ([cell.back_seen.kernel.numpy()] if seen else [])
    backward = [np.concatenate(back), cell.back_recur.kernel.numpy(), cell.back_reader.bias.numpy()]
    other.set_weights(forward + backward)
    states = [tf.zeros((ROWS, UNITS))] * 2 + cell.history(tf.zeros((ROWS, 1)), places)
    for t in range(TIME):
        output, states = cell(cell.read(words[t]), looks[t], states)
        expected = other(np.swapaxes(whole[: t + 1], 0, 1))
        np.testing.assert_allclose(output, expected, atol=1e-5)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def weights_of(layer):
    return {weight.path.rsplit("/", 2)[-2] + "." + weight.name: weight.numpy() for weight in layer.weights}


def by_numpy(name, layer, query, values, heads):
    """Context [D] and map [L] of one query [Q] over values [L, D], by the formula."""
    w = weights_of(layer)
    if name == "mean_pool":
        share = np.full(len(values), 1 / len(values))
        return share @ values, share
    if name == "additive":
        keys = values @ w["key.kernel"] + w["key.bias"]
        share = softmax((np.tanh(keys + query @ w["query.kernel"]) @ w["energy.kernel"])[:, 0])
        return share @ values, share
    q, k = query @ w["query.kernel"] + w["query.bias"], values @ w["key.kernel"]
    if name == "scaled_dot":
        share = softmax(k @ q / np.sqrt(len(q)))
        return share @ values, share
    v, each = values @ w["value.kernel"] + w["value.bias"], len(q) // heads
    cut = [slice(h * each, (h + 1) * each) for h in range(heads)]
    shares = [softmax(k[:, c] @ q[c] / np.sqrt(each)) for c in cut]
    context = np.concatenate([share @ v[:, c] for share, c in zip(shares, cut, strict=True)])
    return context @ w["merge.kernel"] + w["merge.bias"], np.mean(shares, axis=0)


@pytest.mark.parametrize("sentinel", [False, True], ids=["places", "places and one more"])
@pytest.mark.parametrize("name", ATTENTIONS.names())
def test_attention_is_the_formula(name, sentinel):
    batch, group, places, depth, wide, heads = 2, 3, 5, 6, 4, 2
    layer = ATTENTIONS[name](units=8, **({"heads": heads} if name == "multi_head" else {}))
    layer.build_on(depth, wide)
    randomise(layer)
    rng = np.random.default_rng(2)
    values = rng.normal(size=(batch, places, depth)).astype(np.float32)
    query = rng.normal(size=(batch * group, wide)).astype(np.float32)
    extra = rng.normal(size=(batch * group, depth)).astype(np.float32) if sentinel else None
    context, attention = layer.attend(query, layer.prepare(values), None, extra)
    assert attention.shape == (batch * group, places)
    for row in range(batch * group):
        where = values[row // group]
        if sentinel:
            where = np.concatenate([where, extra[row : row + 1]])
        expected, share = by_numpy(name, layer, query[row], where, heads)
        np.testing.assert_allclose(context[row], expected, atol=1e-5)
        np.testing.assert_allclose(attention[row], share[:places], atol=1e-6)


def test_bidirectional_rereads_only_what_was_written():
    """What lies in the buffer beyond the words so far has no influence, and a full buffer drops the oldest word."""
    cell = built("bidirectional", seen=False)
    words, _, _ = inputs(seen=False)
    clean = [tf.zeros((ROWS, UNITS))] * 2 + cell.history(tf.zeros((ROWS, 1)))
    dirty = [*clean[:2], clean[2] + 7.0, clean[3]]
    for t in range(TIME):
        one, clean = cell(cell.read(words[t]), None, clean)
        two, dirty = cell(cell.read(words[t]), None, dirty)
        np.testing.assert_allclose(one, two, atol=1e-6)
    assert clean[2].shape[1] == TIME and clean[3].numpy().tolist() == [[TIME]] * ROWS
