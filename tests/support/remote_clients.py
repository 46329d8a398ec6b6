"""Images for remote engines, and checks of their captions and errors."""

import numpy as np
import pytest

from captioner.errors import CaptionerError, EngineError

IMAGES = [b"\xff\xd8\xff image %d" % i for i in range(20)]
NOT_AN_IMAGE, GIF = b"no image", b"GIF89a image"


def error_line(call, *args, **options):
    """The message of the `EngineError` that a call raises; it has one line."""
    with pytest.raises(CaptionerError) as caught:
        call(*args, **options)
    assert isinstance(caught.value, EngineError) and "\n" not in str(caught.value)
    # A chained exception might show headers.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def assert_same_caption(one, other):
    """Two captions agree in words, numbers, attention and alternatives."""
    assert (one.text, one.words, one.error) == (other.text, other.words, other.error)
    assert len(one.alternatives) == len(other.alternatives)
    if one.ok:
        numbers = [(c.score, c.logp, *c.word_logp) for c in (one, other)]
        np.testing.assert_allclose(*numbers, rtol=1e-6)
        np.testing.assert_array_equal(one.attention, other.attention)
    for mine, theirs in zip(one.alternatives, other.alternatives, strict=True):
        assert_same_caption(mine, theirs)
