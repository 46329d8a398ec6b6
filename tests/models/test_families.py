"""The decoder families against their papers: start, step and head, in NumPy, from the equations.

Letters: B images, L locations, C channels, V words, E width of word vectors. The papers' concatenations are written out
as concatenations, with one bias a gate; only the weights are read out of the Keras layers.
"""

import keras
import numpy as np
import pytest

from captioner.models import DECODERS

B, L, C, V, STEPS = 3, 4, 6, 11, 4
SIZES = "units=5, embedding=7, value_dim=8, attention='additive(units=6)', dropout=0.0"


def decoder_of(spec, seed=4):
    """A decoder all of whose weights, biases too, are drawn anew."""
    decoder = DECODERS.build(spec, vocabulary_size=V, max_length=STEPS)
    decoder.build_on(L, C)
    rng = np.random.default_rng(seed)
    for weight in decoder.weights:
        weight.assign(rng.normal(scale=0.7, size=weight.shape))
    return decoder


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def matrix(layer):
    return np.asarray(layer.kernel, np.float64)


def affine(layer, x):
    """W x + b."""
    return x @ matrix(layer) + np.asarray(layer.bias, np.float64)


def lstm(cell, x, h, c):
    """Xu et al. 2015, eq. 1-3: the gates are one affine map of [x, h]; then memory and output."""
    T = np.concatenate([matrix(cell.input_projection), matrix(cell.recurrent_kernel)])
    i, f, g, o = np.split(
        np.concatenate([x, h], -1) @ T + np.asarray(cell.input_projection.bias, np.float64), 4, -1
    )
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)  # eq. 2
    return sigmoid(o) * np.tanh(c), c  # eq. 3


def energies(attention, a, h):
    """f_att of Xu et al. 2015, eq. 4, as Bahdanau et al. 2015 (A.1.2) have it: v^T tanh(W a_i + U h), [B, L]."""
    hidden = np.tanh(affine(attention.key, a) + (h @ matrix(attention.query))[:, None])
    return (hidden @ matrix(attention.energy))[..., 0]


def soft_attention(decoder, features, ids):
    """Xu et al. 2015, Show, Attend and Tell; the words of `ids` [T, B] one after the other."""
    a = np.maximum(affine(decoder.value_projection, features), 0)  # annotation vectors a_i
    f_init_h, f_init_c = decoder.initial_state.projections
    h = np.tanh(affine(f_init_h, a.mean(1)))  # section 3.1.2: h_0 = f_init,h(mean a), one layer with tanh
    c = np.tanh(affine(f_init_c, a.mean(1)))  # c_0 = f_init,c(mean a)
    yield {"cell": [h, c], "output": h}
    for word in ids:
        Ey = np.asarray(decoder.embedding.embeddings, np.float64)[word]
        alpha = softmax(energies(decoder.attention, a, h))  # eq. 4, 5
        beta = sigmoid(affine(decoder.gate, h))  # section 4.2.1: beta = sigmoid(f_beta(h_{t-1}))
        z = beta * np.einsum("bl,blc->bc", alpha, a)  # eq. 13 and 4.2.1
        h, c = lstm(decoder.cell, np.concatenate([Ey, z], -1), h, c)  # eq. 1-3
        deep = affine(
            decoder.deep_output, np.concatenate([h, z, Ey], -1)
        )  # eq. 7, E y through a matrix of its own
        yield {"cell": [h, c], "output": h}, alpha, affine(decoder.logits, deep)


def adaptive(decoder, features, ids):
    """Lu et al. 2017, Knowing When to Look; initial states as Xu et al. 2015, of which the paper says nothing."""
    v = np.maximum(affine(decoder.value_projection, features), 0)  # eq. 15
    v_g = np.maximum(affine(decoder.image_projection, v.mean(1)), 0)  # eq. 14, 16
    init_h, init_m = decoder.initial_state.projections
    h, m = np.tanh(affine(init_h, v.mean(1))), np.tanh(affine(init_m, v.mean(1)))
    yield {"cell": [h, m], "output": h}
    W_x, W_h = decoder.gate_words, decoder.gate_state
    for word in ids:
        # x_t = [w_t; v_g] (section 2.3), both read with the same matrix.
        x = np.asarray(decoder.embedding.embeddings, np.float64)[word] + v_g
        g = sigmoid(affine(W_x, x) + h @ matrix(W_h))  # eq. 9, of h_{t-1}
        h, m = lstm(decoder.cell, x, h, m)  # eq. 3
        s = np.maximum(affine(decoder.sentinel, g * np.tanh(m)), 0)  # eq. 10, then to the width of the values
        z = energies(decoder.attention, v, h)  # eq. 6
        z_s = energies(decoder.attention, s[:, None], h)
        alpha = softmax(np.concatenate([z, z_s], -1))  # eq. 12
        beta = alpha[:, -1:]
        c = np.einsum("bl,blc->bc", alpha[:, :-1] / (1 - beta), v)  # eq. 7, 8
        c_hat = beta * s + (1 - beta) * c  # eq. 11
        # Eq. 13 has W_p (c_hat + h); here a layer of [h, c_hat] comes before W_p.
        deep = np.tanh(affine(decoder.deep_output, np.concatenate([h, c_hat], -1)))
        yield {"cell": [h, m], "output": h}, alpha[:, :-1], affine(decoder.logits, deep)


