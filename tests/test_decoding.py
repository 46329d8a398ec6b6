"""Decoding, held against worlds small enough to count every caption."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from worlds import LOCATIONS, World, garden_path, random_world

from captioner.decoding import RULES, STRATEGIES, generate, teacher_forced_logp
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import possible
from captioner.errors import SpecError
from captioner.text import Tokenizer
from captioner.types import END, PAD, START, UNK, Hypotheses

WORDS = ["ant", "bee", "cat", "dog"]
IDS = dict(zip(WORDS, range(4, 8), strict=True))
KINDS = 6
# Every strategy as the contract tests run it; a new row of the table needs one here.
OPTIONS = {
    "greedy": {},
    "beam": {"width": 4, "n_best": 3},
    "sample": {"n": 3, "seed": 7},
    "diverse": {"width": 4, "groups": 2},
    "constrained": {"must_include": ["bee", "cat dog"], "width": 2, "n_best": 2},
}
# Every rule: its option, and what a caption's ids, without `<end>`, must then be like.
HOLDS = {
    "min_length": (3, lambda words: len(words) >= 3),
    "no_repeat_ngram": (2, lambda words: len(set(pairs := list(itertools.pairwise(words)))) == len(pairs)),
    "banned": (["ant"], lambda words: IDS["ant"] not in words),
    "allow_unknown": (False, lambda words: UNK not in words),
}


@pytest.fixture(scope="module")
def world():
    return random_world(kinds=KINDS, tokenizer=Tokenizer(WORDS))


def decode(world: World, spec, max_length=5, kinds=None, **given) -> Hypotheses:
    features = world.features(range(world.kinds) if kinds is None else kinds)
    found = generate(world, features, spec, max_length, world.tokenizer, **given)
    return Hypotheses(*(x.numpy() for x in found))


def build(name: str, **options):
    return STRATEGIES[name](**OPTIONS[name], **options)


def captions(found: Hypotheses, image: int) -> list[tuple[int, ...]]:
    return [tuple(ids[:n].tolist()) for ids, n in zip(found.ids[image], found.lengths[image], strict=True)]


def words_of(ids) -> tuple[int, ...]:
    return tuple(i for i in ids if i != END)


def same(a: Hypotheses, b: Hypotheses):
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_array_equal(a.lengths, b.lengths)
    for x, y in zip(a[2:], b[2:], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


# What holds for every strategy.


@pytest.mark.parametrize("max_length", [1, 6])
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_caption_is_what_the_model_says_it_is(world, name, max_length):
    if name == "constrained" and max_length == 1:
        pytest.skip("three required words do not fit into one")
    found = decode(world, build(name), max_length)
    batch, k = found.lengths.shape
    assert found.ids.shape == found.word_logp.shape == (batch, k, max_length)
    assert found.attention.shape == (batch, k, max_length, LOCATIONS)
    forced = teacher_forced_logp(world, world.features(range(KINDS)), found.ids)
    np.testing.assert_allclose(found.word_logp, forced, atol=1e-4)
    np.testing.assert_allclose(found.logp, found.word_logp.sum(-1), rtol=1e-5, atol=1e-5)
    assert np.all(np.diff(found.score, axis=1) <= 0)
    for image, j in np.ndindex(batch, k):
        n = found.lengths[image, j]
        ids, rest = found.ids[image, j, :n], found.ids[image, j, n:]
        assert n >= 1
        assert not set(ids.tolist()) & {PAD, START, UNK}
        assert END not in ids[:-1] and (ids[-1] == END or n == max_length)
        assert np.all(rest == PAD)
        np.testing.assert_allclose(found.word_logp[image, j, :n], world.logp(image, ids), atol=1e-4)
        np.testing.assert_allclose(found.attention[image, j, :n], world.attention(ids), atol=1e-4)
        assert not found.word_logp[image, j, n:].any() and not found.attention[image, j, n:].any()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", STRATEGIES)
def test_every_rule_binds_every_strategy(world, name, rule):
    value, holds = HOLDS[rule]
    found = decode(world, build(name, **{rule: value}), 7)
    for image in range(KINDS):
        for ids in captions(found, image):
            assert ids and holds(words_of(ids))
    forced = teacher_forced_logp(world, world.features(range(KINDS)), found.ids)
    np.testing.assert_allclose(found.word_logp, forced, atol=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_the_rules_change_something(world, rule):
    # Without its rule a caption breaks it: otherwise the test above would prove nothing.
    value, holds = HOLDS[rule]
    options = {"allow_unknown": True} if rule == "allow_unknown" else {}
    found = decode(world, STRATEGIES["beam"](width=6, n_best=6, **options), 7)
    assert not all(holds(words_of(ids)) for image in range(KINDS) for ids in captions(found, image))


@pytest.mark.parametrize("name", [n for n in STRATEGIES if n != "sample"])
def test_a_batch_equals_its_images_one_by_one(world, name):
    kinds = [3, 0, 5]
    together = decode(world, build(name, no_repeat_ngram=2), kinds=kinds)
    for i, kind in enumerate(kinds):
        alone = decode(world, build(name, no_repeat_ngram=2), kinds=[kind])
        same(Hypotheses(*(x[i : i + 1] for x in together)), alone)


def test_an_exported_graph_of_any_batch_equals_eager(world, tmp_path):
    """By the road of TensorFlow Serving: a session, and no Python."""
    strategies = {name: build(name, min_length=2, no_repeat_ngram=2) for name in STRATEGIES}
    strategies["constrained"] = STRATEGIES["constrained"](["cat"], width=2, min_length=2)

    def graph(strategy):
        @tf.function(input_signature=[tf.TensorSpec([None, LOCATIONS, 1])])
        def run(features):
            return generate(world, features, strategy, 4, world.tokenizer)._asdict()

        return run

    signatures = {name: graph(strategy) for name, strategy in strategies.items()}
    tf.saved_model.save(tf.Module(), str(tmp_path), signatures=signatures)
    served = []
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
        for name, kinds in itertools.product(strategies, ([2], [0, 1, 4])):
            signature = loaded.signature_def[name]
            fetches = {k: v.name for k, v in signature.outputs.items()}
            feeds = {signature.inputs["features"].name: world.features(kinds)}
            served.append((name, kinds, Hypotheses(**session.run(fetches, feeds))))
    for name, kinds, found in served:
        same(found, decode(world, strategies[name], 4, kinds))


@pytest.mark.parametrize("name", STRATEGIES)
def test_extreme_logits_stay_finite(name):
    wild = random_world(kinds=3, spread=3000.0, tokenizer=Tokenizer(WORDS))
    for value in decode(wild, build(name))[2:]:
        assert np.isfinite(value).all()


# Greedy and beam.


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
def test_beam_of_one_is_greedy(alpha):
    world = random_world(kinds=40, seed=3)
    greedy, beam = decode(world, "greedy", 7), decode(world, f"beam(width=1, length_penalty={alpha})", 7)
    same(greedy._replace(score=beam.score), beam)
    assert len({tuple(c) for c in greedy.lengths.tolist()}) > 3


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
@pytest.mark.parametrize("max_length", [1, 2, 3])
def test_a_wide_beam_finds_the_best_captions_there_are(max_length, alpha):
    world = random_world(size=64, kinds=3, words=[4, 5, 6])
    found = decode(world, f"beam(width=60, n_best=4, length_penalty={alpha})", max_length)
    for image in range(world.kinds):
        best = world.ranked(image, max_length, [4, 5, 6], alpha)[:4]
        assert captions(found, image) == [ids for _, _, ids in best]
        np.testing.assert_allclose(found.score[image], [score for score, _, _ in best], atol=1e-4)
        np.testing.assert_allclose(found.logp[image], [logp for _, logp, _ in best], atol=1e-4)


def test_a_wide_beam_under_rules_finds_the_best_that_they_allow():
    world = random_world(size=64, kinds=3, words=[4, 5, 6], seed=2)
    found = decode(world, "beam(width=60, length_penalty=0.0, min_length=2, no_repeat_ngram=1)", 3)
    for image in range(world.kinds):

        def keep(ids):
            words = words_of(ids)
            return len(words) >= 2 and len(set(words)) == len(words)

        assert captions(found, image)[0] == world.ranked(image, 3, [4, 5, 6], keep=keep)[0][2]


def test_wider_beams_never_score_worse():
    world = garden_path()
    scores = [decode(world, f"beam(width={k}, length_penalty=0.0)").score.item() for k in range(1, 8)]
    assert scores == sorted(scores)
    assert scores[0] < scores[2] < scores[3]
    best = world.ranked(0, 4, [4, 5, 6, 7, 8])[0]
    assert scores[-1] == pytest.approx(best[0], abs=1e-4)
    # This one ended after two words, and still wins when the others have gone on.
    assert captions(decode(world, "beam(width=4)"), 0) == [(7, END)]


def test_no_beam_beats_the_best_and_wider_ones_come_closer():
    world = random_world(kinds=30, seed=9)
    best = [world.ranked(image, 4, range(4, 8))[0][0] for image in range(world.kinds)]
    mean = []
    for width in (1, 2, 4, 8):
        found = decode(world, f"beam(width={width}, length_penalty=0.0)", 4)
        assert np.all(found.score[:, 0] <= np.array(best) + 1e-4)
        mean.append(found.score.mean())
    assert mean == sorted(mean) and mean[0] < mean[-1]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 3.0])
@pytest.mark.parametrize("n_best", [1, 3])
def test_stopping_early_changes_nothing(monkeypatch, alpha, n_best):
    world = random_world(kinds=30, seed=4)
    spec = f"beam(width=4, n_best={n_best}, length_penalty={alpha})"
    early = decode(world, spec, 8)
    monkeypatch.setattr(
        LengthPenalty,
        "settled",
        lambda self, logp, lengths, ended, *rest: ~tf.reduce_any(~ended & possible(logp), axis=1),
    )
    same(early, decode(world, spec, 8))


@pytest.mark.parametrize("name", STRATEGIES)
def test_search_stops_when_all_beams_have_ended(name, monkeypatch):
    table = np.zeros((1, 8, 8, 8))
    table[:, :, 4:, END] = 20.0
    world = World(table, Tokenizer(WORDS))
    steps, step = [], world.step
    monkeypatch.setattr(world, "step", lambda *args: steps.append(1) or step(*args))
    decode(world, build(name), 50)
    assert 1 <= len(steps) <= 8


def test_the_n_best_differ_and_rows_without_a_caption_are_empty():
    world = random_world(kinds=KINDS, tokenizer=Tokenizer(WORDS))
    found = decode(world, "beam(width=8, n_best=8)")
    for image in range(KINDS):
        assert len(set(captions(found, image))) == 8
    found = decode(world, f"beam(width=3, n_best=3, banned={WORDS})")
    assert captions(found, 0) == [(END,), (), ()]
    assert found.score[0, 1:].tolist() == found.logp[0, 1:].tolist() == [-1e9, -1e9]
    assert not found.word_logp[0, 1:].any() and not found.attention[0, 1:].any()


def test_length_penalty_is_that_of_wu_et_al_and_favours_length():
    world = random_world(kinds=30, seed=4)
    lengths = []
    for alpha in (0.0, 1.0, 4.0):
        found = decode(world, f"beam(width=5, length_penalty={alpha})", 8)
        np.testing.assert_allclose(found.score, found.logp / ((5 + found.lengths) / 6) ** alpha, rtol=1e-5)
        lengths.append(found.lengths.mean())
    assert lengths[0] < lengths[1] < lengths[2]


# Rules at their limits.


@pytest.mark.parametrize("name", [n for n in STRATEGIES if n != "constrained"])
def test_when_every_word_is_forbidden_a_caption_ends(world, name):
    found = decode(world, build(name, banned=WORDS, min_length=3))
    assert all(captions(found, image)[0] == (END,) for image in range(KINDS))
    found = decode(world, build(name, no_repeat_ngram=1, min_length=5))
    assert all(set(words_of(captions(found, i)[0])) == set(IDS.values()) for i in range(KINDS))
    assert all(captions(found, i)[0][-1] == END for i in range(KINDS))


def test_unknown_words_come_out_only_when_allowed(world):
    found = decode(world, "beam(width=6, n_best=6, allow_unknown=True)")
    assert (found.ids == UNK).any()


def test_a_long_ngram_or_a_long_minimum_is_no_trouble(world):
    same(decode(world, "beam(no_repeat_ngram=9)", 4), decode(world, "beam", 4))
    assert not (decode(world, "greedy(min_length=4)", 4).ids == END).any()


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
    same(greedy, decode(world, "sample(temperature=0.0001)"))
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


# Mistakes.


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ("beem", "beam"),
        ("beam(widht=3)", "width"),
        ("greedy(width=3)", "width"),
        ("beam(min_lenght=3)", "min_length"),
        ("beam(width=0)", "width"),
        ("beam(width=2.5)", "width"),
        ("beam(width=9)", "width"),
        ("diverse(width=9)", "width"),
        ("constrained(must_include=['ant'], width=9)", "width"),
        ("beam(n_best=4)", "n_best"),
        ("beam(length_penalty=-1)", "length_penalty"),
        ("beam(length_penalty='long')", "length_penalty"),
        ("diverse(width=4, groups=3)", "groups"),
        ("diverse(penalty=-0.5)", "penalty"),
        ("sample(temperature=0)", "temperature"),
        ("sample(temperature=-1.0)", "temperature"),
        ("sample(top_p=0.0)", "top_p"),
        ("sample(top_p=1.5)", "top_p"),
        ("sample(top_k=-1)", "top_k"),
        ("sample(n=0)", "n"),
        ("sample(seed='x')", "seed"),
        ("greedy(min_length=6)", "max_length"),
        ("greedy(no_repeat_ngram=-1)", "no_repeat_ngram"),
        ("greedy(allow_unknown=1)", "allow_unknown"),
        ("greedy(banned='ant')", "banned"),
        ("greedy(banned=['unicorn'])", "unicorn"),
        ("greedy(banned=['ant bee'])", "single"),
        ("greedy(banned=[''])", "banned"),
        ("constrained(must_include=['unicorn'])", "unicorn"),
        ("constrained(must_include=['ant bee cat dog', 'dog ant bee'])", "max_length"),
        ("constrained(must_include=['ant'], banned=['ant'])", "ant"),
    ],
)
def test_mistakes_are_one_line(world, spec, word):
    with pytest.raises(SpecError) as caught:
        decode(world, spec)
    assert "\n" not in str(caught.value) and word in str(caught.value)


def test_words_need_a_tokenizer_and_captions_a_length(world):
    with pytest.raises(SpecError, match="tokenizer"):
        generate(world, world.features([0]), "greedy(banned=['ant'])")
    for wrong in (0, -1, 2.5, None):
        with pytest.raises(SpecError, match="max_length"):
            generate(world, world.features([0]), "greedy", max_length=wrong)
    with pytest.raises(SpecError, match="option"):
        STRATEGIES["beam"](widht=3)
