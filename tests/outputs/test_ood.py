"""The out-of-distribution score: its equation, its file, and damage to it."""

import io
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding.backend import numpy_backend
from captioner.decoding.pooling import mean_feature
from captioner.errors import BundleError
from captioner.outputs.ood import OutOfDistribution
from tests.support.models.outcomes import parameters

FEATURES = np.random.default_rng(1).normal(size=(7, 6, 5)).astype(np.float32)


def scored(ood, features):
    with numpy_backend():
        return ood.score(mean_feature(features))


def test_the_equation():
    """The Mahalanobis distance under the covariance U diag(l) U^T + s (I - U U^T), inverted as a matrix."""
    ood = parameters()
    axes = ood.axes.astype(np.float64)
    besides = (np.eye(5) - axes @ axes.T) / ood.residual_precision
    inverse = np.linalg.inv(axes @ np.diag(1 / ood.precisions) @ axes.T + besides)
    mean = FEATURES.astype(np.float64).mean(axis=1)
    x = mean / np.linalg.norm(mean, axis=1, keepdims=True) - ood.centre
    expected = np.sqrt(np.einsum("bi,ij,bj->b", x, inverse, x) / 5)
    # The stored axes are rounded to float16.
    np.testing.assert_allclose(scored(ood, FEATURES), expected, rtol=5e-3)
    assert np.ptp(expected) > 0.5


def test_tensorflow_and_numpy_agree():
    ood = parameters()
    graph = tf.function(
        lambda features: ood.score(mean_feature(features)),
        input_signature=[tf.TensorSpec([None, 6, 5])],
        autograph=False,
    )
    result = graph(FEATURES)
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, scored(ood, FEATURES), rtol=1e-5)
    assert graph(FEATURES[:0]).shape == (0,)


def test_brightness_of_features_does_not_count():
    np.testing.assert_allclose(scored(parameters(), 3 * FEATURES), scored(parameters(), FEATURES), rtol=1e-5)


def test_scores_are_finite():
    sharp = parameters(residual_precision=np.array(3e38, np.float32))
    for features in (np.zeros((1, 6, 5), np.float32), np.full((1, 6, 5), 1e18, np.float32)):
        with np.errstate(over="ignore"):
            assert np.isfinite(scored(parameters(), features)).all() and scored(sharp, features).max() <= 1e6


def test_a_file_keeps_everything(tmp_path):
    ood = parameters(figures=np.array('{"split": "validation"}'))
    ood.save(tmp_path / "ood.npz")
    for source in (tmp_path / "ood.npz", str(tmp_path / "ood.npz"), io.BytesIO(ood.to_bytes())):
        loaded = OutOfDistribution.load(source, 5)
        for field in fields(ood):
            one, other = (getattr(either, field.name) for either in (loaded, ood))
            assert one.dtype == other.dtype and np.array_equal(one, other), field.name
        assert loaded.measured() == {"split": "validation"}
    for figures in ("", "[1]", "{", "[" * 100_000):
        assert replace(ood, figures=np.array(figures)).measured() == {}


class Danger:
    def __reduce__(self):
        return print, ("a command of a model file ran",)


WRONG = {
    "nan": {"centre": np.full(5, np.nan, np.float32)},
    "infinite": {"precisions": np.array([1, np.inf], np.float32)},
    "negative": {"precisions": np.array([1, -1], np.float32)},
    "no residual": {"residual_precision": np.array(0, np.float32)},
    "integers": {"axes": np.ones((5, 2), np.int32)},
    "shape": {"axes": np.ones((4, 2), np.float16)},
    "too many axes": {"axes": np.ones((5, 6), np.float16), "precisions": np.ones(6, np.float32)},
    "no axes": {"axes": np.ones((5, 0), np.float16), "precisions": np.ones(0, np.float32)},
    "order": {"hedge": np.array(3, np.float32)},
    "hedge": {"hedge": np.array(-1, np.float32)},
    "confidence": {"least_confidence": np.array(1, np.float32)},
    "size": {"decline": np.array([2, 3], np.float32)},
    "images": {"images": np.array(0, np.int32)},
    "text": {"figures": np.array(3)},
    "object": {"figures": np.array(Danger(), dtype=object)},
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_numbers_are_damage(tmp_path, capsys, name):
    parameters(**WRONG[name]).save(tmp_path / "ood.npz")
    with pytest.raises(
        BundleError, match=r"damaged .*ood\.npz: run training/fit_ood\.py again, or delete it"
    ) as error:
        OutOfDistribution.load(tmp_path / "ood.npz", 5)
    assert "\n" not in str(error.value) and capsys.readouterr().out == ""


def test_damaged_files(tmp_path):
    path = tmp_path / "ood.npz"
    content = parameters().to_bytes()
    compressed = io.BytesIO()  # zeros would be a thousand times larger unpacked
    np.savez_compressed(compressed, **{f.name: getattr(parameters(), f.name) for f in fields(parameters())})
    for data in (b"", b"PK\x03\x04", content[:300], pickle.dumps(Danger()), compressed.getvalue()):
        path.write_bytes(data)
        with pytest.raises(BundleError, match="damaged"):
            OutOfDistribution.load(path, 5)
    path.write_bytes(content)
    with pytest.raises(
        BundleError, match=r"for this model \(7 channels\), got 5 channels: run training/fit_ood"
    ):
        OutOfDistribution.load(path, 7)
    with pytest.raises(BundleError, match="damaged x, ood.npz"):
        OutOfDistribution.load(io.BytesIO(b""), 5, "x, ood.npz")
