"""CIDEr-D as a reward of training."""

import time

import numpy as np
import pytest

from captioner.errors import DataError, SpecError
from captioner.metrics import CiderD
from captioner.text import Tokenizer
from captioner.types import END, PAD, START, UNK
from tests.support.metric_inputs import random_captions, slow_cider


def test_reward_scores_candidates_in_any_order():
    _, references = random_captions(images=50, seed=5)
    candidates, _ = random_captions(images=200, seed=6)
    images = np.random.default_rng(0).integers(0, 50, 200)
    reward = CiderD().prepare(references)
    together = reward.words(candidates, images)
    # The equations score one candidate an image, so put the references of each choice side by side.
    expected = slow_cider(candidates, [references[i] for i in images], corpus=references)
    np.testing.assert_allclose(together, expected, atol=1e-9)
    one_by_one = [reward.words([c], [i])[0] for c, i in zip(candidates[:20], images[:20], strict=True)]
    np.testing.assert_allclose(one_by_one, together[:20], atol=1e-12)
    assert reward.words([], []).shape == (0,)


@pytest.mark.parametrize("count_end", [False, True])
def test_reward_of_ids_equals_reward_of_words(count_end):
    candidates, references = random_captions(images=50, seed=7)
    tok = Tokenizer.fit([" ".join(c) for image in references for c in image] + ["zebra"], min_count=1)
    rows = [tok.encode(" ".join(c) or "zebra") for c in candidates]
    ids = np.full((50, max(map(len, rows)) + 2), PAD)
    for row, encoded in zip(ids, rows, strict=True):
        row[: len(encoded)] = encoded
        row[len(encoded) + 1 :] = 7  # ids after the end have no effect
    ids[:, -1] = END  # nor does a second end
    reward = CiderD(count_end=count_end).prepare(references, tok.vocabulary)
    captions = [list(tok.words(row)) for row in ids]
    np.testing.assert_allclose(reward(ids, np.arange(50)), reward.words(captions), atol=1e-12)
    started = np.concatenate([np.full((50, 1), START), ids], axis=1)
    np.testing.assert_allclose(reward(started, np.arange(50)), reward.words(captions), atol=1e-12)


def test_only_a_counted_end_penalises_truncation():
    references = [[["a", "man", "on", "a", "horse"]], [["two", "dogs"]]]
    vocabulary = ["<pad>", "<start>", "<end>", "<unk>", "a", "man", "on", "horse"]
    finished, cut = [4, 5, 6, 4, 7, END], [4, 5, 6, 4, 7, PAD]
    for count_end in (False, True):
        reward = CiderD(count_end=count_end).prepare(references, vocabulary)
        complete, truncated = reward(np.array([finished, cut]), [0, 0])
        assert complete == pytest.approx(10)
        assert truncated < 9 if count_end else truncated == pytest.approx(10)


def test_unk_is_never_rewarded():
    references = [[["a", "wombat"]], [["a", "<unk>"]], [["two", "dogs"]]]
    tok = Tokenizer(["a", "dogs"])
    reward = CiderD().prepare(references, tok.vocabulary)
    a, unk = tok.id("a"), UNK
    scores = reward(np.array([[a, unk], [a, unk], [a, a]]), [0, 1, 0])
    alone = reward(np.array([[unk, unk]] * 2), [0, 1])
    assert scores[0] == pytest.approx(scores[1]) and not alone.any()


def test_reward_is_fast():
    _, references = random_captions(images=300, seed=8)
    candidates, _ = random_captions(images=3000, seed=9)
    reward = CiderD().prepare(references)
    images = np.arange(3000) % 300
    seconds = min(_seconds(lambda: reward.words(candidates, images)) for _ in range(3))
    assert 3000 / seconds > 5000, f"{3000 / seconds:.0f} captions a second"


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_reward_refuses_wrong_arguments():
    references = [[["a", "dog"]], [["a", "cat"]]]
    tok = Tokenizer(["a", "dog"])
    reward = CiderD().prepare(references, tok.vocabulary)
    for call, message in [
        (lambda: CiderD().prepare(references)(np.array([[4]]), [0]), "vocabulary"),
        (lambda: reward(np.array([4, 5]), [0]), r"\[N, T\]"),
        (lambda: reward(np.array([[4, 5]]), [0, 1]), r"\[N, T\]"),
        (lambda: reward(np.array([[4, 6]]), [0]), "another vocabulary"),
        (lambda: reward(np.array([[4, 5]]), [2]), "images from 0 to 1"),
        (lambda: reward.words([["a"]], [0, 1]), "1 candidates"),
        (lambda: CiderD().prepare([]), "at least one image"),
        (lambda: CiderD().prepare([[["a"]], []]), "every image"),
        (lambda: CiderD(corpus=[]).prepare(references), "corpus"),
    ]:
        with pytest.raises(DataError, match=message):
            call()
    for wrong in ({"n": 0}, {"sigma": 0.0}):
        with pytest.raises(SpecError):
            CiderD(**wrong)
