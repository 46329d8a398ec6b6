"""Model files from strangers: whatever is in them, nothing of theirs runs, and there is one line of error or a caption.

Every field of every file format is replaced by specs that would run a command, and by values that no writer writes.
"""

import copy
import hashlib
import io
import json
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from tests.support import odd_images

pytest.importorskip("ai_edge_litert")

import captioner
from captioner import bundle, metadata
from captioner.engines import versions
from captioner.engines.keras import KerasEngine
from captioner.engines.tflite import TFLiteEngine
from captioner.errors import BundleError, CaptionerError, EngineError, ModelError
from captioner.models import CaptionModel
from captioner.text import Tokenizer

pytestmark = pytest.mark.usefixtures("quick")
MARKER = "marker-of-a-command"
COMMAND = f"os:system(command='touch {MARKER}')"
INNER = COMMAND.replace("'", "\\'")
SPECS = [
    COMMAND,
    f"os:popen(cmd='touch {MARKER}')",
    f"subprocess:run(args=['touch', '{MARKER}'])",
    "evil_parts:run(units=4)",
    "lstm(attention='evil_parts:run')",
    "ensemble(members=['gru(units=4)', 'evil_parts:run'])",
    "side_by_side(encoders=['small_cnn', 'evil_parts:run'])",
    f"lstm(attention='{INNER}')",
    f"top_down(cell='{INNER}')",
    f"ensemble(members=['lstm', '{INNER}'])",
    f"side_by_side(encoders=['small_cnn', '{INNER}'])",
]
VALUES = [
    None,
    True,
    -1,
    0,
    10**9,
    10**400,
    1.5,
    1e308,
    "",
    "x",
    "NaN",
    [],
    {},
    [1],
    [[1]],
    {"a": {}},
    "(" * 10**5,
]


