"""Near-duplicates among images."""

import numpy as np
import pytest

from training.data.duplicates import NEAR, distinct, sample


def at_angle(cosine):
    return [cosine, (1 - cosine**2) ** 0.5]


def test_images_are_near_from_a_cosine_on():
    assert distinct(np.array([[1.0, 0.0], at_angle(NEAR + 0.001)])) == 1
    assert distinct(np.array([[1.0, 0.0], at_angle(NEAR - 0.001)])) == 2
    assert distinct(np.array([[1.0, 0.0], at_angle(0.6)]), near=0.5) == 1
    # The length of a vector, which brightness changes, does not matter.
    assert distinct(np.array([[1.0, 0.0], [1e-3, 0.0], [0.0, 40.0]])) == 2


def test_copies_count_once_wherever_they_stand():
    random = np.random.default_rng(1)
    images = random.normal(size=(12, 32))
    copies = np.repeat(images, 4, axis=0) + 0.02 * random.normal(size=(48, 32))
    for seed in range(3):
        assert distinct(np.random.default_rng(seed).permutation(copies)) == 12
    assert distinct(images) == 12 and distinct(images[:1]) == 1


def test_a_blank_image_is_an_image():
    """Its features may all be 0, which has no direction."""
    assert distinct(np.zeros((1, 4))) == 1
    assert distinct(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])) == 3


@pytest.mark.parametrize("count", [1, 10, 3000, 3001, 50_000])
def test_the_images_to_compare_are_spread_evenly(count):
    numbers = sample(count)
    assert len(numbers) == min(count, 3000) == len(set(numbers.tolist()))
    assert numbers[0] == 0 and numbers[-1] == count - 1
    gaps = np.diff(numbers)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1
