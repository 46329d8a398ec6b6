"""Sampling, diverse and constrained search, held against worlds small enough to count every caption."""

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding import STRATEGIES, generate
from captioner.errors import SpecError
from captioner.text import Tokenizer
from captioner.types import END, PAD, START, UNK
from tests.support.probability_worlds import captions, decode, random_world, same

WORDS = ["ant", "bee", "cat", "dog"]
IDS = dict(zip(WORDS, range(4, 8), strict=True))
KINDS = 6


@pytest.fixture(scope="module")
def world():
    return random_world(kinds=KINDS, tokenizer=Tokenizer(WORDS))


# Sampling.


def expected(world, max_length, temperature=1.0, top_k=0, top_p=1.0) -> dict[tuple[int, ...], float]:
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

    found = {}

    def walk(ids, chance):
        if len(ids) == max_length or (ids and ids[-1] == END):
            found[ids] = chance
            return
        for word, p in enumerate(next_words((START, START, *ids))):
            if p:
                walk((*ids, word), chance * p)

    walk((), 1.0)
    return found


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.7}, {"temperature": 2.0, "top_k": 3, "top_p": 0.8}],
)
def test_samples_come_as_often_as_they_should(options):
    world, n = random_world(kinds=1, seed=1, spread=0.7), 4000
    drawn = captions(decode(world, STRATEGIES["sample"](n=n, seed=11, **options), 2), 0)
    chances = expected(world, 2, **options)
    assert set(drawn) <= set(chances)
    counts = {ids: drawn.count(ids) for ids in chances}
    distance = sum((counts[ids] - n * p) ** 2 / (n * p) for ids, p in chances.items())
    freedom = len(chances) - 1
    assert distance < freedom + 4 * np.sqrt(2 * freedom)


def test_cold_or_narrow_samples_are_greedy(world):
    greedy = decode(world, "greedy")
    same(greedy, decode(world, "sample(top_k=1)"))
    same(greedy, decode(world, "sample(temperature=0.001)"))
    same(greedy, decode(world, "sample(top_p=0.0001)"))


def test_seeds_decide(world):
    spec = "sample(n=4, seed=5)"
    same(decode(world, spec), decode(world, spec))
    same(decode(world, "sample(n=4)", seed=5), decode(world, spec))
    same(decode(world, spec, seed=6), decode(world, "sample(n=4, seed=6)"))
    assert (decode(world, spec).ids != decode(world, spec, seed=6).ids).any()
    assert (decode(world, "sample(n=4)").ids != decode(world, "sample(n=4)").ids).any()

    @tf.function
    def run(seed):
        return generate(world, world.features([0, 1]), "sample(n=4)", 6, seed=seed).ids

    assert (run(tf.constant([1, 2])).numpy() != run(tf.constant([1, 3])).numpy()).any()
    assert (run(tf.constant([1, 2])).numpy() == run(tf.constant([1, 2])).numpy()).all()


# Diverse and constrained.


def test_groups_without_penalty_are_one_beam_search_each(world):
    found = decode(world, "diverse(width=6, groups=2, penalty=0.0)")
    plain = decode(world, "beam(width=3, n_best=3)")
    for image in range(KINDS):
        assert captions(found, image)[::2] == captions(found, image)[1::2] == captions(plain, image)


def test_the_first_group_is_a_plain_beam_and_others_avoid_it(world):
    found = decode(world, "diverse(width=6, groups=3, penalty=1.5)")
    plain = decode(world, "beam(width=2, n_best=2)")
    for image in range(KINDS):
        assert set(captions(plain, image)) <= set(captions(found, image))
    # With a penalty that outweighs all else, five groups of one share the five first ids among them.
    apart = decode(world, "diverse(width=5, groups=5, penalty=1000.0)")
    for image in range(KINDS):
        assert len({ids[0] for ids in captions(apart, image)}) == 5


