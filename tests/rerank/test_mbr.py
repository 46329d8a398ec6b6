"""Consensus: the caption of the highest expected gain, held against the definition spelled out in Python."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding import STRATEGIES
from captioner.decoding.backend import numpy_arrays
from captioner.decoding.consensus import alike
from captioner.errors import SpecError
from captioner.text import Tokenizer
from captioner.types import END, PAD
from tests.support.probability_worlds import captions, decode, random_world

WORDS = ["ant", "bee", "cat", "dog"]
KINDS = 6


@pytest.fixture(scope="module")
def world():
    return random_world(kinds=KINDS, tokenizer=Tokenizer(WORDS))


def grams(ids, n):
    words = [i for i in ids if i not in (PAD, END)]
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def f1(one, two):
    """Mean F1 of n-grams over n = 1 ... 4."""
    each = []
    for n in range(1, 5):
        a, b = grams(one, n), grams(two, n)
        each.append(2 * (a & b).total() / max(1, a.total() + b.total()))
    return sum(each) / 4


def said(count, k, length, seed):
    """Random captions of few words, so that n-grams repeat within and between them."""
    random = np.random.default_rng(seed)
    ids = random.integers(4, 7, (count, k, length)).astype(np.int32)
    for row in ids.reshape(-1, length):
        ended = random.integers(0, length + 1)
        row[ended:] = PAD
        row[ended : ended + 1] = END
    return ids


@pytest.mark.parametrize(("k", "length"), [(1, 5), (3, 1), (4, 3), (5, 9)])
def test_resemblance_is_f1_of_shared_runs_of_words(k, length):
    ids = said(4, k, length, seed=k)
    found = alike(tf.constant(ids)).numpy()
    with numpy_arrays():
        np.testing.assert_allclose(alike(ids), found, atol=1e-6)
    for image in range(4):
        for a in range(k):
            for b in range(k):
                wanted = 1.0 if a == b else f1(ids[image, a], ids[image, b])
                assert found[image, a, b] == pytest.approx(wanted, abs=1e-5), (ids[image, a], ids[image, b])


@pytest.mark.parametrize("sharpness", [0.0, 0.2, 1.0])
def test_the_caption_of_the_highest_expected_gain_wins(world, sharpness):
    found = decode(world, f"consensus(width=6, n_best=6, sharpness={sharpness})", 7)
    beam = decode(world, "beam(width=6, n_best=6)", 7)
    for image in range(KINDS):
        candidates = captions(beam, image)
        assert sorted(captions(found, image)) == sorted(candidates)
        weight = np.exp(sharpness * beam.logp[image])
        gain = [
            sum(w * (1.0 if a is b else f1(a, b)) for w, b in zip(weight, candidates, strict=True))
            / weight.sum()
            for a in candidates
        ]
        np.testing.assert_allclose(found.score[image], sorted(gain, reverse=True), atol=1e-4)


def test_fewer_asked_for_are_the_first_of_all(world):
    every, some = (decode(world, f"consensus(width=5, n_best={n})", 7) for n in (5, 2))
    for image in range(KINDS):
        assert captions(some, image) == captions(every, image)[:2]
    np.testing.assert_allclose(some.score, every.score[:, :2], atol=1e-6)


def test_of_one_beam_it_is_greedy(world):
    one, greedy = decode(world, "consensus(width=1)", 7), decode(world, "greedy", 7)
    assert np.array_equal(one.ids, greedy.ids) and np.allclose(one.score, 1.0)


def test_where_there_are_fewer_captions_than_beams_the_rest_have_no_vote():
    world = random_world(kinds=2, tokenizer=Tokenizer(WORDS))
    found = decode(world, f"consensus(width=3, n_best=3, banned={WORDS})")
    assert captions(found, 0) == [(END,), (), ()]
    assert found.score[0].tolist() == [1.0, -1e9, -1e9]


@pytest.mark.parametrize("value", [-0.1, "much", True, float("inf"), float("nan")])
def test_a_wrong_sharpness_is_one_line(value):
    with pytest.raises(SpecError, match="sharpness expects a number from 0 to 1000"):
        STRATEGIES["consensus"](sharpness=value)
