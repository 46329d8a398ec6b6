"""Rules: every strategy obeys them, and their limits."""

import numpy as np
import pytest

from captioner.decoding import RULES, STRATEGIES, teacher_forced_logp
from captioner.types import END, UNK
from tests.support.models.probability_worlds import assert_same, captions, decode, words_of
from tests.support.models.strategies import IDS, KINDS, RULE_CASES, WORDS, build_strategy


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_obeys_every_rule(world, name, rule):
    value, holds = RULE_CASES[rule]
    hypotheses = decode(world, build_strategy(name, **{rule: value}), 7)
    for image in range(KINDS):
        for ids in captions(hypotheses, image):
            assert ids and holds(words_of(ids))
    forced = teacher_forced_logp(world, world.features(range(KINDS)), hypotheses.ids)
    np.testing.assert_allclose(hypotheses.word_logp, forced, atol=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_captions_break_rules_without_them(world, rule):
    # Without its rule a caption breaks it: otherwise the test above would prove nothing.
    value, holds = RULE_CASES[rule]
    options = {"allow_unknown": True} if rule == "allow_unknown" else {}
    hypotheses = decode(world, STRATEGIES["beam"](width=6, n_best=6, **options), 7)
    assert not all(holds(words_of(ids)) for image in range(KINDS) for ids in captions(hypotheses, image))


@pytest.mark.parametrize("name", [n for n in STRATEGIES if n != "constrained"])
def test_captions_end_when_all_words_are_forbidden(world, name):
    hypotheses = decode(world, build_strategy(name, banned=WORDS, min_length=3))
    assert all(captions(hypotheses, image)[0] == (END,) for image in range(KINDS))
    hypotheses = decode(world, build_strategy(name, no_repeat_ngram=1, min_length=5))
    assert all(set(words_of(captions(hypotheses, i)[0])) == set(IDS.values()) for i in range(KINDS))
    assert all(captions(hypotheses, i)[0][-1] == END for i in range(KINDS))


def test_unknown_words_when_allowed(world):
    hypotheses = decode(world, "beam(width=6, n_best=6, allow_unknown=True)")
    assert (hypotheses.ids == UNK).any()


def test_limits_of_ngram_and_min_length(world):
    assert_same(decode(world, "beam(no_repeat_ngram=9)", 4), decode(world, "beam", 4))
    assert not (decode(world, "greedy(min_length=4)", 4).ids == END).any()