def test_penalties_make_captions_more_varied(world):
    def variety(penalty):
        found = decode(world, f"diverse(width=6, groups=3, penalty={penalty})")
        return sum(len(set(captions(found, image))) for image in range(KINDS))

    assert variety(0.0) < variety(2.0)


def holds_phrase(ids, phrase) -> bool:
    return any(ids[i : i + len(phrase)] == phrase for i in range(len(ids)))


@pytest.mark.parametrize(
    "phrases",
    [
        ["dog"],
        ["bee cat"],
        ["ant", "bee", "cat", "dog"],
        ["bee cat", "cat dog"],
        ["cat", "cat bee"],
        ["bee bee cat"],
    ],
)
@pytest.mark.parametrize("extra", [0, 2])
def test_required_phrases_are_there(world, phrases, extra):
    ids = [tuple(IDS[w] for w in phrase.split()) for phrase in phrases]
    max_length = sum(map(len, ids)) + extra
    found = decode(world, STRATEGIES["constrained"](phrases, width=1, length_penalty=0.0), max_length)
    for image in range(KINDS):
        (caption,) = captions(found, image)
        assert all(holds_phrase(caption, phrase) for phrase in ids)


@pytest.mark.parametrize("phrases", [["cat"], ["ant", "cat"], ["ant bee", "bee cat"]])
def test_a_wide_grid_finds_the_best_caption_with_the_phrases(phrases):
    size = 128
    tokenizer = Tokenizer(WORDS[:3] + [f"word{i}" for i in range(size - 7)])
    world = random_world(size=size, kinds=2, words=[4, 5, 6], tokenizer=tokenizer)
    ids = [tuple(IDS[w] for w in phrase.split()) for phrase in phrases]

    def keep(caption):
        return all(holds_phrase(caption, phrase) for phrase in ids)

    found = decode(world, STRATEGIES["constrained"](phrases, width=100, n_best=3), 4)
    for image in range(world.kinds):
        best = world.ranked(image, 4, [4, 5, 6], 0.6, keep)[:3]
        assert captions(found, image) == [caption for _, _, caption in best]
        np.testing.assert_allclose(found.score[image], [score for score, _, _ in best], atol=1e-4)


def test_without_phrases_constrained_is_beam(world):
    same(decode(world, "constrained(width=3, n_best=2)"), decode(world, "beam(width=3, n_best=2)"))


def test_a_phrase_that_a_rule_forbids_is_said_as_far_as_it_may(world):
    found = decode(world, "constrained(must_include=['dog dog'], no_repeat_ngram=1)", 3)
    for image in range(KINDS):
        (caption,) = captions(found, image)
        assert len(caption) == 3 and caption.count(IDS["dog"]) == 1 and END not in caption


@pytest.mark.parametrize(
    "temperature", [1e-40, 1e-9, 0.0009, 1001, 1e9, 1e12, 0, -1, float("nan"), float("inf")]
)
def test_temperatures_that_float32_cannot_divide_by_are_refused(temperature):
    with pytest.raises(SpecError, match="temperature expects a number from 0.001 to 1000"):
        STRATEGIES["sample"](temperature=temperature)


@pytest.mark.parametrize("temperature", [0.001, 1000.0])
def test_no_temperature_draws_what_is_forbidden(world, temperature):
    hypotheses = decode(world, STRATEGIES["sample"](n=400, seed=1, temperature=temperature, banned=["ant"]))
    ids = np.asarray(hypotheses.ids)
    assert not np.isin(ids, [START, UNK, IDS["ant"]]).any()
    assert (np.asarray(hypotheses.logp) > -1e6).all()


@pytest.mark.parametrize(
    "options", [{"length_penalty": 1e30}, {"length_penalty": float("inf")}, {"length_penalty": -1}]
)
def test_a_length_penalty_beyond_float32_is_refused(options):
    with pytest.raises(SpecError, match="length_penalty expects a number from 0 to 10"):
        STRATEGIES["beam"](**options)
