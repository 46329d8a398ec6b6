"""Options and fitted parameters for the tests of every row of `RERANKERS`."""

import numpy as np

from captioner.decoding import generate
from captioner.decoding.backend import numpy_backend
from captioner.types import Hypotheses
from tests.support.models.probability_worlds import NumpyWorld
from tests.support.models.strategies import KINDS
from training import fit_cider_regression

# Strategies as they are run here, so that there are several captions of an image to choose from.
OPTIONS = {
    "beam": "width=6",
    "sample": "n=6, seed=7",
    "diverse": "width=6, groups=2, n_best=6",
    "constrained": "must_include=['bee', 'cat'], width=4",
}


def random_captions(words, images, seed=0):
    random = np.random.default_rng(seed)
    return [[" ".join(random.permutation(words)[:4]) for _ in range(3)] for _ in range(images)]


def fit_all(features, captions, tokenizer):
    """The parameters of every reranker that has some, for mean features [N, C]; a new one with some adds its line."""
    return {
        "cider_regression": fit_cider_regression.fit(
            features[np.newaxis], captions, tokenizer, rank=2, min_count=1
        )
    }


def spec(strategy, n_best, rerank=None):
    options = OPTIONS[strategy] if strategy in ("sample", "diverse") else f"{OPTIONS[strategy]}, {n_best=}"
    return f"{strategy}({options}, rerank={rerank!r})" if rerank else f"{strategy}({options})"


def decode(world, strategy, max_length=6):
    hypotheses = generate(world, world.features(range(KINDS)), strategy, max_length, world.tokenizer)
    return Hypotheses(*(leaf.numpy() for leaf in hypotheses))


def decode_in_numpy(world, strategy, max_length=6):
    model = NumpyWorld(world)
    model.reranker_parameters = world.reranker_parameters
    with numpy_backend():
        return generate(model, world.features(range(KINDS)), strategy, max_length, world.tokenizer)
