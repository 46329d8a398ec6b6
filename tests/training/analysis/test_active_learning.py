"""The choice of images to caption next, in worlds of clusters made by hand."""

import numpy as np
import pytest

from captioner.errors import DataError, SpecError
from captioner.types import Caption
from training.analysis.active_learning import select, uncertainty, unit_length

CENTERS = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10], [10, 10, 10.0]])


def clusters(count=20, spread=0.1, seed=0):
    """Features [5 * count, 3] of five clusters far from one another, and the cluster of each."""
    noise = np.random.default_rng(seed).normal(0, spread, (len(CENTERS), count, 3))
    return (CENTERS[:, None] + noise).reshape(-1, 3), np.repeat(np.arange(len(CENTERS)), count)


def test_each_cluster_is_visited_before_any_comes_again():
    features, cluster = clusters()
    weights = np.random.default_rng(1).uniform(0.8, 1.2, len(features))
    order = select(features, weights, 10)
    assert sorted(cluster[order[:5]]) == [0, 1, 2, 3, 4]
    assert len(set(order)) == 10 and order[0] == np.argmax(weights)


def test_uncertain_images_come_before_certain_ones_of_equal_distance():
    features = np.eye(6)  # all equally far from one another
    weights = np.array([0.3, 0.9, 0.1, 0.7, 0.5, 0.2])
    assert select(features, weights, 6).tolist() == np.argsort(-weights).tolist()


def test_an_uncertain_cluster_is_not_all_that_is_chosen():
    features, cluster = clusters()
    weights = np.where(cluster == 2, 3.0, 1.0)
    order = select(features, weights, 5)
    assert cluster[order[0]] == 2 and sorted(cluster[order]) == [0, 1, 2, 3, 4]
    assert set(cluster[np.argsort(-weights, kind="stable")[:5]]) == {2}  # what uncertainty alone chooses


def test_near_duplicates_come_last_however_uncertain():
    features, cluster = clusters(count=1)
    doubles = np.concatenate([features, np.repeat(features[:1], 4, 0), features[:1] + 1e-5])
    weights = np.array([1.0] * 5 + [50.0] * 5)
    order = select(doubles, weights, 10).tolist()
    first = order[0]
    assert first >= 5 and set(order[1:5]) == {1, 2, 3, 4} and 0 in order[5:]


def test_images_like_captioned_ones_come_last():
    features, cluster = clusters()
    order = select(features, np.ones(len(features)), 3, labelled=CENTERS[[0, 2]])
    assert sorted(cluster[order]) == [1, 3, 4]
    order = select(features, np.ones(len(features)), 1, labelled=CENTERS[:4])
    assert cluster[order[0]] == 4


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_order_does_not_depend_on_the_scale_or_the_run(scale):
    features, _ = clusters(spread=2.0)
    weights = np.random.default_rng(4).gamma(2.0, size=len(features))
    expected = select(features, weights, 30)
    assert np.array_equal(select(features * scale, weights * 7, 30), expected)
    assert np.array_equal(select(features, weights, 12), expected[:12])


def test_each_choice_has_the_largest_product_of_uncertainty_and_distance():
    generator = np.random.default_rng(5)
    features, labelled = generator.normal(size=(40, 8)), generator.normal(size=(6, 8))
    weights = generator.uniform(0.1, 3, 40)
    centers, left = list(labelled), set(range(40))
    for number in select(features, weights, 15, labelled):
        scores = {i: weights[i] * min(np.linalg.norm(features[i] - c) for c in centers) for i in left}
        assert scores[number] == pytest.approx(max(scores.values()))
        centers.append(features[number])
        left.remove(number)


def test_copies_that_differ_by_rounding_come_in_order_of_their_numbers():
    features = np.array([[1.0, 0.0], [1.0 + 1e-7, 0.0], [-3.0, 1.0]])
    assert select(features, [1.0, 1.0 + 1e-7, 1.0], 3, np.zeros((1, 2))).tolist() == [2, 0, 1]
    assert select(features[:2], [1.0, 1.0 + 1e-7], 2).tolist() == [0, 1]


def test_certain_and_equal_images_are_all_chosen_in_order():
    assert select(np.ones((3, 2)), np.zeros(3), 5).tolist() == [0, 1, 2]
    assert select(np.array([[0.0], [1], [5]]), np.zeros(3), 3, np.array([[0.0]])).tolist() == [2, 1, 0]
    assert (
        select(np.zeros((0, 2)), [], 3).tolist() == [] and select(np.ones((2, 2)), [1, 1], 0).tolist() == []
    )


@pytest.mark.parametrize(
    ("features", "weights", "labelled", "message"),
    [
        (np.ones((3, 2)), [1, 1], None, r"expected features \[N, C\], uncertainty \[N\]"),
        (np.ones(3), [1, 1, 1], None, "expected features"),
        (np.ones((2, 2)), [1, 1], np.ones((1, 3)), r"got \[2, 2\], \[2\] and \[1, 3\]"),
        (np.array([[np.nan, 1]]), [1], None, "NaN or infinity"),
        (np.ones((1, 2)), [-1], None, "at least 0, got -1"),
    ],
)
def test_bad_input_is_refused(features, weights, labelled, message):
    with pytest.raises(DataError, match=message):
        select(features, weights, 1, labelled)
    with pytest.raises(SpecError, match="count expects a whole number"):
        select(np.ones((2, 2)), [1, 1], -1)


def test_uncertainty_is_per_word():
    short = Caption("a dog", -1.5, ("a", "dog"), -1.5, (-0.5, -0.7))
    long = Caption("a dog runs on grass", -3.0, tuple("abcde"), -3.0, (-0.5,) * 5)
    assert uncertainty(short) == uncertainty(long) == 0.5
    assert uncertainty(Caption("", 0.0, (), 0.0, ())) == 0.0


def test_unit_length():
    features = unit_length(np.array([[3, 4], [30, 40], [0, 0]], np.float32))
    assert np.allclose(features, [[0.6, 0.8], [0.6, 0.8], [0, 0]])
