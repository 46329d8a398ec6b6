"""Cells and attentions against software we did not write (Keras' own layers) and against the formulas in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from captioner.models import ATTENTIONS, CELLS

UNITS, WORDS, CONTEXT, ROWS, TIME = 5, 4, 3, 2, 6
with_and_without_context = pytest.mark.parametrize(
    "context", [True, False], ids=["with context", "words only"]
)


def randomise(layer, seed=0):
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.5))


def built(name, context, **options):
    cell = CELLS[name](units=UNITS, max_length=TIME, **options)
    states = [tf.zeros((1, size)) for size in cell.state_sizes]
    first_context = tf.zeros((1, CONTEXT)) if context else None
    cell(cell.read(tf.zeros((1, WORDS))), first_context, states + cell.history(tf.zeros((1, WORDS))))
    randomise(cell)
    return cell


def inputs(context, seed=1):
    """Words, contexts (or None) and the concatenation of both, each [TIME, ROWS, ...]."""
    rng = np.random.default_rng(seed)
    words = rng.normal(size=(TIME, ROWS, WORDS)).astype(np.float32)
    if not context:
        return words, [None] * TIME, words
    contexts = rng.normal(size=(TIME, ROWS, CONTEXT)).astype(np.float32)
    return words, contexts, np.concatenate([words, contexts], axis=-1)


def matrices(*layers):
    """The kernels of the layers that are built, one below the other."""
    return np.concatenate([layer.kernel.numpy() for layer in layers if layer.built])


def keras_weights(cell):
    """The kernel, recurrent kernel and bias of Keras' own cell, from a cell's layers."""
    bias = cell.input_projection.bias.numpy()
    if cell.recurrent_kernel is None:  # GRU
        recurrent = cell.recurrent_projection
        kernel = matrices(cell.input_projection, cell.context_projection)
        return [kernel, recurrent.kernel.numpy(), np.stack([bias, recurrent.bias.numpy()])]
    matrix = matrices(cell.input_projection, cell.recurrent_kernel)
    return [matrix[:-UNITS], matrix[-UNITS:], bias]


@with_and_without_context
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("lstm", keras.layers.LSTMCell),
        ("gru", keras.layers.GRUCell),
        ("simple_rnn", keras.layers.SimpleRNNCell),
    ],
)
def test_cell_equals_keras(name, reference, context):
    cell, keras_cell = built(name, context), reference(UNITS)
    words, contexts, concatenated = inputs(context)
    keras_cell.build(concatenated[0].shape)
    keras_cell.set_weights(keras_weights(cell))
    states = [tf.fill((ROWS, size), 0.3) for size in cell.state_sizes]
    expected_states = list(states)
    for t in range(TIME):
        output, states = cell(cell.read(words[t]), contexts[t], states)
        expected, expected_states = keras_cell(concatenated[t], expected_states)
        np.testing.assert_allclose(output, expected, atol=1e-6)
    for state, expected in zip(states, expected_states, strict=True):
        np.testing.assert_allclose(state, expected, atol=1e-6)


@with_and_without_context
@pytest.mark.parametrize("length", [TIME, 0], ids=["fixed buffer", "growing buffer"])
def test_bidirectional_equals_keras(length, context):
    """At each word: `keras.layers.Bidirectional` over the whole prefix, from the start."""
    cell = built("bidirectional", context, backward_units=UNITS)
    words, contexts, concatenated = inputs(context)
    reference = keras.layers.Bidirectional(keras.layers.LSTM(UNITS))
    reference.build((ROWS, TIME, concatenated.shape[-1]))
    backward = [
        matrices(cell.backward_input_projection, cell.backward_context_projection),
        cell.backward_recurrent_projection.kernel.numpy(),
        cell.backward_input_projection.bias.numpy(),
    ]
    reference.set_weights(keras_weights(cell) + backward)
    states = [tf.zeros((ROWS, UNITS))] * 2 + cell.history(tf.zeros((ROWS, 1)), length)
    for t in range(TIME):
        output, states = cell(cell.read(words[t]), contexts[t], states)
        expected = reference(np.swapaxes(concatenated[: t + 1], 0, 1))
        np.testing.assert_allclose(output, expected, atol=1e-5)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def weights_of(layer):
    return {weight.path.rsplit("/", 2)[-2] + "." + weight.name: weight.numpy() for weight in layer.weights}


def by_numpy(name, layer, query, values, heads):
    """Context [D] and attention [L] of one query [Q] over values [L, D], by the formula."""
    w = weights_of(layer)
    if name == "mean_pool":
        attention = np.full(len(values), 1 / len(values))
        return attention @ values, attention
    if name == "additive":
        keys = values @ w["key.kernel"] + w["key.bias"]
        attention = softmax((np.tanh(keys + query @ w["query.kernel"]) @ w["energy.kernel"])[:, 0])
        return attention @ values, attention
    q, k = query @ w["query.kernel"] + w["query.bias"], values @ w["key.kernel"]
    if name == "scaled_dot":
        attention = softmax(k @ q / np.sqrt(len(q)))
        return attention @ values, attention
    v, size = values @ w["value.kernel"] + w["value.bias"], len(q) // heads
    cuts = [slice(h * size, (h + 1) * size) for h in range(heads)]
    attentions = [softmax(k[:, cut] @ q[cut] / np.sqrt(size)) for cut in cuts]
    context = np.concatenate([attention @ v[:, cut] for attention, cut in zip(attentions, cuts, strict=True)])
    return context @ w["merge.kernel"] + w["merge.bias"], np.mean(attentions, axis=0)


@pytest.mark.parametrize("sentinel", [False, True], ids=["locations", "locations and a sentinel"])
@pytest.mark.parametrize("name", ATTENTIONS.names())
def test_attention_is_the_formula(name, sentinel):
    batch, group, locations, value_dim, query_dim, heads = 2, 3, 5, 6, 4, 2
    layer = ATTENTIONS[name](units=8, **({"heads": heads} if name == "multi_head" else {}))
    layer.build_on(value_dim, query_dim)
    randomise(layer)
    rng = np.random.default_rng(2)
    values = rng.normal(size=(batch, locations, value_dim)).astype(np.float32)
    query = rng.normal(size=(batch * group, query_dim)).astype(np.float32)
    extra = rng.normal(size=(batch * group, value_dim)).astype(np.float32) if sentinel else None
    context, attention = layer.attend(query, layer.prepare(values), None, extra)
    assert attention.shape == (batch * group, locations)
    for row in range(batch * group):
        attended = values[row // group]
        if sentinel:
            attended = np.concatenate([attended, extra[row : row + 1]])
        expected, probabilities = by_numpy(name, layer, query[row], attended, heads)
        np.testing.assert_allclose(context[row], expected, atol=1e-5)
        np.testing.assert_allclose(attention[row], probabilities[:locations], atol=1e-6)


def test_bidirectional_ignores_empty_slots():
    """What the buffer holds beyond the words so far has no influence, and a full buffer drops the oldest word."""
    cell = built("bidirectional", context=False)
    words, _, _ = inputs(context=False)
    clean = [tf.zeros((ROWS, UNITS))] * 2 + cell.history(tf.zeros((ROWS, 1)))
    dirty = [*clean[:2], clean[2] + 7.0, clean[3]]
    for t in range(TIME):
        expected, clean = cell(cell.read(words[t]), None, clean)
        output, dirty = cell(cell.read(words[t]), None, dirty)
        np.testing.assert_allclose(output, expected, atol=1e-6)
    assert clean[2].shape[1] == TIME and clean[3].numpy().tolist() == [[TIME]] * ROWS
