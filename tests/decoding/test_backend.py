"""Search in NumPy: the same captions as in TensorFlow, and each function equals that of TensorFlow."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding import RULES, STRATEGIES, backend
from tests.support.models.probability_worlds import (
    assert_same,
    captions,
    decode,
    decode_in_numpy,
    garden_path,
    words_of,
)
from tests.support.models.strategies import RULE_CASES, build_strategy

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(2, 3, 5)).astype(np.float32)
TIES = RNG.integers(0, 4, (3, 40)).astype(np.float32)


# Three required words do not fit into a caption of one.
@pytest.mark.parametrize(
    ("name", "max_length"),
    [(n, m) for n in STRATEGIES for m in (1, 7) if n != "sample" and (n, m) != ("constrained", 1)],
)
def test_every_strategy_equals_tensorflow(world, name, max_length):
    actual, expected = (run(world, build_strategy(name), max_length) for run in (decode_in_numpy, decode))
    assert_same(actual, expected)
    assert [leaf.dtype for leaf in actual] == [leaf.dtype for leaf in expected]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", [n for n in STRATEGIES if n != "sample"])
def test_every_rule_equals_tensorflow(world, name, rule):
    strategy = build_strategy(name, **{rule: RULE_CASES[rule][0]})
    assert_same(decode_in_numpy(world, strategy, 6), decode(world, strategy, 6))


def test_garden_path_equals_tensorflow():
    for width in (1, 2, 4):
        spec = f"beam(width={width}, n_best={width}, length_penalty=1.0)"
        assert_same(decode_in_numpy(garden_path(), spec), decode(garden_path(), spec))


def test_samples_follow_model_and_seed(world):
    strategy = STRATEGIES["sample"](n=200, seed=3, top_k=2)
    hypotheses = decode_in_numpy(world, strategy, 2, kinds=[0])
    assert_same(hypotheses, decode_in_numpy(world, strategy, 2, kinds=[0]))
    assert captions(hypotheses, 0) != captions(
        decode_in_numpy(world, STRATEGIES["sample"](n=200, top_k=2), 2, [0]), 0
    )
    for ids in captions(hypotheses, 0):
        assert RULE_CASES["allow_unknown"][1](words_of(ids))
    first = [ids[0] for ids in captions(hypotheses, 0)]
    logp = {ids[0]: world.logp(0, ids[:1])[0] for ids in captions(hypotheses, 0)}
    share = np.exp(max(logp.values())) / np.exp(list(logp.values())).sum()
    # Two words are left to draw from; 200 draws are within four deviations of their odds.
    assert len(logp) == 2
    assert abs(first.count(max(logp, key=logp.get)) / 200 - share) < 4 * np.sqrt(share * (1 - share) / 200)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.math.top_k(TIES, 3),
        lambda x: x.math.top_k(TIES, 30),
        lambda x: x.gather(VALUES, [1, 0, 1]),
        lambda x: x.gather(VALUES, np.int32([[2, 0], [1, 1]]), batch_dims=1),
        lambda x: x.gather(VALUES, np.int32([[[4, 0]] * 3, [[1, 2]] * 3]), batch_dims=2),
        lambda x: x.where(VALUES > 0, 0, np.int32(3) * np.ones((2, 3, 5), np.int32)),
        lambda x: x.where(VALUES > 0, -1e9, 0.0),
        lambda x: x.scatter_nd(np.int32([[0, 1], [2, 2], [0, 1]]), np.float32([1, 2, 3]), (3, 4)),
        lambda x: x.cumsum(VALUES, axis=-1, exclusive=True),
        lambda x: x.nn.softmax(VALUES),
        lambda x: x.one_hot(np.int32([[1, 0], [4, 9]]), 5),
        lambda x: x.fill([2, 3], 7),
        lambda x: x.constant([1.5, 2]),
        lambda x: x.reduce_max(VALUES, axis=-1, keepdims=True),
        lambda x: x.argmax(TIES, axis=-1, output_type=x.int32),
        lambda x: x.cast(VALUES > 0, x.int32),
        lambda x: x.repeat(VALUES, 2, axis=0),
        lambda x: x.zeros([2, 2]),
        lambda x: x.range(4),
    ],
)
def test_functions_equal_tensorflow(call):
    with backend.numpy_backend():
        actual = tf.nest.flatten(call(backend.xp))
    expected = tf.nest.flatten(call(tf))
    for one, two in zip(actual, expected, strict=True):
        assert type(one) is np.ndarray and one.dtype == two.dtype
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_search_without_tensorflow():
    program = """
import sys
import numpy as np
from captioner.decoding import generate
from captioner.decoding.backend import numpy_backend

class Coin:
    def start(self, features):
        return {}, np.zeros((1, 1), np.float32)
    def step(self, ids, memory, state):
        return state, np.ones((len(ids), 1), np.float32), state
    def head(self, output):
        return output + np.log(np.float32([1e-9, 1e-9, 0.25, 1e-9, 0.75]))

with numpy_backend():
    hypotheses = generate(Coin(), np.zeros((1, 1, 1), np.float32), "beam(width=2, no_repeat_ngram=2)", 3)
print(hypotheses.ids.tolist(), "tensorflow" in sys.modules, "keras" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[[[2, 0, 0]]] False False\n"
