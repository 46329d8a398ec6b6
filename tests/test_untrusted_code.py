"""Code that model files name or contain: it runs only if the user trusts its package."""

import copy
import json
import shutil
import sys

import keras
import pytest

import captioner
from captioner.errors import CaptionerError, EngineError, ModelError
from captioner.models import CaptionModel
from captioner.text import Tokenizer
from tests.support.hostile_files import (
    MARKER,
    changed,
    folder_with,
    metadata_of,
    package,
    rewritten,
)
from tests.support.images import odd_images

pytestmark = pytest.mark.usefixtures("quick", "no_commands")


@pytest.mark.parametrize("kind", ["write", "python", "when loaded"])
def test_graphs_with_file_operations_are_refused(small_exports, tmp_path, kind):
    import tensorflow as tf

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def explain(self, image_bytes):
            if kind == "write":
                tf.io.write_file(str(tmp_path / MARKER), "x")
            if kind == "python":
                tf.numpy_function(lambda x: x, [image_bytes], tf.string)
            return {"ok": tf.fill(tf.shape(image_bytes), True)}

    module = Module()
    if kind == "when loaded":
        (tmp_path / "words.txt").write_text("a\n")
        names = tf.lookup.TextFileInitializer(str(tmp_path / "words.txt"), "string", 0, "int64", -1)
        module.table = tf.lookup.StaticHashTable(names, -1)
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"explain": module.explain})
    shutil.copytree(small_exports["saved_model"] / "assets.extra", tmp_path / "1" / "assets.extra")
    with pytest.raises(EngineError, match="1 has the operation .*nothing was loaded") as error:
        captioner.load(tmp_path / "1")
    assert "\n" not in str(error.value)


def test_a_bundle_with_code_of_the_user(small_bundle, tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, "my_parts")
    content = json.loads((small_bundle / "captioner.json").read_text())
    content["model"]["decoder"] = "gru(units=4, embedding=4, value_dim=4, attention='my_parts:Look(units=4)')"
    folder = folder_with(small_bundle, tmp_path, "captioner.json", content)
    with pytest.raises(
        ModelError, match="names Python code.*nothing was imported.*trust=..my_parts"
    ) as error:
        captioner.load(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value) and "my_parts" not in sys.modules
    with pytest.raises(ModelError, match="nothing was imported"):
        captioner.load(folder, trust=("json",))
    with pytest.raises(ModelError, match="No module named 'my_part'"):
        captioner.load(folder, trust=("my_part",))
    with captioner.load(folder, trust=("my_parts",)) as model:
        assert model.caption(odd_images.encoded(odd_images.drawn(8, 8), "PNG")).ok
    with pytest.raises(ModelError, match="trust="):
        captioner.export(folder, ["tflite"], output_dir=tmp_path / "out")
    assert captioner.export(folder, ["tflite"], output_dir=tmp_path / "out", trust=("my_parts",))[
        "tflite"
    ].exists()
    with pytest.raises(CaptionerError, match="trust expects a list of package names"):
        captioner.load(folder, trust="my_parts")


def test_a_tflite_file_with_a_strategy_of_the_user(small_exports, tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, "my_strategies")
    metadata = {**metadata_of(small_exports["tflite"]), "strategy": "my_strategies:Mine(min_length=2)"}
    file = rewritten(small_exports["tflite"], tmp_path / "x.tflite", metadata)
    with pytest.raises(EngineError, match="x.tflite.*names Python code.*trust=") as error:
        captioner.load(file)
    assert "my_strategies" not in sys.modules and "\n" not in str(error.value)
    with captioner.load(file, trust=("my_strategies",)) as model:
        assert len(model.caption(odd_images.encoded(odd_images.drawn(8, 8), "PNG")).words) >= 2


def test_trust_is_no_option_of_saved_models(small_exports):
    with pytest.raises(CaptionerError, match="option of engine 'saved_model': 'trust'"):
        captioner.load(small_exports["saved_model"], trust=("my_pkg",))


def network_of(*layers):
    pixels = keras.Input((8, 8, 3))
    grid = keras.layers.Conv2D(2, 4, strides=4)(pixels)
    for layer in layers:
        grid = layer(grid)
    return keras.Model(pixels, grid)


def with_encoder(small_bundle, tmp_path, text):
    content = json.loads((small_bundle / "captioner.json").read_text())
    content["model"]["encoder"] = {"keras": text, "scaling": "none"}
    return folder_with(small_bundle, tmp_path, "captioner.json", content)


