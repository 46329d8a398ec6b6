"""BLEU and ROUGE-L by hand."""

import itertools
import math
import random

import numpy as np
import pytest

from captioner.metrics.bleu import Bleu
from captioner.metrics.rouge_l import RougeL, longest_common_subsequence


def test_bleu_by_hand():
    # 1-grams: the x2 of 3 (clipped to 2), cat 1 of 1 -> 3 of 4; 2-grams: "the cat" of 3; nothing longer.
    scores = Bleu().score([["the", "the", "the", "cat"]], [[["the", "cat", "saw", "the", "dog"]]])
    brevity = math.exp(1 - 5 / 4)
    assert scores.corpus["BLEU-1"] == pytest.approx(100 * brevity * 3 / 4)
    assert scores.corpus["BLEU-2"] == pytest.approx(100 * brevity * math.sqrt(3 / 4 * 1 / 3))
    assert scores.corpus["BLEU-3"] == scores.corpus["BLEU-4"] == 0


def test_bleu_takes_the_shorter_closest_length():
    candidates = [["a", "b", "c"], ["d"]]
    references = [[["a", "b"], ["a", "b", "c", "d"]], [["d", "e", "f"]]]
    # Lengths 3 + 1; closest 2 (a tie with 4) + 3 = 5; all four words match.
    assert Bleu(n=1).score(candidates, references).corpus["BLEU-1"] == pytest.approx(
        100 * math.exp(1 - 5 / 4)
    )


def test_bleu_counts_no_ngram_in_short_captions():
    nltk_bleu = pytest.importorskip("nltk.translate.bleu_score")
    long = list("abcdefg")
    candidates, references = [long, ["a", "dog"]], [[long], [["a", "dog"]]]
    assert Bleu().score(candidates, references).corpus["BLEU-4"] == pytest.approx(100)
    assert nltk_bleu.corpus_bleu(references, candidates) < 0.95  # what using it as it is would give


def test_rouge_l_by_hand():
    # LCS with the first reference "a dog on grass" 3 of 4 and 3 of 4; with the second "dog" 1 of 1.
    scores = RougeL().score([["a", "dog", "on", "sand"]], [[["a", "dog", "on", "grass"], ["dog"]]])
    precision, recall = 3 / 4, 1.0
    assert scores.corpus["ROUGE-L"] == pytest.approx(
        100 * 2.44 * precision * recall / (recall + 1.44 * precision)
    )
    assert RougeL().score([["x"]], [[["y"]]]).corpus["ROUGE-L"] == 0


def test_longest_common_subsequence_equals_the_textbook():
    rng = random.Random(0)
    for _ in range(500):
        first, second = (rng.choices("abcd", k=rng.randint(0, 9)) for _ in range(2))
        table = np.zeros((len(first) + 1, len(second) + 1), int)
        for i, j in itertools.product(range(len(first)), range(len(second))):
            table[i + 1, j + 1] = (
                table[i, j] + 1 if first[i] == second[j] else max(table[i, j + 1], table[i + 1, j])
            )
        assert longest_common_subsequence(first, second) == table[-1, -1]
