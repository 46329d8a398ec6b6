"""Minimum Bayes risk: the caption of the highest expected F1, held against the definition spelled out in Python."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding.backend import numpy_backend
from captioner.errors import SpecError
from captioner.rerank import RERANKERS
from captioner.rerank.mbr import ngram_f1
from captioner.text import Tokenizer
from captioner.types import END, PAD
from tests.support.models.probability_worlds import captions, decode, random_world

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
    scores = []
    for n in range(1, 5):
        a, b = grams(one, n), grams(two, n)
        scores.append(2 * (a & b).total() / max(1, a.total() + b.total()))
    return sum(scores) / 4


def random_ids(count, k, length, seed):
    """Random captions of few words, so that n-grams repeat within and between them."""
    random = np.random.default_rng(seed)
    ids = random.integers(4, 7, (count, k, length)).astype(np.int32)
    for row in ids.reshape(-1, length):
        ended = random.integers(0, length + 1)
        row[ended:] = PAD
        row[ended : ended + 1] = END
    return ids


@pytest.mark.parametrize(("k", "length"), [(1, 5), (3, 1), (4, 3), (5, 9)])
def test_f1_is_that_of_shared_n_grams(k, length):
    ids = random_ids(4, k, length, seed=k)
    actual = ngram_f1(tf.constant(ids)).numpy()
    with numpy_backend():
        np.testing.assert_allclose(ngram_f1(ids), actual, atol=1e-6)
    for image in range(4):
        for a in range(k):
            for b in range(k):
                wanted = 1.0 if a == b else f1(ids[image, a], ids[image, b])
                assert actual[image, a, b] == pytest.approx(wanted, abs=1e-5), (ids[image, a], ids[image, b])


@pytest.mark.parametrize("temperature", [1e9, 5.0, 1.0])
def test_highest_expected_f1_is_first(world, temperature):
    hypotheses = decode(world, f"beam(width=6, n_best=6, rerank='mbr(temperature={temperature})')", 7)
    beam = decode(world, "beam(width=6, n_best=6)", 7)
    for image in range(KINDS):
        candidates = captions(beam, image)
        assert sorted(captions(hypotheses, image)) == sorted(candidates)
        weight = np.exp(beam.logp[image] / temperature)
        expected = [
            sum(w * (1.0 if a is b else f1(a, b)) for w, b in zip(weight, candidates, strict=True))
            / weight.sum()
            for a in candidates
        ]
        np.testing.assert_allclose(hypotheses.score[image], sorted(expected, reverse=True), atol=1e-4)


def test_fewer_asked_for_are_the_first_of_all(world):
    every, some = (decode(world, f"beam(width=5, n_best={n}, rerank='mbr')", 7) for n in (5, 2))
    for image in range(KINDS):
        assert captions(some, image) == captions(every, image)[:2]
    np.testing.assert_allclose(some.score, every.score[:, :2], atol=1e-6)


def test_of_one_beam_it_is_greedy(world):
    one, greedy = decode(world, "beam(width=1, rerank='mbr')", 7), decode(world, "greedy", 7)
    assert np.array_equal(one.ids, greedy.ids) and np.allclose(one.score, 1.0)


def test_empty_rows_have_no_vote():
    world = random_world(kinds=2, tokenizer=Tokenizer(WORDS))
    hypotheses = decode(world, f"beam(width=3, n_best=3, banned={WORDS}, rerank='mbr')")
    assert captions(hypotheses, 0) == [(END,), (), ()]
    assert hypotheses.score[0].tolist() == [1.0, -1e9, -1e9]


@pytest.mark.parametrize("value", [0, -0.1, "high", True, float("inf"), float("nan")])
def test_a_wrong_temperature_is_one_line(value):
    with pytest.raises(SpecError, match=r"temperature expects a number from 0\.001 to 1e\+09"):
        RERANKERS["mbr"](temperature=value)
