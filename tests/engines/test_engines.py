"""Captions of every engine of the table, and of the fake."""

import numpy as np
import pytest

from captioner.engines.base import DEFAULT_STRATEGY, captions_of
from captioner.errors import SpecError
from captioner.image import loading
from captioner.text import Tokenizer
from captioner.types import END, PAD, Caption, Hypotheses
from tests.support.models.engine_sources import ROWS, row_of, source_of


def same(one: Caption, other: Caption, exactly: bool = True) -> bool:
    close = (lambda a, b: a == b) if exactly else (lambda a, b: np.allclose(a, b, atol=1e-5))
    return one.words == other.words and close(one.score, other.score) and close(one.logp, other.logp)


@pytest.fixture(scope="module", params=ROWS)
def engine(request, tiny_bundle, tmp_path_factory):
    with source_of(request.param, tiny_bundle, tmp_path_factory) as source:
        engine = row_of(request.param).open(source)
        yield engine
        engine.close()
        engine.close()


def test_engine_keeps_order_and_isolates_bad_images(engine, images):
    good = [loading.to_bytes(image) for image in images[:3]]
    one_by_one = [engine.predict([image])[0] for image in good]
    mixed = engine.predict([b"", good[0], b"no image", good[1], good[2], b"GIF"])
    assert [caption.ok for caption in mixed] == [False, True, False, True, True, False]
    for caption, expected in zip([mixed[1], mixed[3], mixed[4]], one_by_one, strict=True):
        assert same(caption, expected, exactly=False)
    for caption in mixed:
        assert caption.ok or (caption.text == "" and "\n" not in caption.error)


def test_engine_accepts_no_images_and_only_bad_ones(engine):
    assert engine.predict([]) == []
    assert not engine.predict([b"no image"])[0].ok


def test_engine_refuses_a_wrong_strategy_without_images(engine):
    with pytest.raises(SpecError):
        engine.predict([], "beam(width=")


def test_engine_describes_itself(engine):
    description = engine.describe()
    assert description["strategy"] == DEFAULT_STRATEGY or not engine.chooses_strategy
    assert {"engine", "source", "strategy"} <= set(description)


def test_engine_captions_add_up(engine, images):
    # With random weights captions may be empty without a minimal length.
    strategy = "beam(width=3, min_length=3)" if engine.chooses_strategy else None
    caption = engine.predict([loading.to_bytes(images[0])], strategy)[0]
    assert caption.words
    assert len(caption.word_logp) == len(caption.words)
    assert caption.logp <= sum(caption.word_logp) + 1e-5  # the difference is that of the end token
    assert caption.attention.shape[0] == len(caption.words)
    assert (caption.attention.sum((1, 2)) <= 1 + 1e-4).all()


def test_captions_of_reads_ids_up_to_their_length():
    tokenizer = Tokenizer(["a", "dog", "cat"])
    ids = np.array(
        [[[4, 5, END, PAD], [4, 6, 5, 4], [PAD] * 4], [[END, PAD, PAD, PAD], [PAD] * 4, [PAD] * 4]]
    )
    lengths = np.array([[3, 4, 0], [1, 0, 0]])
    logp = -np.arange(6.0).reshape(2, 3) - 1
    word_logp = -np.arange(24.0).reshape(2, 3, 4)
    attention = np.zeros((2, 3, 4, 6))
    attention[0, 0, :2, 3] = 1
    first, second = captions_of(
        Hypotheses(ids, lengths, logp, logp / 2, word_logp, attention), tokenizer, (2, 3)
    )
    assert (first.text, first.logp, first.score, first.word_logp) == ("a dog", -1.0, -0.5, (0.0, -1.0))
    assert first.attention.shape == (2, 2, 3) and first.attention[0, 1, 0] == 1
    assert [c.words for c in first.alternatives] == [("a", "cat", "dog", "a")]  # cut, so no end; no empty one
    assert first.alternatives[0].attention is None
    assert (second.text, second.words, second.alternatives) == ("", (), ())
