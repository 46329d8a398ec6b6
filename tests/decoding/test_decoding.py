"""Decoding, held against worlds small enough to count every caption."""

import inspect
import itertools

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding import RULES, STRATEGIES, generate, teacher_forced_logp
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import possible
from captioner.errors import SpecError
from captioner.text import Tokenizer
from captioner.types import END, PAD, START, UNK, Hypotheses
from tests.support.probability_worlds import (
    LOCATIONS,
    World,
    captions,
    decode,
    garden_path,
    random_world,
    same,
    words_of,
)

WORDS = ["ant", "bee", "cat", "dog"]
IDS = dict(zip(WORDS, range(4, 8), strict=True))
KINDS = 6
# Strategies as the contract tests run them, where the defaults would show less.
OPTIONS = {
    "beam": {"width": 4, "n_best": 3},
    "sample": {"n": 3, "seed": 7},
    "diverse": {"width": 4, "groups": 2},
    "constrained": {"must_include": ["bee", "cat dog"], "width": 2, "n_best": 2},
    "consensus": {"width": 4, "n_best": 3},
}
# Every rule: its option, and what then holds of a caption's ids without `<end>`; a new row of `RULES` needs one here.
HOLDS = {
    "min_length": (3, lambda words: len(words) >= 3),
    "no_repeat_ngram": (2, lambda words: len(set(pairs := list(itertools.pairwise(words)))) == len(pairs)),
    "banned": (["ant"], lambda words: IDS["ant"] not in words),
    "allow_unknown": (False, lambda words: UNK not in words),
}


@pytest.fixture(scope="module")
def world():
    return random_world(kinds=KINDS, tokenizer=Tokenizer(WORDS))


def build(name: str, **options):
    return STRATEGIES[name](**OPTIONS.get(name, {}), **options)


# What holds for every strategy.


# Three required words do not fit into a caption of one.
@pytest.mark.parametrize(
    ("name", "max_length"), [(n, t) for n in STRATEGIES for t in (1, 6) if (n, t) != ("constrained", 1)]
)
def test_a_caption_is_what_the_model_says_it_is(world, name, max_length):
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


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in STRATEGIES if n != "sample"])
def test_search_converts_to_tflite_builtins(world, name):
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    strategy = build(name, min_length=2, no_repeat_ngram=2)

    @tf.function(input_signature=[tf.TensorSpec([1, LOCATIONS, 1])])
    def run(features):
        return tuple(generate(world, features, strategy, 5, world.tokenizer))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([run.get_concrete_function()], tf.Module())
    lite = interpreters.Interpreter(model_content=converter.convert())
    lite.allocate_tensors()
    lite.set_tensor(lite.get_input_details()[0]["index"], world.features([4]))
    lite.invoke()
    outputs = {d["name"]: lite.get_tensor(d["index"]) for d in lite.get_output_details()}
    eager = decode(world, strategy, 5, [4])
    ids = [x for x in outputs.values() if x.shape == eager.ids.shape and x.dtype == np.int32]
    assert len(ids) == 1 and (ids[0] == eager.ids).all()
    for wanted in (eager.logp, eager.score, eager.word_logp, eager.attention):
        assert any(x.shape == wanted.shape and np.allclose(x, wanted, atol=1e-4) for x in outputs.values())


def test_mistakes_are_one_line_in_graphs_too(world):
    @tf.function(autograph=False)
    def run(features):
        return generate(world, features, "beam(width=9)").ids

    with pytest.raises(SpecError, match="^width expects at most the 8 words .*, got 9: lower width$"):
        run(world.features([0]))


def test_options_of_rules_are_options_of_every_strategy():
    for name in STRATEGIES:
        assert list(RULES) == [p for p in inspect.signature(STRATEGIES[name]).parameters if p in set(RULES)]


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


def branches(*choices) -> World:
    """A world where the id after n words is drawn from `choices[n]`, from the last of them for ever after."""
    table = np.full((1, 8, 8, 8), -30.0)
    for before, last in itertools.product(range(8), range(8)):
        said = (last != START) + (last != START and before != START)
        for word, chance in choices[min(said, len(choices) - 1)].items():
            table[0, before, last, word] = np.log(chance)
    return World(table)


def test_a_caption_that_ended_early_keeps_its_place():
    # Two likelier beginnings overtake it at the second step, and come to nothing after.
    world = branches({END: 0.3, 4: 0.7}, {4: 0.5, 5: 0.5}, {END: 0.2, 4: 0.2, 5: 0.2, 6: 0.2, 7: 0.2})
    assert captions(decode(world, "beam(width=2, length_penalty=0.0)"), 0) == [(END,)]


def test_a_living_beam_may_still_win_by_its_length():
    # It scores less than the caption that has ended until its own length counts for it.
    world = branches({END: 0.6, 4: 0.4}, {4: 1.0})
    assert captions(decode(world, "beam(width=2, length_penalty=1.0)", 10), 0) == [(4,) * 10]


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
