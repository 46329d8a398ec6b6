"""Every row of `RERANKERS` with every strategy; a new one is its file and its line in the table."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding import STRATEGIES
from captioner.decoding.backend import numpy_backend
from captioner.errors import SpecError
from captioner.rerank import RERANKERS
from captioner.rerank.base import Reranker
from captioner.types import END, Hypotheses
from tests.support.models.probability_worlds import assert_same, captions
from tests.support.models.rerankers import OPTIONS, decode, decode_in_numpy, spec
from tests.support.models.strategies import KINDS, WORDS


class ByTable(Reranker):
    """Utilities written out: the utility of a caption is that of its first word."""

    def __init__(self, utilities):
        self.utilities = np.float32(utilities)

    def score(self, hypotheses, features, parameters):
        # Above a million where the row is empty: such a row may never win.
        return self.utilities[np.asarray(hypotheses.ids)[:, :, 0]]


@pytest.mark.parametrize("in_numpy", [False, True])
def test_n_best_have_the_highest_scores(in_numpy):
    ids = np.int32(
        [[[5, 2, 0], [4, 6, 2], [7, 2, 0], [0, 0, 0]], [[6, 2, 0], [5, 4, 2], [0, 0, 0], [0, 0, 0]]]
    )
    lengths = (ids != 0).sum(-1).astype(np.int32)
    logp = np.where(lengths > 0, -np.float32([[1, 2, 3, 4], [1, 2, 3, 4]]), np.float32(-1e9))
    word_logp = np.float32(ids) / 10
    hypotheses = Hypotheses(ids, lengths, logp, logp, word_logp, np.tile(word_logp[..., np.newaxis], 2))
    table = [2e6, 0, 0, 0, 0.25, 0.5, -3.0, 0.75]
    if in_numpy:
        with numpy_backend():
            best = ByTable(table).rerank(hypotheses, 3, None, None)
    else:
        best = ByTable(table).rerank(Hypotheses(*map(tf.constant, hypotheses)), 3, None, None)
    assert np.asarray(best.ids)[:, :, 0].tolist() == [[7, 5, 4], [5, 6, 0]]
    assert np.asarray(best.score).tolist() == [[0.75, 0.5, 0.25], [0.5, -3.0, -1e9]]
    order = [[2, 0, 1], [1, 0, 2]]
    for leaf, expected in zip(best._replace(score=best.logp), hypotheses._replace(score=logp), strict=True):
        for image in range(2):
            np.testing.assert_array_equal(np.asarray(leaf)[image], expected[image, order[image]])


def test_every_strategy_but_greedy_takes_one():
    with_option = [n for n in STRATEGIES if "rerank" in inspect.signature(STRATEGIES[n]).parameters]
    assert with_option == [n for n in STRATEGIES if n != "greedy"] == list(OPTIONS)
    for build in (STRATEGIES.build, lambda _: STRATEGIES["greedy"](rerank="mbr")):
        with pytest.raises(SpecError, match=r"unknown option .*'rerank'.*expected one of: min_length"):
            build("greedy(rerank='mbr')")


@pytest.mark.parametrize("strategy", OPTIONS)
@pytest.mark.parametrize("rerank", RERANKERS)
def test_it_reorders_what_search_found(world, strategy, rerank):
    every, reranked = decode(world, spec(strategy, 4)), decode(world, spec(strategy, 4, rerank))
    for image in range(KINDS):
        # Each caption keeps its words and log-probabilities; only order and score are the reranker's.
        known = {ids: logp for ids, logp in zip(captions(every, image), every.logp[image], strict=True)}
        beams = decode(world, spec(strategy, 6)) if strategy == "beam" else every
        known |= {ids: logp for ids, logp in zip(captions(beams, image), beams.logp[image], strict=True)}
        for ids, logp in zip(captions(reranked, image), reranked.logp[image], strict=True):
            assert known[ids] == pytest.approx(logp, abs=1e-5)
        np.testing.assert_allclose(
            reranked.word_logp[image].sum(-1),
            np.where(reranked.lengths[image], reranked.logp[image], 0),
            atol=1e-4,
        )
    assert (np.diff(reranked.score, axis=1) <= 0).all() and np.isfinite(reranked.score).all()
    assert not np.allclose(reranked.score, every.score, atol=1e-2)


@pytest.mark.parametrize("rerank", RERANKERS)
def test_n_best_are_the_first_of_all_beams(world, rerank):
    every = decode(world, f"beam(width=6, n_best=6, rerank={rerank!r})")
    some = decode(world, f"beam(width=6, n_best=2, rerank={rerank!r})")
    assert_same(some, Hypotheses(*(leaf[:, :2] for leaf in every)))
    # The list is that of the search, whatever would rank it.
    other = decode(world, f"beam(width=6, n_best=6, length_penalty=0.0, rerank={rerank!r})")
    np.testing.assert_allclose(other.score, every.score, atol=1e-5)


@pytest.mark.parametrize("strategy", [n for n in OPTIONS if n != "sample"])  # whose draws differ
@pytest.mark.parametrize("rerank", RERANKERS)
def test_numpy_agrees(world, strategy, rerank):
    hypotheses = decode_in_numpy(world, spec(strategy, 3, rerank))
    assert {type(leaf) for leaf in hypotheses} == {np.ndarray}
    wanted = decode(world, spec(strategy, 3, rerank))
    assert_same(hypotheses, wanted)
    assert [leaf.dtype for leaf in hypotheses] == [leaf.dtype for leaf in wanted]


@pytest.mark.parametrize("rerank", RERANKERS)
@pytest.mark.parametrize("max_length", [2, 3, 6])
def test_required_words_stay_required(world, rerank, max_length):
    """Of two words there are two orders: the beams of few required words must not fill up the list."""
    hypotheses = decode(
        world, f"constrained(must_include=['ant', 'dog'], width=8, n_best=8, {rerank=})", max_length
    )
    for image in range(KINDS):
        listed = captions(hypotheses, image)
        assert {4, 7} <= set(listed[0])
        assert all({4, 7} <= set(ids) for ids in listed if ids)
    if max_length == 2:
        assert [len(set(captions(hypotheses, image)) - {()}) for image in range(KINDS)] == [2] * KINDS


@pytest.mark.parametrize("rerank", RERANKERS)
def test_an_image_without_any_words_has_one_caption(world, rerank):
    hypotheses = decode(world, f"beam(width=3, n_best=3, banned={WORDS}, {rerank=})")
    assert [captions(hypotheses, image) for image in range(KINDS)] == [[(END,), (), ()]] * KINDS
    assert (hypotheses.score[:, 1:] == -1e9).all() and np.isfinite(hypotheses.score).all()


@pytest.mark.parametrize(
    ("rerank", "message"),
    [
        ("'mbrr'", "unknown reranker 'mbrr' .did you mean 'mbr'.*cider_regression"),
        ("'mbr(temprature=2)'", "did you mean 'temperature'"),
        ("3", "expected a spec such as .* got 3"),
        ("'mbr(temperature=0)'", "temperature expects a number"),
        (
            "'fractions:Fraction'",
            "expected a Reranker of captioner.rerank, got Fraction: derive it from Reranker",
        ),
    ],
)
def test_a_wrong_one_is_one_line(rerank, message):
    with pytest.raises(SpecError, match=message) as error:
        STRATEGIES.build(f"beam(rerank={rerank})")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "module", ["captioner.rerank.base", "captioner.rerank.mbr", "captioner.rerank", "captioner.decoding"]
)
def test_every_module_can_be_imported_first(module):
    code = f"import {module}, sys; print('tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
