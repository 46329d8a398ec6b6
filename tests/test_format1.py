"""Files of format 1 hold old names of strategies, encoders, decoders and layers: they load, with the same captions."""

import hashlib
import json
import shutil

import h5py
import numpy as np
import pytest

import captioner
from captioner import bundle, format1
from captioner.decoding import STRATEGIES
from captioner.engines import versions
from captioner.engines.tflite_file import pack, read
from captioner.errors import EngineError, SpecError
from captioner.text import Tokenizer
from tests.support.models.tiny_model import build_tiny_model

OLD, NEW = (
    "consensus(width=4, sharpness=0.5)",
    "beam(width=4, length_penalty=0.0, rerank='mbr(temperature=2.0)')",
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("beam(width=3)", "beam(width=3)"),
        ("consensus", "beam(width=10, length_penalty=0.0, rerank='mbr')"),
        (OLD, NEW),
        (
            "consensus(sharpness=0)",
            "beam(width=10, length_penalty=0.0, rerank='mbr(temperature=1000000000.0)')",
        ),
        (
            "consensus(n_best=2, evidence='picture', min_length=3)",
            "beam(width=10, length_penalty=0.0, n_best=2, min_length=3, rerank='cider_regression')",
        ),
        (
            "consensus(width=20, evidence='picture', fluency=0.1, sharpness=1)",
            "beam(width=20, length_penalty=0.0, rerank='cider_regression(logp_weight=0.1)')",
        ),
    ],
)
def test_the_old_spec_becomes_the_new_one(old, new):
    assert format1.strategy(old) == new
    built = STRATEGIES.build(new)
    assert (built.reranker is None) == (old == new)


def test_an_option_out_of_range_is_one_line():
    with pytest.raises(SpecError, match="sharpness expects a number from 0 to 1000, got -1"):
        format1.strategy("consensus(sharpness=-1)")


def test_the_strategy_itself_is_gone():
    with pytest.raises(SpecError, match="unknown strategy 'consensus'"):
        STRATEGIES.build("consensus")


def test_a_folder_that_was_exported_with_it_loads(tiny_bundle, tmp_path):
    folder = shutil.copytree(tiny_bundle, tmp_path / "model")
    entry = {"strategy": OLD, "max_length": 7, "n_best": 1, "captioner": "0.1.0"}
    bundle.amend(folder, lambda manifest: {**manifest, "exports": {"1": entry}})
    captioner.load(folder).close()


def test_a_tflite_file_gets_the_new_name(tmp_path):
    sizes = {"max_length": 7, "image_size": [32, 32], "grid": [4, 4]}
    metadata = {"format": 1, "strategy": OLD, **sizes, "signatures": [], "memory": [], "state": []}
    path = tmp_path / "model.tflite"
    path.write_bytes(pack(b"1234TFL3", metadata, Tokenizer(["a"])))
    assert read(path).metadata["strategy"] == NEW
    path.write_bytes(
        pack(b"1234TFL3", {**metadata, "strategy": "consensus(sharpness='x')"}, Tokenizer(["a"]))
    )
    with pytest.raises(EngineError, match="damaged .*strategy: sharpness expects a number") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_an_exported_version_gets_the_new_name(tmp_path):
    metadata = {"format": 1, "strategy": OLD, "max_length": 7, "image_size": [32, 32], "grid": [4, 4]}
    (tmp_path / versions.METADATA_FILE).parent.mkdir()
    (tmp_path / versions.METADATA_FILE).write_text(json.dumps(metadata))
    assert versions.read_metadata(tmp_path) == {**metadata, "strategy": NEW}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lstm(units=4, depth=8)", "lstm(units=4, value_dim=8)"),
        (
            "ensemble(members=['lstm(depth=4)', 'gru'], depth=8)",
            "ensemble(members=['lstm(value_dim=4)', 'gru'], value_dim=8)",
        ),
        ("my_parts:Decoder(depth=8)", "my_parts:Decoder(depth=8)"),
        ("gru( units = 4 )", "gru( units = 4 )"),
    ],
)
def test_old_decoder_specs(old, new):
    assert format1.decoder(old) == new
    assert format1.decoder(new) == new


