"""Sampling against the exact probabilities of all captions."""

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding import STRATEGIES, generate
from captioner.errors import SpecError
from captioner.types import END, PAD, START, UNK
from tests.support.models.probability_worlds import assert_same, captions, decode, random_world
from tests.support.models.strategies import IDS


def exact_probabilities(
    world, max_length, temperature=1.0, top_k=0, top_p=1.0
) -> dict[tuple[int, ...], float]:
    """Probabilities of all captions of image 0, by counting."""

    def next_words(history):
        row = world.tables[0, history[-2], history[-1]].astype(float) / temperature
        row[[PAD, START, UNK]] = -np.inf
        p = np.exp(row - row.max())
        order = np.argsort(-p)
        if top_k:
            p[order[top_k:]] = 0
        p /= p.sum()
        kept = np.cumsum(p[order]) - p[order] < top_p
        p[order[~kept]] = 0
        return p / p.sum()

    hypotheses = {}

    def walk(ids, chance):
        if len(ids) == max_length or (ids and ids[-1] == END):
            hypotheses[ids] = chance
            return
        for word, p in enumerate(next_words((START, START, *ids))):
            if p:
                walk((*ids, word), chance * p)

    walk((), 1.0)
    return hypotheses


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.7}, {"temperature": 2.0, "top_k": 3, "top_p": 0.8}],
)
def test_samples_have_the_right_frequencies(options):
    world, n = random_world(kinds=1, seed=1, spread=0.7), 4000
    drawn = captions(decode(world, STRATEGIES["sample"](n=n, seed=11, **options), 2), 0)
    chances = exact_probabilities(world, 2, **options)
    assert set(drawn) <= set(chances)
    counts = {ids: drawn.count(ids) for ids in chances}
    distance = sum((counts[ids] - n * p) ** 2 / (n * p) for ids, p in chances.items())
    freedom = len(chances) - 1
    assert distance < freedom + 4 * np.sqrt(2 * freedom)


def test_narrow_sampling_is_greedy(world):
    greedy = decode(world, "greedy")
    assert_same(greedy, decode(world, "sample(top_k=1)"))
    assert_same(greedy, decode(world, "sample(temperature=0.001)"))
    assert_same(greedy, decode(world, "sample(top_p=0.0001)"))


def test_seeds(world):
    spec = "sample(n=4, seed=5)"
    assert_same(decode(world, spec), decode(world, spec))
    assert_same(decode(world, "sample(n=4)", seed=5), decode(world, spec))
    assert_same(decode(world, spec, seed=6), decode(world, "sample(n=4, seed=6)"))
    assert (decode(world, spec).ids != decode(world, spec, seed=6).ids).any()
    assert (decode(world, "sample(n=4)").ids != decode(world, "sample(n=4)").ids).any()

    @tf.function
    def run(seed):
        return generate(world, world.features([0, 1]), "sample(n=4)", 6, seed=seed).ids

    assert (run(tf.constant([1, 2])).numpy() != run(tf.constant([1, 3])).numpy()).any()
    assert (run(tf.constant([1, 2])).numpy() == run(tf.constant([1, 2])).numpy()).all()


@pytest.mark.parametrize(
    "temperature", [1e-40, 1e-9, 0.0009, 1001, 1e9, 1e12, 0, -1, float("nan"), float("inf")]
)
def test_temperatures_beyond_float32_are_refused(temperature):
    with pytest.raises(SpecError, match="temperature expects a number from 0.001 to 1000"):
        STRATEGIES["sample"](temperature=temperature)


@pytest.mark.parametrize("temperature", [0.001, 1000.0])
def test_forbidden_words_at_any_temperature(world, temperature):
    hypotheses = decode(world, STRATEGIES["sample"](n=400, seed=1, temperature=temperature, banned=["ant"]))
    ids = np.asarray(hypotheses.ids)
    assert not np.isin(ids, [START, UNK, IDS["ant"]]).any()
    assert (np.asarray(hypotheses.logp) > -1e6).all()