class Danger:
    """Unpickled, it runs a command."""

    def __reduce__(self):
        import os

        return os.system, (f"touch {MARKER}",)


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path, monkeypatch):
    """With a module at hand that does harm as soon as it is imported, and takes whatever it is called with."""
    harm = f"open({str(tmp_path / MARKER)!r}, 'w').close()\n"
    (tmp_path / "evil_parts.py").write_text(f"{harm}def run(*args, **options):\n    {harm}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("evil_parts", None)
    assert not list(Path(tmp_path).rglob(MARKER)), "a file of a stranger ran a command"


CALIBRATION = {"bias": 1.0, "weights": {"mean_logp": 2.0, "least_logp": 0.0, "words": 0.0}}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of a model from specs, as small as can be, with all its optional files but those of rerankers."""
    keras.utils.set_random_seed(1)
    model = CaptionModel(
        "small_cnn(width=2, stages=2)",
        "gru(units=4, embedding=4, depth=4, attention='additive(units=4)')",
        Tokenizer(["a", "dog"]),
        max_length=4,
        image_size=(8, 8),
    )
    model.calibration = CALIBRATION
    return captioner.save(
        model, tmp_path_factory.mktemp("small") / "m", card="# Card", metrics={"CIDEr-D": 1.0}
    )


@pytest.fixture(scope="module")
def exported(tiny_export):
    version = tiny_export("saved_model(batch_sizes=(1,))", "beam(width=3, min_length=3)")
    return {"tflite": tiny_export("tflite"), "saved_model": version}


def paths(value, start=()):
    """The place of every entry of a JSON value, objects and lists themselves included."""
    yield from [start] if start else []
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths(value[key], (*start, key))


def changed(value, path, new):
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


def survives(open_and_use):
    """Whether it works; if not it is one line of ours."""
    try:
        open_and_use()
    except CaptionerError as error:
        assert "\n" not in str(error) and 10 < len(str(error)) < 2000, str(error)[:3000]
        return False
    return True


def rewritten(path, target, facts, words=None):
    """A `.tflite` file with other metadata behind the same graph."""
    with zipfile.ZipFile(path) as archive:
        length = json.loads(archive.read("captioner.json"))["bytes"]
        words = archive.read("vocab.txt") if words is None else words
    data = io.BytesIO(path.read_bytes()[:length])
    data.seek(0, io.SEEK_END)
    with zipfile.ZipFile(data, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("captioner.json", facts if isinstance(facts, bytes) else json.dumps(facts))
        archive.writestr("vocab.txt", words)
    target.write_bytes(data.getvalue())
    return target


def facts_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("captioner.json")) | {"confidence": CALIBRATION}


def folder_with(small, tmp_path, name, content):
    folder = tmp_path / "m"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(small, folder)
    (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


# Specs and odd values in every field.


@pytest.mark.parametrize("spec", SPECS)
def test_specs_in_every_field_of_a_bundle(small, tmp_path, spec):
    for name in ("captioner.json", "confidence.json", "metrics.json"):
        content = json.loads((small / name).read_text())
        for path in paths(content):
            folder = folder_with(small, tmp_path, name, changed(content, path, spec))
            if survives(lambda: bundle.read(folder)):  # noqa: B023
                built = path[0] == "model"
                assert not (built and survives(lambda: KerasEngine.open(str(folder))))  # noqa: B023
            assert not list(tmp_path.rglob(MARKER)), (name, path)


@pytest.mark.parametrize("name", ["captioner.json", "confidence.json", "metrics.json"])
def test_odd_values_in_every_field_of_a_bundle(small, tmp_path, name):
    content = json.loads((small / name).read_text())
    for path in paths(content):
        for value in VALUES:
            folder = folder_with(small, tmp_path, name, changed(content, path, value))
            if survives(lambda: bundle.read(folder)):  # noqa: B023
                found = bundle.read(folder)
                assert found.config["image_size"] == [8, 8] or path[0] != "model", (path, value)
                assert found.config.get("max_length", 4) == 4, (path, value)


@pytest.mark.parametrize("spec", SPECS)
def test_specs_in_every_field_of_a_tflite_file(exported, tmp_path, spec):
    facts = facts_of(exported["tflite"])
    for path in paths(facts):
        file = rewritten(exported["tflite"], tmp_path / "x.tflite", changed(facts, path, spec))
        image = odd_images.encoded(odd_images.drawn(8, 8), "PNG")
        worked = survives(lambda: TFLiteEngine.open(str(file)).predict([image]))  # noqa: B023
        assert not (worked and path == ("strategy",))
        assert not list(tmp_path.rglob(MARKER)), path


def test_odd_values_in_every_field_of_a_tflite_file(exported, tmp_path):
    facts = facts_of(exported["tflite"])
    image = odd_images.encoded(odd_images.drawn(8, 8), "PNG")
    for path in paths(facts):
        if path[0] == "model" and len(path) > 1:
            continue  # shown, never built
        for value in VALUES:
            file = rewritten(exported["tflite"], tmp_path / "x.tflite", changed(facts, path, value))
            survives(lambda: TFLiteEngine.open(str(file), threads=1).predict([image]))  # noqa: B023
    for name in facts:
        less = {key: value for key, value in facts.items() if key != name}
        survives(lambda: TFLiteEngine.open(str(rewritten(exported["tflite"], tmp_path / "x.tflite", less))))  # noqa: B023


def test_specs_and_odd_values_in_every_field_of_an_exported_version(exported, tmp_path):
    version = tmp_path / "1"
    shutil.copytree(exported["saved_model"], version)
    facts = json.loads((version / versions.METADATA_FILE).read_text()) | {"confidence": CALIBRATION}
    for path in paths(facts):
        for value in [*SPECS, *VALUES]:
            (version / versions.METADATA_FILE).write_text(json.dumps(changed(facts, path, value)))
            survives(lambda: versions.read_metadata(version))
    # A graph has its strategy inside: what the file calls it is a text, and builds nothing.
    (version / versions.METADATA_FILE).write_text(json.dumps({**facts, "strategy": COMMAND}))
    with captioner.load(version) as model:
        assert model.engine.describe()["strategy"] == COMMAND
        assert model.caption(odd_images.encoded(odd_images.drawn(8, 8), "PNG")).ok
    (version / versions.METADATA_FILE).write_text(json.dumps({**facts, "image_size": [10**9, 1]}))
    with pytest.raises(EngineError, match="damaged .*image_size: expected a whole number from 1 to 4096"):
        captioner.load(version)


@pytest.mark.parametrize(
    "text", [b'{"a": ' * 100_000, b"[" * 100_000, b'{"format": 1, "x": NaN}', b"\xff", b"{", b"7"]
)
def test_no_json_in_every_file(small, exported, tmp_path, text):
    for name in ("captioner.json", "confidence.json", "metrics.json"):
        folder = folder_with(small, tmp_path, name, text)
        assert not survives(lambda: bundle.read(folder))  # noqa: B023
    file = rewritten(exported["tflite"], tmp_path / "x.tflite", text)
    assert not survives(lambda: TFLiteEngine.open(str(file)))
    version = tmp_path / "1" / versions.METADATA_FILE
    version.parent.mkdir(parents=True)
    version.write_bytes(text)
    assert not survives(lambda: versions.read_metadata(tmp_path / "1"))


@pytest.mark.parametrize("kind", ["write", "python", "when loaded"])
def test_a_graph_that_touches_files_is_not_loaded(exported, tmp_path, kind):
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
    shutil.copytree(exported["saved_model"] / "assets.extra", tmp_path / "1" / "assets.extra")
    with pytest.raises(EngineError, match="1 has the operation .*nothing was loaded") as error:
        captioner.load(tmp_path / "1")
    assert "\n" not in str(error.value)


# Specs that are trusted.


def package(tmp_path, monkeypatch, name):
    """A package of the user's own, with a strategy, an attention and a registered layer."""
    (tmp_path / f"{name}.py").write_text(
        "import keras\n"
        "from captioner.decoding.strategies.greedy import Greedy\n"
        "from captioner.models.attention import Additive\n"
        "class Mine(Greedy):\n    pass\n"
        "class Look(Additive):\n    pass\n"
        f"@keras.saving.register_keras_serializable('{name}')\n"
        "class Double(keras.layers.Layer):\n"
        "    def call(self, x):\n        return x * 2\n"
    )
    monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_bundle_that_needs_code_of_ones_own(small, tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, "my_parts")
    content = json.loads((small / "captioner.json").read_text())
    content["model"]["decoder"] = "gru(units=4, embedding=4, depth=4, attention='my_parts:Look(units=4)')"
    folder = folder_with(small, tmp_path, "captioner.json", content)
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


def test_a_tflite_file_that_needs_a_strategy_of_ones_own(exported, tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, "my_strategies")
    facts = {**facts_of(exported["tflite"]), "strategy": "my_strategies:Mine(min_length=2)"}
    file = rewritten(exported["tflite"], tmp_path / "x.tflite", facts)
    with pytest.raises(EngineError, match="x.tflite.*names Python code.*trust=") as error:
        captioner.load(file)
    assert "my_strategies" not in sys.modules and "\n" not in str(error.value)
    with captioner.load(file, trust=("my_strategies",)) as model:
        assert len(model.caption(odd_images.encoded(odd_images.drawn(8, 8), "PNG")).words) >= 2


def test_trust_is_refused_by_engines_that_open_no_file_of_specs(exported):
    with pytest.raises(CaptionerError, match="option of engine 'saved_model': 'trust'"):
        captioner.load(exported["saved_model"], trust=("my_pkg",))


def test_weights_that_a_spec_names_are_not_read(small, tmp_path):
    content = json.loads((small / "captioner.json").read_text())
    content["model"]["encoder"] = "small_cnn(width=2, stages=2, weights='/nowhere/secret.h5')"
    with captioner.load(folder_with(small, tmp_path, "captioner.json", content)) as model:
        assert model.caption(odd_images.encoded(odd_images.drawn(8, 8), "PNG")).ok


# Networks as Keras writes them down.


def network_of(*layers):
    pixels = keras.Input((8, 8, 3))
    grid = keras.layers.Conv2D(2, 4, strides=4)(pixels)
    for layer in layers:
        grid = layer(grid)
    return keras.Model(pixels, grid)


def with_encoder(small, tmp_path, text):
    content = json.loads((small / "captioner.json").read_text())
    content["model"]["encoder"] = {"keras": text, "scaling": "none"}
    return folder_with(small, tmp_path, "captioner.json", content)


def hostile_layers():
    """Configs in the place of one layer's."""
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
def test_code_in_a_network_of_keras_is_refused(small, tmp_path, name):
    whole = json.loads(network_of(keras.layers.ReLU()).to_json())
    layer = {
        **hostile_layers()[name],
        "inbound_nodes": whole["config"]["layers"][-1]["inbound_nodes"],
        "name": "x",
    }
    inside = changed(whole, ("config", "layers", len(whole["config"]["layers"]) - 1), layer)
    deeper = copy.deepcopy(whole)
    deeper["config"]["layers"][1]["config"]["kernel_initializer"] = layer
    for text in (json.dumps(inside), json.dumps(deeper), json.dumps(layer)):
        with pytest.raises(ModelError, match="cannot build the network of") as error:
            captioner.load(with_encoder(small, tmp_path, text))
        assert "\n" not in str(error.value)
        if "lambda" in name:
            assert "holds Python code" in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, '{"class_name": ' * 100_000, "7", "null", '{"class_name": "X"}']
)
def test_what_is_no_network_of_keras(small, tmp_path, text):
    with pytest.raises(CaptionerError) as error:
        captioner.load(with_encoder(small, tmp_path, text))
    assert "\n" not in str(error.value)


