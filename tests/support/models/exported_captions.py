"""Images that exports caption, and a comparison of captions of two engines."""

import numpy as np
import pytest

from tests.support.images import odd_images

FILES = [odd_images.encoded(odd_images.drawn(40, 30, turn=60 * i), "PNG") for i in range(3)]


def same(caption, expected):
    """The same captions, with numbers to 1e-4."""
    assert (caption.error, caption.text, caption.words) == (expected.error, expected.text, expected.words)
    assert caption.score == pytest.approx(expected.score, abs=1e-4)
    assert caption.logp == pytest.approx(expected.logp, abs=1e-4)
    np.testing.assert_allclose(caption.word_logp, expected.word_logp, atol=1e-4)
    assert (caption.attention is None) == (expected.attention is None)
    if caption.attention is not None:
        np.testing.assert_allclose(caption.attention, expected.attention, atol=1e-4)
    assert len(caption.alternatives) == len(expected.alternatives)
    for one, other in zip(caption.alternatives, expected.alternatives, strict=True):
        same(one, other)
