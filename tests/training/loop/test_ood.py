"""Fitting of the out-of-distribution score in hand-made worlds of features, and its thresholds and figures."""

import numpy as np
import pytest

from captioner.errors import DataError
from captioner.outputs.ood import OutOfDistribution
from training.loop import ood

RANDOM = np.random.default_rng(0)
CHANNELS = 20


def world(count, seed=0, shift=0.0):
    """Features of images: Gaussian, wide along three axes, around (6, 6, ...); shifted along a fourth."""
    random = np.random.default_rng(seed)
    features = 6 + 0.05 * random.normal(size=(count, CHANNELS))
    features[:, :3] += random.normal(size=(count, 3)) * (1.2, 0.9, 0.6)
    features[:, 3] += shift
    return features.astype(np.float32)


TRAIN, VALIDATION, TEST = world(2000, 1), world(500, 2), world(500, 3)


def test_it_is_the_gaussian_of_the_features():
    """Axes and variances of an eigendecomposition of the covariance of unit vectors, written out."""
    fitted = ood.fit(TRAIN, rank=3, trim=0)
    rows = TRAIN / np.linalg.norm(TRAIN, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(np.cov(rows.T.astype(np.float64), bias=True))
    np.testing.assert_allclose(1 / fitted.precisions, values[::-1][:3], rtol=1e-3)
    np.testing.assert_allclose(1 / fitted.residual_precision, values[:-3].mean(), rtol=1e-3)
    products = np.abs(fitted.axes.astype(np.float64).T @ vectors[:, ::-1][:, :3])
    np.testing.assert_allclose(products, np.eye(3), atol=2e-3)
    np.testing.assert_allclose(fitted.centre, rows.mean(axis=0), atol=1e-5)
    # The mean square of training scores is 1 by construction.
    assert np.mean(ood.scored(fitted, TRAIN).astype(np.float64) ** 2) == pytest.approx(1, abs=0.02)


def test_images_like_those_of_training_score_alike():
    fitted = ood.fit(TRAIN, rank=3, trim=0)
    scores = [ood.scored(fitted, features).mean() for features in (TRAIN, VALIDATION)]
    assert scores[0] == pytest.approx(scores[1], rel=0.02)


def test_a_shift_that_is_small_beside_the_widest_axis_is_seen():
    """A Euclidean distance would not see it: it is half the standard deviation of the first axis."""
    fitted = ood.fit(TRAIN, rank=3, trim=0)
    shifted = world(300, 4, shift=0.6)
    assert ood.auroc(ood.scored(fitted, VALIDATION), ood.scored(fitted, shifted)) > 0.999
    centre = TRAIN.mean(axis=0)
    distances = [np.linalg.norm(features - centre, axis=1) for features in (VALIDATION, shifted)]
    assert ood.auroc(*distances) < 0.7


def test_the_farthest_training_images_are_left_out():
    """A tenth of the training images are of the far-off kind: without trimming they pass for typical."""
    polluted = np.concatenate([TRAIN[:900], world(100, 5, shift=1.0)])
    far_off = world(200, 6, shift=1.0)
    areas = []
    for trim in (0.0, 0.2):
        fitted = ood.fit(polluted, rank=4, trim=trim)
        areas.append(ood.auroc(ood.scored(fitted, VALIDATION), ood.scored(fitted, far_off)))
        assert fitted.images == 1000
    assert areas[0] < 0.95 < 0.99 < areas[1]


@pytest.mark.parametrize("count", [8, 15, 40])
def test_few_images_have_a_smaller_rank(count):
    fitted = ood.fit(TRAIN[:count], rank=64, trim=0)
    assert fitted.axes.shape == (CHANNELS, min(CHANNELS, count // 2 - 1))
    assert np.isfinite(ood.scored(fitted, VALIDATION)).all()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (TRAIN[:7], "at least 8 training images to fit on, got 7"),
        (np.ones((20, 5), np.float32), "that differ, got 20 with the same mean feature"),
    ],
)
def test_what_cannot_be_fitted(features, message):
    with pytest.raises(DataError, match=message):
        ood.fit(features)


def test_shares_of_thresholds():
    scores = np.random.default_rng(1).permutation(1000) + 0.5
    for share in (0.0, 0.001, 0.02, 0.1, 0.999):
        assert np.mean(scores > ood.threshold(scores, share)) == pytest.approx(share)
    assert np.mean(np.ones(50) > ood.threshold(np.ones(50), 0.1)) == 0


def test_false_declines_are_bounded_and_only_spent_where_they_pay():
    fitted = ood.fit(TRAIN, rank=3)
    validation = ood.scored(fitted, VALIDATION)
    near, far = (ood.scored(fitted, world(200, 7, shift)) for shift in (0.15, 1.5))
    for most in (0.0, 0.02, 0.05):
        calibrated = ood.calibrated(fitted, validation, {"near": near}, max_declined=most)
        assert np.mean(validation > calibrated.decline) <= most
        assert np.mean(validation > calibrated.hedge) <= 0.1
        assert calibrated.hedge <= calibrated.decline
        # What is far is caught without declining a single image in error.
        best = ood.calibrated(fitted, validation, {"far": far}, max_declined=most)
        assert (np.mean(validation > best.decline), np.mean(far > best.decline)) == (0, 1)
    assert np.mean(near > ood.calibrated(fitted, validation, {"near": near}).decline) > 0.02


def test_figures_are_those_of_the_scores(tmp_path):
    fitted = ood.fit(TRAIN, rank=3)
    far_off = {"near_ones": world(50, 8, 0.1), "far": world(70, 9, 1.5)}
    scores = {kind: ood.scored(fitted, features) for kind, features in far_off.items()}
    test = ood.scored(fitted, TEST)
    fitted = ood.calibrated(fitted, ood.scored(fitted, VALIDATION), scores, least_confidence=0.25)
    fitted = ood.with_figures(fitted, test, scores, {"eval_split": "test"})
    fitted.save(tmp_path / "ood.npz")
    loaded = OutOfDistribution.load(tmp_path / "ood.npz", CHANNELS)
    measured = loaded.measured()
    assert measured["in_domain"] == {
        "images": 500,
        "declined": np.mean(test > loaded.decline),
        "hedged": pytest.approx(np.mean((test > loaded.hedge) & (test <= loaded.decline))),
    }
    assert measured["far_off"]["far"] == {"auroc": 1.0, "images": 70, "declined": 1.0, "hedged": 0.0}
    assert 0.5 < measured["far_off"]["near_ones"]["auroc"] < measured["far_off"]["all"]["auroc"] < 1
    assert measured["far_off"]["all"]["images"] == 120 and loaded.least_confidence == 0.25
    table = ood.figures_table(measured)
    assert "| like those it was trained on (test) | 500 |  |" in table[2]
    assert table[4] == "| far | 70 | 1.000 | 100.0 % | 0.0 % |" and "| near ones |" in table[3]


def test_areas_under_the_curve():
    """Against all pairs counted one by one."""
    one, other = np.round(RANDOM.normal(size=40), 1), np.round(RANDOM.normal(0.7, 1, 60), 1)
    pairs = [1.0 * (b > a) + 0.5 * (b == a) for a in one for b in other]
    assert ood.auroc(one, other) == pytest.approx(np.mean(pairs))
