"""`load` and `save`."""

import shutil

import numpy as np
import pytest

import captioner
from captioner.engines import ENGINES, engine_for
from captioner.errors import BundleError, EngineError, ModelError, SpecError
from captioner.types import Caption
from tests.support.models.tiny_model import build_tiny_model


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("saved_models/default", "keras"),
        ("a.tflite", "tflite"),
        ("grpc://host:8500/dogs", "grpc"),
        ("http://host:8501/dogs", "http"),
        ("https://host/dogs", "http"),
        ("grpcs://host/dogs", "grpc"),
    ],
)
def test_sources_name_their_engine(source, name):
    assert engine_for(source) == name


def test_unknown_sources():
    with pytest.raises(
        EngineError, match="this version of captioner has no engine for ftp://host/dogs"
    ) as caught:
        captioner.load("ftp://host/dogs")
    assert all(ENGINES[name].sources in str(caught.value) for name in ENGINES)


def test_unknown_options_of_an_engine(tiny_bundle):
    with pytest.raises(SpecError, match="unknown option of engine 'keras': 'timeout'"):
        captioner.load(tiny_bundle, timeout=3)


def test_a_missing_model_folder(tmp_path):
    with pytest.raises(BundleError, match="no such model folder: .*nowhere"):
        captioner.load(tmp_path / "nowhere")


def test_weights_of_another_architecture(tiny_bundle, tmp_path):
    import hashlib
    import json

    folder = shutil.copytree(tiny_bundle, tmp_path / "m")
    build_tiny_model("gru(units=12, embedding=10, value_dim=8)").save_weights(folder / "model.weights.h5")
    manifest = json.loads((folder / "captioner.json").read_text())
    digest = hashlib.sha256((folder / "model.weights.h5").read_bytes()).hexdigest()
    manifest["sha256"]["model.weights.h5"] = digest
    (folder / "captioner.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="does not fit the network") as error:
        captioner.load(folder)
    assert "\n" not in str(error.value)


def test_save_refuses_other_objects(tmp_path):
    with pytest.raises(ModelError, match="expected a CaptionModel to save, got int"):
        captioner.save(7, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_optimizer_state_is_not_saved(tmp_path):
    import h5py
    import keras

    model = build_tiny_model()
    optimizer = keras.optimizers.Adam(use_ema=True)
    model.compile(optimizer)
    optimizer.build(model.trainable_variables)
    captioner.save(model, tmp_path / "m")
    with h5py.File(tmp_path / "m" / "model.weights.h5") as file:
        assert "optimizer" not in file and "decoder" in file
    assert model.optimizer is optimizer
    captioner.load(tmp_path / "m").close()


def test_saving_twice_needs_overwrite(tiny_model, tmp_path):
    captioner.save(tiny_model, tmp_path / "m")
    with pytest.raises(BundleError, match="already holds a model"):
        captioner.save(tiny_model, tmp_path / "m")
    captioner.save(tiny_model, tmp_path / "m", overwrite=True)


def test_evaluate_scores_captions():
    scores = captioner.evaluate({"1": Caption("a dog runs")}, {"1": ["A dog runs ."]}, metrics=["rouge_l"])
    assert scores == {"ROUGE-L": pytest.approx(100)}


def test_half_precision_can_be_saved_again(tmp_path, tiny_model):
    full = captioner.save(tiny_model, tmp_path / "full")
    half = captioner.save(tiny_model, tmp_path / "half", half_precision=True)
    sizes = [(folder / "model.weights.h5").stat().st_size for folder in (full, half)]
    assert sizes[1] < sizes[0]
    one, two = (captioner.load(folder).engine.model for folder in (full, half))
    for exact, rounded in zip(one.get_weights(), two.get_weights(), strict=True):
        assert rounded.dtype == np.float32
        wanted = exact.astype(np.float16) if exact.ndim > 1 else exact
        np.testing.assert_array_equal(rounded, wanted.astype(np.float32))
    # Saving again changes nothing.
    again = captioner.load(captioner.save(two, tmp_path / "again", half_precision=True)).engine.model
    for before, after in zip(two.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
