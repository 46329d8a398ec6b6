"""Greedy and beam search against enumeration of all captions."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding import STRATEGIES
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import possible
from captioner.errors import SpecError
from captioner.text import Tokenizer
from captioner.types import END, START
from tests.support.models.probability_worlds import (
    World,
    assert_same,
    captions,
    decode,
    garden_path,
    random_world,
    words_of,
)
from tests.support.models.strategies import KINDS, WORDS


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
def test_width_one_is_greedy(alpha):
    world = random_world(kinds=40, seed=3)
    greedy, beam = decode(world, "greedy", 7), decode(world, f"beam(width=1, length_penalty={alpha})", 7)
    assert_same(greedy._replace(score=beam.score), beam)
    assert len({tuple(c) for c in greedy.lengths.tolist()}) > 3


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
@pytest.mark.parametrize("max_length", [1, 2, 3])
def test_a_wide_beam_is_exhaustive(max_length, alpha):
    world = random_world(size=64, kinds=3, words=[4, 5, 6])
    hypotheses = decode(world, f"beam(width=60, n_best=4, length_penalty={alpha})", max_length)
    for image in range(world.kinds):
        best = world.ranked(image, max_length, [4, 5, 6], alpha)[:4]
        assert captions(hypotheses, image) == [ids for _, _, ids in best]
        np.testing.assert_allclose(hypotheses.score[image], [score for score, _, _ in best], atol=1e-4)
        np.testing.assert_allclose(hypotheses.logp[image], [logp for _, logp, _ in best], atol=1e-4)


def test_a_wide_beam_with_rules_is_exhaustive():
    world = random_world(size=64, kinds=3, words=[4, 5, 6], seed=2)
    hypotheses = decode(world, "beam(width=60, length_penalty=0.0, min_length=2, no_repeat_ngram=1)", 3)
    for image in range(world.kinds):

        def keep(ids):
            words = words_of(ids)
            return len(words) >= 2 and len(set(words)) == len(words)

        assert captions(hypotheses, image)[0] == world.ranked(image, 3, [4, 5, 6], keep=keep)[0][2]


def test_wider_beams_never_score_worse():
    world = garden_path()
    scores = [decode(world, f"beam(width={k}, length_penalty=0.0)").score.item() for k in range(1, 8)]
    assert scores == sorted(scores)
    assert scores[0] < scores[2] < scores[3]
    best = world.ranked(0, 4, [4, 5, 6, 7, 8])[0]
    assert scores[-1] == pytest.approx(best[0], abs=1e-4)
    # This one ended after two words, and still wins when the others have gone on.
    assert captions(decode(world, "beam(width=4)"), 0) == [(7, END)]


def branches(*choices) -> World:
    """A world where the id after n words has the probabilities `choices[n]`, or the last of them."""
    table = np.full((1, 8, 8, 8), -30.0)
    for before, last in itertools.product(range(8), range(8)):
        count = (last != START) + (last != START and before != START)
        for word, probability in choices[min(count, len(choices) - 1)].items():
            table[0, before, last, word] = np.log(probability)
    return World(table)


def test_an_ended_beam_keeps_its_place():
    # Two likelier beginnings overtake it at the second step, and come to nothing after.
    world = branches({END: 0.3, 4: 0.7}, {4: 0.5, 5: 0.5}, {END: 0.2, 4: 0.2, 5: 0.2, 6: 0.2, 7: 0.2})
    assert captions(decode(world, "beam(width=2, length_penalty=0.0)"), 0) == [(END,)]


@pytest.mark.parametrize("p_end", [0.6, 0.648])
def test_an_unfinished_beam_may_win_by_length(p_end):
    # It scores less than the caption that has ended until its own length counts for it: at 0.648 only with its tenth
    # word, as log(0.352) / (15 / 6) > log(0.648) > log(0.352) / (14 / 6).
    world = branches({END: p_end, 4: 1 - p_end}, {4: 1.0})
    assert captions(decode(world, "beam(width=2, length_penalty=1.0)", 10), 0) == [(4,) * 10]


def test_wider_beams_come_closer_to_the_optimum():
    world = random_world(kinds=30, seed=9)
    best = [world.ranked(image, 4, range(4, 8))[0][0] for image in range(world.kinds)]
    mean = []
    for width in (1, 2, 4, 8):
        hypotheses = decode(world, f"beam(width={width}, length_penalty=0.0)", 4)
        assert np.all(hypotheses.score[:, 0] <= np.array(best) + 1e-4)
        mean.append(hypotheses.score.mean())
    assert mean == sorted(mean) and mean[0] < mean[-1]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
@pytest.mark.parametrize("n_best", [1, 3])
def test_early_stopping_changes_nothing(monkeypatch, alpha, n_best):
    world = random_world(kinds=30, seed=4)
    spec = f"beam(width=4, n_best={n_best}, length_penalty={alpha})"
    early = decode(world, spec, 8)
    monkeypatch.setattr(
        LengthPenalty,
        "settled",
        lambda self, logp, lengths, ended, *rest: ~tf.reduce_any(~ended & possible(logp), axis=1),
    )
    assert_same(early, decode(world, spec, 8))


def test_n_best_differ_and_unreachable_are_empty():
    world = random_world(kinds=KINDS, tokenizer=Tokenizer(WORDS))
    hypotheses = decode(world, "beam(width=8, n_best=8)")
    for image in range(KINDS):
        assert len(set(captions(hypotheses, image))) == 8
    hypotheses = decode(world, f"beam(width=3, n_best=3, banned={WORDS})")
    assert captions(hypotheses, 0) == [(END,), (), ()]
    assert hypotheses.score[0, 1:].tolist() == hypotheses.logp[0, 1:].tolist() == [-1e9, -1e9]
    assert not hypotheses.word_logp[0, 1:].any() and not hypotheses.attention[0, 1:].any()


def test_length_penalty_is_that_of_wu_et_al():
    world = random_world(kinds=30, seed=4)
    lengths = []
    for alpha in (0.0, 1.0, 4.0):
        hypotheses = decode(world, f"beam(width=5, length_penalty={alpha})", 8)
        np.testing.assert_allclose(
            hypotheses.score, hypotheses.logp / ((5 + hypotheses.lengths) / 6) ** alpha, rtol=1e-5
        )
        lengths.append(hypotheses.lengths.mean())
    assert lengths[0] < lengths[1] < lengths[2]


@pytest.mark.parametrize(
    "options", [{"length_penalty": 1e30}, {"length_penalty": float("inf")}, {"length_penalty": -1}]
)
def test_length_penalties_beyond_float32_are_refused(options):
    with pytest.raises(SpecError, match="length_penalty expects a number from 0 to 10"):
        STRATEGIES["beam"](**options)
