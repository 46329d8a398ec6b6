"""Predictions and references of random images, to test reports with."""

import json
import random

import numpy as np

from captioner.types import Caption
from tests.support.report_pages import Page

THINGS = ["dog", "cat", "boy", "girl", "horse", "boat"]
PLACES = ["on the grass", "in the snow", "near the water", "on a red bench"]


def random_captions(size=12, seed=0, wrong=0.4):
    """Predictions and references of random scenes; a share of the predictions has a wrong object or place."""
    rng = random.Random(seed)
    predictions, references = {}, {}
    for i in range(size):
        thing, place = rng.choice(THINGS), rng.choice(PLACES)
        references[f"{i}.png"] = [
            f"A {thing} sits {place} .", f"The brown {thing} is {place} .", f"A {thing} ."
        ]  # fmt: skip
        predicted = rng.choice(THINGS) if rng.random() < wrong else thing
        predictions[f"{i}.png"] = (
            f"a {predicted} sits {rng.choice(PLACES) if rng.random() < wrong else place}"
        )
    return predictions, references


def with_attention(text, rows=2, columns=3):
    words = tuple(text.split())
    maps = np.random.default_rng(len(text)).dirichlet(np.ones(rows * columns), len(words)).astype(np.float32)
    return Caption(
        text, words=words, word_logp=(-0.5,) * len(words), attention=maps.reshape(-1, rows, columns)
    )


def read_report(path):
    text = path.read_text(encoding="utf-8")
    return Page(text), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
