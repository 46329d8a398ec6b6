"""Random captions, and CIDEr-D in plain Python, to test metrics with."""

import itertools
import math
import random
import shutil
from collections import Counter

import numpy as np
import pytest

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed")


def needs_official():
    pytest.importorskip("pycocoevalcap.bleu.bleu", reason="pycocoevalcap is not installed")


def random_captions(images=300, seed=0, shortest=1):
    """Captions of random scenes: shared phrases, repeated words, 1 to 14 words, 1 to 5 captions an image."""
    rng = random.Random(seed)
    nouns = ["dog", "man", "girl", "ball", "horse", "boat"]
    places = ["on a beach", "in the snow", "near the water", "with a red ball", "of the the the"]
    verbs = ["runs", "is running", "sits", "jumps over a log", ""]

    def caption(noun):
        start = [rng.choice(["a", "the", "two", ""]), rng.choice(["big", "brown", ""]), noun]
        words = " ".join([*start, rng.choice(verbs), rng.choice([*places, ""])]).split()
        return words[: rng.randint(shortest, 14)] if rng.random() < 0.3 else words

    candidates, references = [], []
    for _ in range(images):
        noun = rng.choice(nouns)
        references.append([caption(noun) for _ in range(rng.randint(1, 5))])
        if rng.random() < 0.1:
            candidates.append(list(rng.choice(references[-1])))
        else:
            candidates.append(caption(noun if rng.random() < 0.8 else f"zebra {noun} {noun}"))
    return candidates, references


def slow_cider(candidates, references, corpus=None, n=4, sigma=6.0):
    """CIDEr-D from the equations of the paper, caption by caption."""
    corpus = references if corpus is None else corpus

    def grams(words, k):
        return Counter(tuple(words[i : i + k]) for i in range(len(words) - k + 1))

    def vector(words, k):
        return {
            g: count * (math.log(len(corpus)) - math.log(max(1, df[g])))
            for g, count in grams(words, k).items()
        }

    def norm(v):
        return math.sqrt(sum(x * x for x in v.values()))

    df = Counter()
    for captions in corpus:
        df.update({g for c in captions for k in range(1, n + 1) for g in grams(c, k)})
    scores = []
    for candidate, captions in zip(candidates, references, strict=True):
        total = 0.0
        for reference, k in itertools.product(captions, range(1, n + 1)):
            c, s = vector(candidate, k), vector(reference, k)
            difference = max(len(candidate) - 1, 0) - max(len(reference) - 1, 0)
            if norm(c) and norm(s):
                dot = sum(min(x, s.get(g, 0.0)) * s.get(g, 0.0) for g, x in c.items())
                total += dot / (norm(c) * norm(s)) * math.exp(-(difference**2) / (2 * sigma**2))
        scores.append(10 * total / (n * len(captions)))
    return np.array(scores)