def test_layers_of_ones_own_are_told_when_saving(tmp_path, monkeypatch):
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
    decoder, tokenizer = "gru(units=4, embedding=4, depth=4)", Tokenizer(["a"])
    for layer, says in (
        (Unregistered(), "'Unregistered', which Keras does not know.*register_keras_serializable"),
        (keras.layers.Lambda(lambda x: x * 2), "Lambda layer: it holds Python code"),
        (
            Forgetful(3),
            "Keras cannot build the encoder again: TypeError: .*Forgetful.*missing 1 required.*'units'",
        ),
    ):
        model = CaptionModel(network_of(layer), decoder, tokenizer, max_length=4)
        with pytest.raises(ModelError, match=says) as error:
            captioner.save(model, tmp_path / "model")
        assert "\n" not in str(error.value) and not (tmp_path / "model").exists()
    package(tmp_path, monkeypatch, "my_layers")
    import my_layers

    model = CaptionModel(network_of(my_layers.Double()), decoder, tokenizer, max_length=4)
    folder = captioner.save(model, tmp_path / "model")
    with captioner.load(folder) as loaded:
        assert loaded.caption(odd_images.encoded(odd_images.drawn(8, 8), "PNG")).ok
    # In another process nobody has registered it yet.
    del keras.saving.get_custom_objects()["my_layers>Double"]
    monkeypatch.delitem(sys.modules, "my_layers")
    with pytest.raises(ModelError, match="model: the encoder has the layer 'my_layers>Double'.*trust="):
        captioner.load(folder)
    captioner.load(folder, trust=("my_layers",)).close()


