"""Grid beam search against enumeration of all captions that hold the required phrases."""

import numpy as np
import pytest

from captioner.decoding import STRATEGIES
from captioner.text import Tokenizer
from captioner.types import END
from tests.support.models.probability_worlds import assert_same, captions, decode, random_world
from tests.support.models.strategies import IDS, KINDS, WORDS


def holds_phrase(ids, phrase) -> bool:
    return any(ids[i : i + len(phrase)] == phrase for i in range(len(ids)))


@pytest.mark.parametrize(
    "phrases",
    [
        ["dog"],
        ["bee cat"],
        ["ant", "bee", "cat", "dog"],
        ["bee cat", "cat dog"],
        ["cat", "cat bee"],
        ["bee bee cat"],
    ],
)
@pytest.mark.parametrize("extra", [0, 2])
def test_captions_hold_required_phrases(world, phrases, extra):
    ids = [tuple(IDS[w] for w in phrase.split()) for phrase in phrases]
    max_length = sum(map(len, ids)) + extra
    hypotheses = decode(world, STRATEGIES["constrained"](phrases, width=1, length_penalty=0.0), max_length)
    for image in range(KINDS):
        (caption,) = captions(hypotheses, image)
        assert all(holds_phrase(caption, phrase) for phrase in ids)


@pytest.mark.parametrize("phrases", [["cat"], ["ant", "cat"], ["ant bee", "bee cat"]])
def test_a_wide_grid_is_exhaustive(phrases):
    size = 128
    tokenizer = Tokenizer(WORDS[:3] + [f"word{i}" for i in range(size - 7)])
    world = random_world(size=size, kinds=2, words=[4, 5, 6], tokenizer=tokenizer)
    ids = [tuple(IDS[w] for w in phrase.split()) for phrase in phrases]

    def keep(caption):
        return all(holds_phrase(caption, phrase) for phrase in ids)

    hypotheses = decode(world, STRATEGIES["constrained"](phrases, width=100, n_best=3), 4)
    for image in range(world.kinds):
        best = world.ranked(image, 4, [4, 5, 6], 0.6, keep)[:3]
        assert captions(hypotheses, image) == [caption for _, _, caption in best]
        np.testing.assert_allclose(hypotheses.score[image], [score for score, _, _ in best], atol=1e-4)


def test_without_phrases_it_is_beam_search(world):
    assert_same(decode(world, "constrained(width=3, n_best=2)"), decode(world, "beam(width=3, n_best=2)"))


def test_a_phrase_that_a_rule_forbids(world):
    hypotheses = decode(world, "constrained(must_include=['dog dog'], no_repeat_ngram=1)", 3)
    for image in range(KINDS):
        (caption,) = captions(hypotheses, image)
        assert len(caption) == 3 and caption.count(IDS["dog"]) == 1 and END not in caption
