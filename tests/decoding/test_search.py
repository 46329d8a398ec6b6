"""The search loop with every strategy, on probability tables small enough to enumerate all captions."""

import inspect
import itertools

import numpy as np
import pytest
import tensorflow as tf

from captioner.decoding import RULES, STRATEGIES, generate, teacher_forced_logp
from captioner.errors import SpecError
from captioner.text import Tokenizer
from captioner.types import END, PAD, START, UNK, Hypotheses
from tests.support.models.probability_worlds import LOCATIONS, World, assert_same, decode, random_world
from tests.support.models.strategies import KINDS, WORDS, build_strategy


# Three required words do not fit into a caption of one.
@pytest.mark.parametrize(
    ("name", "max_length"), [(n, t) for n in STRATEGIES for t in (1, 6) if (n, t) != ("constrained", 1)]
)
def test_logp_is_that_of_teacher_forcing(world, name, max_length):
    hypotheses = decode(world, build_strategy(name), max_length)
    batch, k = hypotheses.lengths.shape
    assert hypotheses.ids.shape == hypotheses.word_logp.shape == (batch, k, max_length)
    assert hypotheses.attention.shape == (batch, k, max_length, LOCATIONS)
    forced = teacher_forced_logp(world, world.features(range(KINDS)), hypotheses.ids)
    np.testing.assert_allclose(hypotheses.word_logp, forced, atol=1e-4)
    np.testing.assert_allclose(hypotheses.logp, hypotheses.word_logp.sum(-1), rtol=1e-5, atol=1e-5)
    assert np.all(np.diff(hypotheses.score, axis=1) <= 0)
    for image, j in np.ndindex(batch, k):
        n = hypotheses.lengths[image, j]
        ids, rest = hypotheses.ids[image, j, :n], hypotheses.ids[image, j, n:]
        assert n >= 1
        assert not set(ids.tolist()) & {PAD, START, UNK}
        assert END not in ids[:-1] and (ids[-1] == END or n == max_length)
        assert np.all(rest == PAD)
        np.testing.assert_allclose(hypotheses.word_logp[image, j, :n], world.logp(image, ids), atol=1e-4)
        np.testing.assert_allclose(hypotheses.attention[image, j, :n], world.attention(ids), atol=1e-4)
        assert not hypotheses.word_logp[image, j, n:].any() and not hypotheses.attention[image, j, n:].any()


@pytest.mark.parametrize("name", [n for n in STRATEGIES if n != "sample"])
def test_a_batch_equals_single_images(world, name):
    kinds = [3, 0, 5]
    together = decode(world, build_strategy(name, no_repeat_ngram=2), kinds=kinds)
    for i, kind in enumerate(kinds):
        alone = decode(world, build_strategy(name, no_repeat_ngram=2), kinds=[kind])
        assert_same(Hypotheses(*(x[i : i + 1] for x in together)), alone)


def test_saved_model_equals_eager(world, tmp_path):
    """By the road of TensorFlow Serving: a session, and no Python."""
    strategies = {name: build_strategy(name, min_length=2, no_repeat_ngram=2) for name in STRATEGIES}
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
    for name, kinds, hypotheses in served:
        assert_same(hypotheses, decode(world, strategies[name], 4, kinds))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in STRATEGIES if n != "sample"])
def test_search_converts_to_tflite_builtins(world, name):
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    strategy = build_strategy(name, min_length=2, no_repeat_ngram=2)

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


def test_errors_in_graphs_are_one_line(world):
    @tf.function(autograph=False)
    def run(features):
        return generate(world, features, "beam(width=9)").ids

    with pytest.raises(SpecError, match="^width expects at most the 8 words .*, got 9: lower width$"):
        run(world.features([0]))


@pytest.mark.parametrize("name", STRATEGIES)
def test_extreme_logits_stay_finite(name):
    wild = random_world(kinds=3, spread=3000.0, tokenizer=Tokenizer(WORDS))
    for value in decode(wild, build_strategy(name))[2:]:
        assert np.isfinite(value).all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_search_stops_when_all_beams_ended(name, monkeypatch):
    table = np.zeros((1, 8, 8, 8))
    table[:, :, 4:, END] = 20.0
    world = World(table, Tokenizer(WORDS))
    steps, step = [], world.step
    monkeypatch.setattr(world, "step", lambda *args: steps.append(1) or step(*args))
    decode(world, build_strategy(name), 50)
    assert 1 <= len(steps) <= 8


def test_every_strategy_has_the_options_of_rules():
    for name in STRATEGIES:
        assert list(RULES) == [p for p in inspect.signature(STRATEGIES[name]).parameters if p in set(RULES)]