def test_old_encoder_specs():
    old = """side_by_side(encoders=['vgg16', "side_by_side(encoders=['mobilenet', 'small_cnn'])"], join='fine')"""
    new = """concat(encoders=['vgg16', "concat(encoders=['mobilenet', 'small_cnn'])"], join='fine')"""
    assert format1.encoder(old) == new
    assert format1.encoder(new) == new
    assert format1.encoder("my_parts:side_by_side(depth=3)") == "my_parts:side_by_side(depth=3)"


# Current names of groups in the weights file, and those of format 1.
OLD_LAYERS = {
    "value_projection": "project",
    "image_projection": "picture",
    "initial_state": "seeds",
    "projections": "makers",
    "attention_cell": "look",
    "attention_initial_state": "look_seeds",
    "language_cell": "speak",
    "language_initial_state": "speak_seeds",
    "input_projection": "reader",
    "recurrent_kernel": "joint",
    "context_projection": "joint",
    "recurrent_projection": "recur",
    "backward_input_projection": "back_reader",
    "backward_context_projection": "back_seen",
    "backward_recurrent_projection": "back_recur",
}


def make_old(folder):
    """Turns a saved bundle into one of format 1: names of layers, the decoder's spec and the checksum."""
    path = folder / bundle.WEIGHTS
    with h5py.File(path, "r+") as file:
        names = []
        file["decoder"].visit(names.append)
        for name in sorted(names, key=lambda name: -name.count("/")):
            parent, _, last = f"decoder/{name}".rpartition("/")
            if last in OLD_LAYERS:
                file.move(f"{parent}/{last}", f"{parent}/{OLD_LAYERS[last]}")
        names = []
        file.visit(names.append)
    manifest = json.loads((folder / bundle.MANIFEST).read_text())
    assert "value_dim=" in manifest["model"]["decoder"]
    manifest["model"]["decoder"] = manifest["model"]["decoder"].replace("value_dim=", "depth=")
    manifest["format"] = 1
    manifest["sha256"][bundle.WEIGHTS] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / bundle.MANIFEST).write_text(json.dumps(manifest))
    return {part for name in names for part in name.split("/")}


SIZES = "units=6, embedding=5, value_dim=8, attention='additive(units=4)'"
DECODERS = [
    f"gru({SIZES})",
    f"adaptive({SIZES})",
    f"top_down({SIZES}, cell='bidirectional')",
    f"ensemble(members=['show_and_tell', 'simple_rnn'], {SIZES})",
]


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda spec: spec.split("(")[0])
def test_old_weights_load(decoder, tmp_path):
    model = build_tiny_model(decoder)
    groups = make_old(captioner.save(model, tmp_path / "model"))
    assert groups.isdisjoint(OLD_LAYERS)
    before = (tmp_path / "model" / bundle.WEIGHTS).read_bytes()
    with captioner.load(tmp_path / "model") as loaded:
        again = loaded.engine.model
    model.decoder.from_format_1()  # doubles biases that were added twice
    for weight, expected in zip(again.decoder.weights, model.decoder.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert (tmp_path / "model" / bundle.WEIGHTS).read_bytes() == before
    config = captioner.save(again, tmp_path / "again") / bundle.MANIFEST
    assert json.loads(config.read_text())["model"]["decoder"] == model.get_config()["decoder"]


def test_every_old_layer_is_tested(tmp_path):
    groups = [
        make_old(captioner.save(build_tiny_model(d), tmp_path / str(i))) for i, d in enumerate(DECODERS)
    ]
    assert set(OLD_LAYERS.values()) <= set.union(*groups)
