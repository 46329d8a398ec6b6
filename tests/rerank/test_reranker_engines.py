"""Every row of `RERANKERS` in a SavedModel graph, a `.tflite` file and Keras."""

import numpy as np
import pytest
import tensorflow as tf

import captioner
from captioner.decoding import STRATEGIES, generate
from captioner.errors import SpecError
from captioner.registry import table_specs_only
from captioner.rerank import RERANKERS
from captioner.rerank.base import Reranker
from captioner.types import Hypotheses
from tests.support.models.probability_worlds import assert_same
from tests.support.models.rerankers import decode, fit_all, random_captions
from tests.support.models.tiny_model import TINY_WORDS, build_tiny_model

pytestmark = pytest.mark.usefixtures("quick")


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


def test_code_is_not_for_strangers(keras):
    strategy = "beam(rerank='fractions:Fraction')"
    with table_specs_only():
        for build in (STRATEGIES.build, lambda spec: keras.caption_many([], spec)):
            with pytest.raises(SpecError, match="reranker 'fractions:Fraction' names Python code"):
                build(strategy)
