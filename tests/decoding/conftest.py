import pytest

from captioner.text import Tokenizer
from tests.support.models.probability_worlds import random_world
from tests.support.models.strategies import KINDS, WORDS


@pytest.fixture(scope="module")
def world():
    return random_world(kinds=KINDS, tokenizer=Tokenizer(WORDS))