def top_down(decoder, features, ids):
    """Anderson et al. 2018, section 3.2; initial states as Xu et al. 2015, of which the paper says nothing."""
    v = np.maximum(affine(decoder.value_projection, features), 0)
    mean = v.mean(1)
    h1, c1 = (np.tanh(affine(init, mean)) for init in decoder.attention_initial_state.projections)
    h2, c2 = (np.tanh(affine(init, mean)) for init in decoder.language_initial_state.projections)
    yield {"look": [h1, c1], "speak": [h2, c2], "output": h2}
    for word in ids:
        W_e = np.asarray(decoder.embedding.embeddings, np.float64)[word]
        # Eq. 2: x1 = [h2_{t-1}, mean v, W_e word], mean and word read with the same matrix.
        x1 = np.concatenate([W_e + affine(decoder.image_projection, mean), h2], -1)
        h1, c1 = lstm(decoder.attention_cell, x1, h1, c1)  # eq. 1
        alpha = softmax(energies(decoder.attention, v, h1))  # eq. 3, 4
        v_hat = np.einsum("bl,blc->bc", alpha, v)  # eq. 5
        h2, c2 = lstm(
            decoder.language_cell, np.concatenate([h1, v_hat], -1), h2, c2
        )  # eq. 6: x2 = [v_hat, h1]
        output = h2  # eq. 7, or all that Xu et al. 2015 (eq. 7) show the vocabulary
        if decoder.deep_output is not None:
            output = affine(decoder.deep_output, np.concatenate([h2, v_hat, W_e], -1))
        yield {"look": [h1, c1], "speak": [h2, c2], "output": h2}, alpha, affine(decoder.logits, output)


def show_and_tell(decoder, features, ids):
    """Vinyals et al. 2015, section 3.1; an LSTM with tanh(c), where eq. 8 leaves the tanh out."""
    mean = np.maximum(affine(decoder.value_projection, features), 0).mean(1)
    zeros = np.zeros((B, decoder.units))
    m, c = lstm(
        decoder.cell, affine(decoder.image_projection, mean), zeros, zeros
    )  # eq. 10: x_-1 = CNN(I), seen once
    yield [m, c]
    for word in ids:
        x = np.asarray(decoder.embedding.embeddings, np.float64)[word]  # eq. 11: x_t = W_e S_t
        m, c = lstm(decoder.cell, x, m, c)  # eq. 4-7
        yield [m, c], np.zeros((B, L)), affine(decoder.logits, m)  # eq. 9, 12


FAMILIES = {
    f"soft_attention({SIZES})": soft_attention,
    f"adaptive({SIZES})": adaptive,
    f"top_down({SIZES})": top_down,
    f"top_down({SIZES}, deep_output=True)": top_down,
    f"show_and_tell({SIZES})": show_and_tell,
}


def assert_state(state, expected, where):
    """Whether the states that the equations have are so in the decoder's, which may keep more beside them."""
    if isinstance(expected, dict):
        state = {name: state[name] for name in expected}
    keras.tree.assert_same_structure(state, expected)
    for path, value in keras.tree.flatten_with_path(expected):
        leaf = state
        for key in path:
            leaf = leaf[key]
        np.testing.assert_allclose(leaf, value, atol=2e-5, err_msg=f"{where}, state {path}")


@pytest.mark.parametrize("spec", FAMILIES, ids=lambda spec: spec.replace(SIZES, "").replace(", ", ""))
def test_family_is_its_paper(spec):
    decoder = decoder_of(spec)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(B, L, C)).astype(np.float32)
    ids = rng.integers(0, V, (STEPS, B)).astype(np.int32)
    equations = FAMILIES[spec](decoder, features.astype(np.float64), ids)
    memory, state = decoder.start(features)
    assert_state(state, next(equations), "start")
    for t, (expected, alpha, logits) in enumerate(equations):
        output, attention, state = decoder.step(ids[t], memory, state)
        assert_state(state, expected, f"step {t}")
        np.testing.assert_allclose(attention, alpha, atol=2e-5, err_msg=f"step {t}: attention")
        np.testing.assert_allclose(decoder.head(output), logits, atol=2e-5, err_msg=f"step {t}: head")
    assert t == STEPS - 1


@pytest.mark.parametrize("family", ["adaptive", "top_down"])
def test_forget_gates_start_at_one(family):
    """With no word and a blank image, the bias alone: 1 for the forget gate (Jozefowicz et al. 2015), not 2."""
    decoder = DECODERS.build(f"{family}({SIZES})", vocabulary_size=V, max_length=STEPS)
    decoder.build_on(L, C)
    decoder.embedding.embeddings.assign(np.zeros((V, 7)))
    _, state = decoder.start(np.zeros((B, L, C), np.float32))
    read = decoder.read(np.zeros(B, np.int32))
    word, mean = read.get("gates"), state["image"]
    if family == "adaptive":
        word, mean = read["cell"], mean["cell"]
    i, f, g, o = np.split(np.asarray(word + mean), 4, axis=-1)
    assert (f == 1).all() and not i.any() and not g.any() and not o.any()
