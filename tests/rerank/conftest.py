import pytest

from captioner.text import Tokenizer
from tests.support.models.probability_worlds import random_world
from tests.support.models.rerankers import fit_all, random_captions
from tests.support.models.strategies import KINDS, WORDS


@pytest.fixture(scope="module")
def world():
    world = random_world(kinds=KINDS, tokenizer=Tokenizer(WORDS))
    features = world.features(range(KINDS)).mean(axis=1)
    world.reranker_parameters = fit_all(features, random_captions(WORDS, KINDS), world.tokenizer)
    return world