def hostile_layers():
    """Configs that replace that of a layer."""
    config = {"name": "x", "trainable": True, "dtype": "float32"}
    return {
        "lambda": json.loads(network_of(keras.layers.Lambda(lambda x: x * 2)).to_json())["config"]["layers"][-1],
        "unregistered": {"class_name": "Mine", "module": None, "registered_name": "Mine", "config": config},
        "module": {"class_name": "system", "module": "os", "registered_name": None, "config": config},
        "function": {
            "class_name": "function", "module": "os", "registered_name": "system", "config": f"touch {MARKER}",
        },
        "function behind a registered name": {
            "class_name": "function", "module": "evil_parts", "registered_name": "captioner>Scaling", "config": "run",
        },
        "get_file": {
            "class_name": "function", "module": "keras.utils", "registered_name": "get_file", "config": "get_file",
        },
        "saved model": {"class_name": "TFSMLayer", "module": "keras.layers", "registered_name": None,
                        "config": {**config, "filepath": "/tmp/x", "call_endpoint": "serve"}},
        "torch": {"class_name": "TorchModuleWrapper", "module": "keras.layers", "registered_name": None,
                  "config": {**config, "module": "gASV"}},
        "raw lambda": {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
        "old lambda": {"class_name": "Lambda", "config": {**config, "function": ["4wEAAAA=", None, None]}},
        "other package": {"class_name": "X", "module": "keras_hub.layers", "registered_name": None, "config": config},
        "no class": {"class_name": 7, "module": "keras.layers", "config": config},
        "class of no text": {"class_name": {}, "module": "keras.layers", "config": config},
        "no config": {"class_name": "Dense", "module": "keras.layers", "config": 7},
    }  # fmt: skip


@pytest.mark.parametrize("name", hostile_layers())
def test_code_in_a_network_of_keras_is_refused(small_bundle, tmp_path, name):
    network = json.loads(network_of(keras.layers.ReLU()).to_json())
    layer = {
        **hostile_layers()[name],
        "inbound_nodes": network["config"]["layers"][-1]["inbound_nodes"],
        "name": "x",
    }
    inside = changed(network, ("config", "layers", len(network["config"]["layers"]) - 1), layer)
    deeper = copy.deepcopy(network)
    deeper["config"]["layers"][1]["config"]["kernel_initializer"] = layer
    for text in (json.dumps(inside), json.dumps(deeper), json.dumps(layer)):
        with pytest.raises(ModelError, match="cannot build the network of") as error:
            captioner.load(with_encoder(small_bundle, tmp_path, text))
        assert "\n" not in str(error.value)
        if "lambda" in name:
            assert "holds Python code" in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"class_name": ' * 100_000, "7", "null", '{"class_name": "X"}']
)
def test_invalid_networks_of_keras(small_bundle, tmp_path, text):
    with pytest.raises(CaptionerError) as error:
        captioner.load(with_encoder(small_bundle, tmp_path, text))
    assert "\n" not in str(error.value)


def test_saving_refuses_unregistered_layers(tmp_path, monkeypatch):
    class Unregistered(keras.layers.Layer):
        def call(self, x):
            return x * 2

    class Forgetful(keras.layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = units

        def call(self, x):
            return x * self.units

        def get_config(self):
            return {"name": self.name}

    keras.saving.register_keras_serializable("tests")(Forgetful)
    decoder, tokenizer = "gru(units=4, embedding=4, value_dim=4)", Tokenizer(["a"])
    for layer, message in (
        (Unregistered(), "'Unregistered', which Keras does not know.*register_keras_serializable"),
        (keras.layers.Lambda(lambda x: x * 2), "Lambda layer: it holds Python code"),
        (
            Forgetful(3),
            "Keras cannot build the encoder again: TypeError: .*Forgetful.*missing 1 required.*'units'",
        ),
    ):
        model = CaptionModel(network_of(layer), decoder, tokenizer, max_length=4)
        with pytest.raises(ModelError, match=message) as error:
            captioner.save(model, tmp_path / "model")
        assert "\n" not in str(error.value) and not (tmp_path / "model").exists()
    package(tmp_path, monkeypatch, "my_layers")
    import my_layers

    model = CaptionModel(network_of(my_layers.Double()), decoder, tokenizer, max_length=4)
    folder = captioner.save(model, tmp_path / "model")
    with captioner.load(folder) as loaded:
        assert loaded.caption(odd_images.encoded(odd_images.drawn(8, 8), "PNG")).ok
    # As in another process, where the layer is not registered.
    del keras.saving.get_custom_objects()["my_layers>Double"]
    monkeypatch.delitem(sys.modules, "my_layers")
    with pytest.raises(ModelError, match="model: the encoder has the layer 'my_layers>Double'.*trust="):
        captioner.load(folder)
    captioner.load(folder, trust=("my_layers",)).close()