# Weights and arrays.


def with_weights(small, tmp_path, change):
    """The folder with another file of weights, whose checksum is right."""
    folder = folder_with(small, tmp_path, "card.md", b"")
    path = folder / "model.weights.h5"
    with h5py.File(path, "a") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        change(file, names[0])
    content = json.loads((folder / "captioner.json").read_text())
    content["sha256"]["model.weights.h5"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "captioner.json").write_text(json.dumps(content))
    return folder


def replaced(make):
    def change(file, name):
        shape = file[name].shape
        del file[name]
        make(file, name, shape)

    return change


def _set(file, name, value):
    file[name] = value


HOSTILE_WEIGHTS = {
    "external link": replaced(lambda f, n, s: _set(f, n, h5py.ExternalLink("/etc/other.h5", "/x"))),
    "soft link": replaced(lambda f, n, s: _set(f, n, h5py.SoftLink("/decoder"))),
    "external data": replaced(
        lambda f, n, s: f.create_dataset(n, s, "float32", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
    ),
    "virtual": replaced(lambda f, n, s: f.create_virtual_dataset(n, _layout(s))),
    "claims": replaced(lambda f, n, s: f.create_dataset(n, (10**6, 10**6), "float32", chunks=(10, 10))),
    "text": replaced(lambda f, n, s: f.create_dataset(n, data=[b"x" * 8], dtype=h5py.string_dtype())),
    "references": replaced(lambda f, n, s: f.create_dataset(n, data=[f.ref], dtype=h5py.ref_dtype)),
    "shape": replaced(lambda f, n, s: f.create_dataset(n, data=np.zeros((3, 1, 4, 1, 5)))),
    "missing": replaced(lambda f, n, s: None),
    "NaN": lambda f, n: f[n].write_direct(np.full(f[n].shape, np.nan, "float32")),
    "infinity": lambda f, n: f[n].write_direct(np.full(f[n].shape, np.inf, "float32")),
}


def _layout(shape):
    layout = h5py.VirtualLayout(shape, "float32")
    layout[...] = h5py.VirtualSource("/etc/other.h5", "x", shape)
    return layout


@pytest.mark.parametrize("name", HOSTILE_WEIGHTS)
def test_weights_are_finite_numbers_in_one_file(small, tmp_path, name):
    folder = with_weights(small, tmp_path, HOSTILE_WEIGHTS[name])
    with pytest.raises(ModelError) as error:
        captioner.load(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    said = {"NaN": "finite", "infinity": "finite", "shape": "does not fit", "missing": "does not fit"}
    assert said.get(name, "damaged") in str(error.value)


def test_groups_nested_deeply_in_weights(small, tmp_path):
    folder = with_weights(small, tmp_path, lambda f, n: f.create_group("/".join("abc" * 200)))
    with pytest.raises(ModelError, match="nested too deeply"):
        captioner.load(folder)


def test_parameters_of_rerankers_are_never_unpickled(small, tmp_path):
    fine = {
        "keys": np.arange(2, dtype=np.int32), "idf": np.ones(2, np.float32), "mean": np.ones(2, np.float32),
        "vectors": np.ones((2, 3), np.float16), "centre": np.ones(4, np.float32),
        "project": np.ones((4, 3), np.float32), "pictures": np.array(9, np.int32),
        "vocabulary": np.array(bundle.read(small).tokenizer.fingerprint),
    }  # fmt: skip
    folder = folder_with(small, tmp_path, "card.md", b"")

    def load(save=np.savez, **arrays):
        save(folder / "expectation.npz", **{**fine, **arrays})
        captioner.load(folder).close()

    load()
    with np.errstate(all="ignore"):
        wrong = {
            "object": {"idf": np.array([Danger(), 1.0], dtype=object)},
            "nan": {"idf": np.array([np.nan, 1], np.float32)},
            "text": {"mean": np.array(["a", "b"])},
            "shape": {"project": np.ones((4, 2), np.float32)},
            "size": {"pictures": np.array([1, 2])},
            "zero": {"pictures": np.array(0)},
        }
    for arrays in wrong.values():
        with pytest.raises(BundleError, match="damaged .*expectation.npz"):
            load(**arrays)
    with pytest.raises(BundleError, match="damaged"):  # zeros are a thousand times larger unpacked
        load(np.savez_compressed)
    for data in (pickle.dumps(Danger()), b"", b"PK"):
        (folder / "expectation.npz").write_bytes(data)
        with pytest.raises(BundleError, match="damaged"):
            captioner.load(folder)


def test_archives_that_unpack_to_more_than_anybody_needs(exported, small, tmp_path, monkeypatch):
    facts = facts_of(exported["tflite"])
    big = json.dumps({**facts, "padding": " " * (metadata.MOST_BYTES + 1)}).encode()
    file = rewritten(exported["tflite"], tmp_path / "x.tflite", big)
    assert file.stat().st_size < exported["tflite"].stat().st_size + 10**5
    with pytest.raises(EngineError, match="at most"):
        captioner.load(file)
    monkeypatch.setattr(metadata, "MOST_WORDS_BYTES", 4)
    with pytest.raises(EngineError, match="vocab.txt of at most 4 bytes"):
        captioner.load(exported["tflite"])
    with pytest.raises(BundleError, match="vocab.txt: expected at most 4 bytes"):
        captioner.load(small)
