"""What holds for every row of `RERANKERS`: a new one is its file and its line in the table, and runs everywhere."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import captioner
from captioner.decoding import STRATEGIES, generate
from captioner.decoding.backend import numpy_backend
from captioner.errors import SpecError
from captioner.registry import table_specs_only
from captioner.rerank import RERANKERS
from captioner.rerank.base import Reranker
from captioner.text import Tokenizer
from captioner.types import END, Hypotheses
from tests.support.probability_worlds import NumpyWorld, assert_same, captions, random_world
from tests.support.tiny_model import TINY_WORDS, build_tiny_model
from training import fit_cider_regression

pytestmark = pytest.mark.usefixtures("quick")
WORDS = ["ant", "bee", "cat", "dog"]
KINDS = 6
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
            features[np.newaxis], captions, tokenizer, rank=2, least=1
        )
    }


@pytest.fixture(scope="module")
def world():
    world = random_world(kinds=KINDS, tokenizer=Tokenizer(WORDS))
    features = world.features(range(KINDS)).mean(axis=1)
    world.reranker_parameters = fit_all(features, random_captions(WORDS, KINDS), world.tokenizer)
    return world


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


# The stage, in a world made by hand.


class ByTable(Reranker):
    """Utilities written out: the utility of a caption is that of its first word."""

    def __init__(self, utilities):
        self.utilities = np.float32(utilities)

    def score(self, hypotheses, features, parameters):
        # Above a million where the row is empty: such a row may never win.
        return self.utilities[np.asarray(hypotheses.ids)[:, :, 0]]


@pytest.mark.parametrize("in_numpy", [False, True])
def test_n_best_have_the_highest_scores(in_numpy):
    ids = np.int32(
        [[[5, 2, 0], [4, 6, 2], [7, 2, 0], [0, 0, 0]], [[6, 2, 0], [5, 4, 2], [0, 0, 0], [0, 0, 0]]]
    )
    lengths = (ids != 0).sum(-1).astype(np.int32)
    logp = np.where(lengths > 0, -np.float32([[1, 2, 3, 4], [1, 2, 3, 4]]), np.float32(-1e9))
    word_logp = np.float32(ids) / 10
    hypotheses = Hypotheses(ids, lengths, logp, logp, word_logp, np.tile(word_logp[..., np.newaxis], 2))
    table = [2e6, 0, 0, 0, 0.25, 0.5, -3.0, 0.75]
    if in_numpy:
        with numpy_backend():
            best = ByTable(table).rerank(hypotheses, 3, None, None)
    else:
        best = ByTable(table).rerank(Hypotheses(*map(tf.constant, hypotheses)), 3, None, None)
    assert np.asarray(best.ids)[:, :, 0].tolist() == [[7, 5, 4], [5, 6, 0]]
    assert np.asarray(best.score).tolist() == [[0.75, 0.5, 0.25], [0.5, -3.0, -1e9]]
    order = [[2, 0, 1], [1, 0, 2]]
    for leaf, expected in zip(best._replace(score=best.logp), hypotheses._replace(score=logp), strict=True):
        for image in range(2):
            np.testing.assert_array_equal(np.asarray(leaf)[image], expected[image, order[image]])


# Every reranker with every strategy that yields an n-best list.


def test_every_strategy_but_greedy_takes_one():
    with_option = [n for n in STRATEGIES if "rerank" in inspect.signature(STRATEGIES[n]).parameters]
    assert with_option == [n for n in STRATEGIES if n != "greedy"] == list(OPTIONS)
    for build in (STRATEGIES.build, lambda _: STRATEGIES["greedy"](rerank="mbr")):
        with pytest.raises(SpecError, match=r"unknown option .*'rerank'.*expected one of: min_length"):
            build("greedy(rerank='mbr')")


@pytest.mark.parametrize("strategy", OPTIONS)
@pytest.mark.parametrize("rerank", RERANKERS)
def test_it_reorders_what_search_found(world, strategy, rerank):
    every, reranked = decode(world, spec(strategy, 4)), decode(world, spec(strategy, 4, rerank))
    for image in range(KINDS):
        # Each caption keeps its words and log-probabilities; only order and score are the reranker's.
        known = {ids: logp for ids, logp in zip(captions(every, image), every.logp[image], strict=True)}
        beams = decode(world, spec(strategy, 6)) if strategy == "beam" else every
        known |= {ids: logp for ids, logp in zip(captions(beams, image), beams.logp[image], strict=True)}
        for ids, logp in zip(captions(reranked, image), reranked.logp[image], strict=True):
            assert known[ids] == pytest.approx(logp, abs=1e-5)
        np.testing.assert_allclose(
            reranked.word_logp[image].sum(-1),
            np.where(reranked.lengths[image], reranked.logp[image], 0),
            atol=1e-4,
        )
    assert (np.diff(reranked.score, axis=1) <= 0).all() and np.isfinite(reranked.score).all()
    assert not np.allclose(reranked.score, every.score, atol=1e-2)


@pytest.mark.parametrize("rerank", RERANKERS)
def test_n_best_are_the_first_of_all_beams(world, rerank):
    every = decode(world, f"beam(width=6, n_best=6, rerank={rerank!r})")
    some = decode(world, f"beam(width=6, n_best=2, rerank={rerank!r})")
    assert_same(some, Hypotheses(*(leaf[:, :2] for leaf in every)))
    # The list is that of the search, whatever would rank it.
    other = decode(world, f"beam(width=6, n_best=6, length_penalty=0.0, rerank={rerank!r})")
    np.testing.assert_allclose(other.score, every.score, atol=1e-5)


@pytest.mark.parametrize("strategy", [n for n in OPTIONS if n != "sample"])  # whose draws differ
@pytest.mark.parametrize("rerank", RERANKERS)
def test_numpy_agrees(world, strategy, rerank):
    hypotheses = decode_in_numpy(world, spec(strategy, 3, rerank))
    assert {type(leaf) for leaf in hypotheses} == {np.ndarray}
    wanted = decode(world, spec(strategy, 3, rerank))
    assert_same(hypotheses, wanted)
    assert [leaf.dtype for leaf in hypotheses] == [leaf.dtype for leaf in wanted]


@pytest.mark.parametrize("rerank", RERANKERS)
@pytest.mark.parametrize("max_length", [2, 3, 6])
def test_required_words_stay_required(world, rerank, max_length):
    """Of two words there are two orders: the beams of few required words must not fill up the list."""
    hypotheses = decode(
        world, f"constrained(must_include=['ant', 'dog'], width=8, n_best=8, {rerank=})", max_length
    )
    for image in range(KINDS):
        listed = captions(hypotheses, image)
        assert {4, 7} <= set(listed[0])
        assert all({4, 7} <= set(ids) for ids in listed if ids)
    if max_length == 2:
        assert [len(set(captions(hypotheses, image)) - {()}) for image in range(KINDS)] == [2] * KINDS


@pytest.mark.parametrize("rerank", RERANKERS)
def test_an_image_without_any_words_has_one_caption(world, rerank):
    hypotheses = decode(world, f"beam(width=3, n_best=3, banned={WORDS}, {rerank=})")
    assert [captions(hypotheses, image) for image in range(KINDS)] == [[(END,), (), ()]] * KINDS
    assert (hypotheses.score[:, 1:] == -1e9).all() and np.isfinite(hypotheses.score).all()


# Wherever a model runs.


@pytest.fixture(scope="module")
def model():
    model = build_tiny_model()
    features = np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32)
    model.reranker_parameters = fit_all(features, random_captions(TINY_WORDS, 30), model.tokenizer)
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return captioner.save(model, tmp_path_factory.mktemp("models") / "fitted")


@pytest.fixture(scope="module")
def keras(folder):
    with captioner.load(folder) as engine:
        yield engine


def agree(one, other):
    assert [c.text for c in (one, *one.alternatives)] == [c.text for c in (other, *other.alternatives)]
    scores = [[c.score for c in (caption, *caption.alternatives)] for caption in (one, other)]
    np.testing.assert_allclose(*scores, atol=1e-4)


def test_the_graph_of_a_saved_model_agrees(model, tmp_path):
    """All rerankers in one SavedModel; `test_it_travels_with_the_model` goes through the exporter and its engine."""
    features = np.random.default_rng(5).normal(size=(3, 16, 12)).astype(np.float32) * 4

    def run(features):
        specs = {name: f"beam(width=5, n_best=3, rerank={name!r})" for name in RERANKERS}
        return {n: generate(model, features, s, 7, model.tokenizer)._asdict() for n, s in specs.items()}

    module = tf.Module()
    module.run = tf.function(run, input_signature=[tf.TensorSpec([None, 16, 12])], autograph=False)
    module.variables_kept = [variable.value for variable in model.variables]
    tf.saved_model.save(module, tmp_path / "graph")
    loaded = tf.saved_model.load(tmp_path / "graph")
    outputs = loaded.run(features)
    for name, wanted in run(features).items():
        assert_same(Hypotheses(**outputs[name]), Hypotheses(**wanted))


@pytest.fixture(scope="module")
def lite(folder, tmp_path_factory):
    pytest.importorskip("ai_edge_litert")
    into = tmp_path_factory.mktemp("lite")
    path = captioner.export(folder, ["tflite"], "beam(width=5, n_best=3, rerank='mbr')", output_dir=into)[
        "tflite"
    ]
    with captioner.load(path) as model:
        yield model


@pytest.mark.parametrize("rerank", [n for n in RERANKERS if not RERANKERS[n].parameters])
def test_a_tflite_file_agrees_with_keras(model, lite, keras, rerank):
    # Images of the model's own size, so that no resizing comes between.
    images = [np.random.default_rng(i).integers(0, 256, (*model.image_size, 3), np.uint8) for i in range(3)]
    strategy = f"beam(width=5, n_best=3, {rerank=})"
    for image in images:
        agree(lite.caption(image, strategy), keras.caption(image, strategy))
        if rerank == "mbr":
            agree(lite.caption(image), keras.caption(image, strategy))


def test_signature_caption_searches_and_reranks(model, lite, keras):
    from ai_edge_litert.interpreter import Interpreter

    image = np.random.default_rng(5).integers(0, 256, (*model.image_size, 3), np.uint8)
    run = Interpreter(model_path=str(lite.engine.path)).get_signature_runner("caption")
    actual, wanted = (
        run(image=image[np.newaxis]),
        keras.caption(image, "beam(width=5, n_best=3, rerank='mbr')"),
    )
    assert model.tokenizer.decode(actual["ids"][0, 0]) == wanted.text
    assert actual["score"][0, 0] == pytest.approx(wanted.score, abs=1e-4)


@pytest.mark.parametrize("rerank", [n for n in RERANKERS if RERANKERS[n].parameters])
def test_missing_parameters_are_one_line(lite, tiny_bundle, folder, tmp_path, rerank):
    strategy = f"beam(width=5, {rerank=})"
    with captioner.load(tiny_bundle) as unfitted:
        for model in (unfitted, lite):
            with pytest.raises(
                SpecError, match=f"run training/fit_{rerank}.py .* such as rerank='mbr'"
            ) as error:
                model.caption_many([], strategy)
            assert "\n" not in str(error.value)
    with pytest.raises(SpecError, match="cannot hold the fitted parameters"):
        captioner.export(folder, ["tflite"], strategy, output_dir=tmp_path)
    assert not list(tmp_path.iterdir())


# A new one, and wrong ones.


class Longest(Reranker):
    """The longest caption of the list."""

    def score(self, hypotheses, features, parameters):
        return (
            hypotheses.logp * 0 + hypotheses.lengths
            if isinstance(hypotheses.ids, np.ndarray)
            else tf.cast(hypotheses.lengths, tf.float32)
        )


def test_a_new_reranker_needs_one_row(monkeypatch, world, keras, lite, images):
    monkeypatch.setitem(RERANKERS._rows, "longest", Longest)
    hypotheses = decode(world, "beam(width=6, n_best=6, rerank='longest')")
    assert (np.diff(hypotheses.lengths, axis=1) <= 0).all() and (np.ptp(hypotheses.lengths, axis=1) > 0).any()
    for model in (keras, lite):
        caption = model.caption(images[0], "beam(width=5, n_best=5, rerank='longest')")
        assert [caption.score, *(c.score for c in caption.alternatives)] == sorted(
            (c.score for c in (caption, *caption.alternatives)), reverse=True
        )
    assert RERANKERS.describe()["longest"] == "The longest caption of the list."


@pytest.mark.parametrize(
    ("rerank", "message"),
    [
        ("'mbrr'", "unknown reranker 'mbrr' .did you mean 'mbr'.*cider_regression"),
        ("'mbr(temprature=2)'", "did you mean 'temperature'"),
        ("3", "expected a spec such as .* got 3"),
        ("'mbr(temperature=0)'", "temperature expects a number"),
        (
            "'fractions:Fraction'",
            "expected a Reranker of captioner.rerank, got Fraction: derive it from Reranker",
        ),
    ],
)
def test_a_wrong_one_is_one_line(rerank, message):
    with pytest.raises(SpecError, match=message) as error:
        STRATEGIES.build(f"beam(rerank={rerank})")
    assert "\n" not in str(error.value)


def test_code_is_not_for_strangers(keras):
    strategy = "beam(rerank='fractions:Fraction')"
    with table_specs_only():
        for build in (STRATEGIES.build, lambda spec: keras.caption_many([], spec)):
            with pytest.raises(SpecError, match="reranker 'fractions:Fraction' names Python code"):
                build(strategy)


@pytest.mark.parametrize(
    "module", ["captioner.rerank.base", "captioner.rerank.mbr", "captioner.rerank", "captioner.decoding"]
)
def test_every_module_can_be_imported_first(module):
    code = f"import {module}, sys; print('tensorflow' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
