"""The CIDEr regression with a prior: what an initial model knows of more images, in words that may be others."""

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding.backend import numpy_backend
from captioner.errors import BundleError
from captioner.rerank.cider_regression import CiderRegression
from captioner.text import Tokenizer
from training.loop.cider_regression import Prior, fit

ANIMALS = ["dog", "cat", "horse", "bird", "cow", "sheep"]
VERBS = ["runs", "sleeps", "eats", "jumps"]
WORDS = ["a", *ANIMALS, *VERBS]
TOKENIZER, OTHER = Tokenizer(WORDS), Tokenizer(["the", *reversed(WORDS)])
CHANNELS = 40


def world(count, seed):
    """Features of an animal and what it does, in much noise, and two captions that say so."""
    random = np.random.default_rng(seed)
    signal = np.random.default_rng(99).normal(size=(len(ANIMALS) + len(VERBS), CHANNELS))
    animals, verbs = random.integers(0, len(ANIMALS), count), random.integers(0, len(VERBS), count)
    features = signal[animals] + signal[len(ANIMALS) + verbs] + 1.5 * random.normal(size=(count, CHANNELS))
    captions = [[f"a {ANIMALS[a]} {VERBS[v]}"] * 2 for a, v in zip(animals, verbs, strict=True)]
    return features[None].astype(np.float32), captions


SENTENCES = [f"a {animal} {verb}" for animal in ANIMALS for verb in VERBS]
IDS = np.array([[[*TOKENIZER.encode(text, 5)] for text in SENTENCES]], np.int32)


def predicted(regression, features):
    """The expected CIDEr-D of every sentence of the world with every image: [N, 24]."""
    with numpy_backend():
        projected = regression.project(features[0][:, None])
        return regression.predict(projected, np.repeat(IDS, len(projected), axis=0))


def accuracy(regression):
    features, captions = world(400, 7)
    best = predicted(regression, features).argmax(axis=1)
    return np.mean([SENTENCES[i] == texts[0] for i, texts in zip(best, captions, strict=True)])


def prior_of(tokenizer, shuffled=False):
    features, captions = world(800, 1)
    if shuffled:
        captions = [captions[i] for i in np.random.default_rng(5).permutation(800)]
    return Prior(fit(features, captions, tokenizer), tokenizer)


def fitted(prior=None, count=40, **options):
    return fit(*world(count, 3), TOKENIZER, min_count=1, ridge=1e-2, prior=prior, **options)


def test_few_images_with_a_prior_are_worth_more():
    alone, with_prior = accuracy(fitted()), accuracy(fitted(prior_of(TOKENIZER)))
    assert alone < 0.6
    assert with_prior > alone + 0.08


def test_a_prior_of_another_vocabulary_says_the_same():
    same, other = (predicted(fitted(prior_of(t)), world(50, 8)[0]) for t in (TOKENIZER, OTHER))
    np.testing.assert_allclose(same, other, rtol=1e-3, atol=1e-3)


def test_a_prior_that_knows_nothing_changes_little():
    alone, misled = fitted(count=200), fitted(prior_of(OTHER, shuffled=True), 200)
    assert abs(accuracy(alone) - accuracy(misled)) < 0.05
    none_known = Tokenizer(["ein", "hund"])
    foreign = fit(*(lambda f, c: (f, [["ein hund"]] * len(c)))(*world(50, 1)), none_known)
    one, two = (predicted(fitted(p), world(50, 8)[0]) for p in (None, Prior(foreign, none_known)))
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def test_it_is_the_sum_of_both_regressions():
    regression, features = fitted(prior_of(OTHER), rank=5), world(20, 8)[0]
    assert regression.centre.shape == (2, CHANNELS)
    rank = regression.projection.shape[2]
    expected = np.zeros((20, len(regression.keys)))
    for i in range(2):
        shifted = features[0] - regression.centre[i]
        z = shifted / np.linalg.norm(shifted, axis=1, keepdims=True) @ regression.projection[i]
        expected += z @ regression.vectors[:, i * rank : (i + 1) * rank].T.astype(np.float64)
    with numpy_backend():
        projected = regression.project(features[0][:, None])
    np.testing.assert_allclose(projected @ regression.vectors.T.astype(np.float32), expected, atol=1e-4)


def test_what_the_prior_leaves_is_what_is_learnt():
    """Least squares: with a free rank and hardly any ridge the sum gives the targets of the images it was fitted on."""
    features, captions = world(12, 3)
    regression = fit(features, captions, TOKENIZER, min_count=1, ridge=1e-9, prior=prior_of(OTHER))
    best = predicted(regression, features).argmax(axis=1)
    assert [SENTENCES[i] for i in best] == [texts[0] for texts in captions]


def test_an_adapted_prior_counts_once():
    """Adapted again, a model's regression has the term of its initial model and its own, not three."""
    first = Prior(fitted(prior_of(OTHER)), TOKENIZER)
    again = fit(*world(30, 4), TOKENIZER, min_count=1, ridge=1e-2, prior=first)
    assert again.centre.shape == (2, CHANNELS)
    np.testing.assert_array_equal(again.centre[0], first.regression.centre[0])


def test_saved_loaded_and_the_same_in_tensorflow(tmp_path):
    regression, features = fitted(prior_of(OTHER)), world(20, 8)[0]
    regression.save(tmp_path / "a.npz")
    loaded = CiderRegression.load(tmp_path / "a.npz", TOKENIZER.fingerprint, CHANNELS)
    projected = loaded.project(tf.constant(features[0][:, None]))
    in_tensorflow = loaded.predict(projected, tf.constant(np.repeat(IDS, 20, axis=0)))
    np.testing.assert_allclose(in_tensorflow, predicted(regression, features), rtol=1e-4, atol=1e-4)
    with pytest.raises(BundleError, match="41 channels"):
        CiderRegression.load(tmp_path / "a.npz", TOKENIZER.fingerprint, 41)


@pytest.mark.parametrize("damage", ["terms", "rank", "dimensions"])
def test_terms_that_do_not_fit_are_refused(damage, tmp_path):
    regression = fitted(prior_of(OTHER))
    arrays = {name: getattr(regression, name) for name in ("centre", "projection", "vectors")}
    if damage == "terms":
        arrays["centre"] = arrays["centre"][:1]
    elif damage == "rank":
        arrays["vectors"] = arrays["vectors"][:, :-1]
    else:
        arrays["centre"] = arrays["centre"][None]
    rest = {name: getattr(regression, name) for name in ("keys", "idf", "mean", "images", "vocabulary")}
    CiderRegression(**rest, **arrays).save(tmp_path / "a.npz")
    with pytest.raises(BundleError, match="damaged"):
        CiderRegression.load(tmp_path / "a.npz", TOKENIZER.fingerprint, CHANNELS)
