"""CIDEr-D by hand and against its equations."""

import numpy as np
import pytest

from captioner.metrics import CiderD
from tests.support.metric_inputs import random_captions, slow_cider


def test_cider_by_hand():
    # Two images; every word is in one image only, so idf = ln 2 for all and cancels.
    # Candidate a b against "a c": 1-grams share 1 of 2 with equal lengths: cosine 1/2; 2-grams share none.
    candidates, references = [["a", "b"], ["x", "y"]], [[["a", "c"]], [["x", "y"]]]
    per_image = CiderD(n=2).score(candidates, references).per_image["CIDEr-D"]
    assert per_image == pytest.approx([1000 * (1 / 2 + 0) / 2, 1000])


def test_cider_penalises_length_and_clips_repetition():
    references = [[["a", "brown", "dog", "runs"]], [["two", "cats"]]]
    metric = CiderD()
    plain, repeated = (
        metric.score([c, ["two", "cats"]], references).per_image["CIDEr-D"][0]
        for c in (["a", "brown", "dog", "runs"], ["a", "brown", "dog", "runs"] * 3)
    )
    assert plain == pytest.approx(1000)
    assert repeated < 0.5 * plain


@pytest.mark.parametrize("images", [1, 3])
def test_cider_is_undefined_where_all_captions_score_zero(images):
    dog, alike = [["a", "dog"]], [[["a", "dog"], ["dogs"]]] * images
    with pytest.warns(
        UserWarning, match=f"no CIDEr-D: .* got {'one' if images == 1 else images}"
    ) as warnings:
        scores = CiderD().score(dog * images, alike)
    assert "\n" not in str(warnings[0].message) and len(warnings) == 1
    assert np.isnan(scores.corpus["CIDEr-D"]) and np.isnan(scores.per_image["CIDEr-D"]).all()
    # Document frequencies of another corpus define it.
    corpus = [[["a", "cat"]], [["a", "dog"]]]
    assert CiderD(corpus=corpus).score(dog * images, alike).corpus["CIDEr-D"] > 0
    # One n-gram that is not everywhere is enough, as for coco-caption.
    assert CiderD().score([["a"], ["a"]], [[["a"]], [["a", "b"]]]).corpus["CIDEr-D"] == 0


@pytest.mark.parametrize("n", [1, 4])
def test_cider_equals_the_equations(n):
    candidates, references = random_captions(images=80, seed=1)
    candidates[3] = []
    candidates[4] = ["never", "seen", "never", "seen", "before"]
    expected = slow_cider(candidates, references, n=n)
    np.testing.assert_allclose(
        CiderD(n=n).score(candidates, references).per_image["CIDEr-D"] / 100, expected, atol=1e-9
    )
    assert expected.max() > 1 and expected[3] == expected[4] == 0


def test_cider_of_references_too_short_for_an_ngram():
    """No reference of four words: there is no table of 4-grams."""
    references = [[["a", "dog", "runs"], ["a", "red", "dog"]], [["a", "cat", "sits"]], [["the", "grass"]]]
    candidates = [["a", "dog", "runs"], ["a", "big", "cat", "sits", "on", "grass"], ["the", "grass"]]
    scores = CiderD().score(candidates, references)
    np.testing.assert_allclose(
        scores.per_image["CIDEr-D"], 100 * np.array(slow_cider(candidates, references))
    )
    assert scores.per_image["CIDEr-D"][0] > 0


def test_cider_with_frequencies_of_another_corpus():
    candidates, references = random_captions(images=40, seed=2)
    _, corpus = random_captions(images=90, seed=3)
    per_image = CiderD(corpus=corpus).score(candidates, references).per_image["CIDEr-D"] / 100
    np.testing.assert_allclose(per_image, slow_cider(candidates, references, corpus), atol=1e-9)
    assert abs(per_image - slow_cider(candidates, references)).max() > 0.01
    # With these document frequencies a single image has a score.
    assert CiderD(corpus=corpus).score(candidates[:1], references[:1]).corpus["CIDEr-D"] == pytest.approx(
        100 * per_image[0]
    )


def test_counting_the_end_adds_one_word():
    candidates, references = random_captions(images=40, seed=4)
    ended = [[*c, "<END>"] for c in candidates], [[[*c, "<END>"] for c in image] for image in references]
    counted = CiderD(count_end=True).score(candidates, references).per_image["CIDEr-D"]
    np.testing.assert_allclose(counted / 100, slow_cider(*ended), atol=1e-9)
