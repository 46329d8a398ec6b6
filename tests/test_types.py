"""Plain data types: equality, hashes, pickles and reprs of captions."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from captioner.types import Caption

MAPS = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 100


def caption(**changes):
    best = Caption("a dog", -1.5, ("a", "dog"), -3.0, (-0.5, -0.7), MAPS.copy())
    return replace(best, alternatives=(replace(best, text="a cat"),), **changes)


def test_equal_captions_are_equal_and_hash_alike():
    one, other = caption(), caption()
    assert one == other and hash(one) == hash(other)
    assert len({one, other, pickle.loads(pickle.dumps(one))}) == 1
    assert one in [other] and {one: 1}[other] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "a cat"},
        {"score": -1.4},
        {"words": ("a", "cat")},
        {"logp": -2.0},
        {"word_logp": (-0.5, -0.8)},
        {"attention": None},
        {"attention": MAPS + 1e-3},
        {"attention": MAPS[:1]},
        {"error": "no image"},
    ],
)
def test_captions_that_differ_in_anything_are_not_equal(changes):
    assert caption(**changes) != caption() and caption() != caption(**changes)


def test_alternatives_count():
    best = caption()
    assert replace(best, alternatives=()) != best
    assert replace(best, alternatives=(replace(best.alternatives[0], attention=MAPS * 2),)) != best


def test_other_things_are_no_captions():
    assert caption() != "a dog" and caption() is not None and (caption() == 7) is False


def test_a_caption_is_shown_in_a_line():
    assert repr(caption()) == "Caption('a dog', score=-1.50, 2 words, attention 2x3x4, 1 alternative)"
    assert repr(Caption("a dog", -0.514, ("a", "dog"))) == "Caption('a dog', score=-0.51, 2 words)"
    assert repr(Caption("", error="no image")) == "Caption(error='no image')"
    assert str(caption()) == "a dog" and str(Caption("", error="no image")) == "[no image]"
