"""The best constant caption, by trying all with the metric itself."""

import random

import pytest

import captioner
from training.analysis.constant_caption import best_constant

WORDS = ["a", "dog", "cat", "runs", "sits", "red", "blue", "grass"]


def texts(number, seed):
    choices = random.Random(seed)
    return [" ".join(choices.choices(WORDS, k=choices.randint(2, 6))) for _ in range(number)]


def score(caption, references):
    """CIDEr-D, x100, if a caption is said of every image."""
    images = {str(number): list(captions) for number, captions in enumerate(references)}
    return captioner.evaluate(dict.fromkeys(images, caption), images, metrics=["cider_d"])["CIDEr-D"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_best_of_all(seed):
    references = [texts(3, 100 * seed + image) for image in range(9)]
    candidates = texts(40, seed)
    caption, value = best_constant(candidates, references)
    scores = {candidate: score(candidate, references) for candidate in candidates}
    assert value == pytest.approx(max(scores.values()), abs=1e-6) and value > 0
    assert scores[caption] == pytest.approx(value, abs=1e-6)


def test_captions_are_normalised_and_tried_once():
    references = [["A dog runs ."], ["a dog sits"], ["two cats"]]
    assert best_constant(["A DOG!", "a dog .", "a cat"], references)[0] == "a dog"


def test_of_very_many_candidates_the_promising_ones_are_tried():
    """First over a few images, then the best of those over all."""
    references = [
        ["a dog runs on the grass" if image % 3 else "two birds", f"number {image}"] for image in range(30)
    ]
    candidates = [*texts(500, seed=4), "a dog runs on the grass", *texts(500, seed=5)]
    caption, value = best_constant(candidates, references, most=20)
    assert caption == "a dog runs on the grass" and value == pytest.approx(score(caption, references))
