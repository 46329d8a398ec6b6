"""A SavedModel export: its signatures and files, the engine that opens it, and what clients get wrong."""

import contextlib
import io
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import captioner
from captioner.cli import main
from captioner.engines.keras import KerasEngine
from captioner.engines.saved_model import SavedModelEngine
from captioner.engines.versions import read_metadata
from captioner.errors import EngineError
from captioner.exporting import saved_model
from captioner.signature import SIGNATURES, outputs
from tests.support.images import odd_images
from tests.support.models import small_models
from tests.support.models.exported_captions import FILES, same
from tests.support.models.v1_session import session_of

pytestmark = pytest.mark.usefixtures("quick")
BEAM = "beam(width=3, n_best=3)"

# One export, made on the command line


@pytest.fixture(scope="module")
def exported(tiny_bundle, tmp_path_factory):
    """The folder of the first version, inside its bundle."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    shutil.copytree(tiny_bundle, folder)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert (
            main(["export", str(folder), "--strategy", BEAM, "--to", "saved_model(batch_sizes=(1, 3))"]) == 0
        )
    assert output.getvalue() == f"{folder / '1'}\n"
    return folder / "1"


@pytest.fixture(scope="module")
def served(exported):
    with session_of(exported) as (run, meta):
        yield run, meta


@pytest.fixture(scope="module")
def engines(exported, tiny_model):
    return KerasEngine(tiny_model), SavedModelEngine.open(str(exported))


def test_the_signatures_are_those_listed(served, exported, capsys):
    run, meta = served
    sizes = {"B": 2, "K": 3, "K-1": 2, "T": 7, "H": 4, "W": 4}
    assert set(meta.signature_def) - {"__saved_model_init_op"} == set(SIGNATURES)
    for name in SIGNATURES:
        (input_info,) = meta.signature_def[name].inputs.values()
        assert set(meta.signature_def[name].inputs) == {"image_bytes"}
        assert input_info.dtype == tf.string.as_datatype_enum and [
            d.size for d in input_info.tensor_shape.dim
        ] == [-1]
        expected, arrays = outputs(name, 3), run(name, [FILES[0], b""])
        assert set(arrays) == set(expected)
        for key, output in expected.items():
            assert arrays[key].shape == tuple(sizes[axis] for axis in output.axes), key
            assert arrays[key].dtype == np.dtype(output.dtype.replace("str", "object")), key
            known = [d.size for d in meta.signature_def[name].outputs[key].tensor_shape.dim]
            assert known == [-1, *(sizes[axis] for axis in output.axes[1:])], key
            if arrays[key].dtype.kind == "f":
                assert np.isfinite(arrays[key]).all()
            if key not in ("ok", "error"):
                assert not any(np.asarray(arrays[key][1]).reshape(-1).tolist()), "a bad row holds nothing"
        assert arrays["ok"].tolist() == [True, False]
    from tensorflow.python.tools import saved_model_cli

    # What `saved_model_cli show --tag_set serve` prints.
    saved_model_cli._show_signature_def_map_keys(str(exported), "serve")
    printed = capsys.readouterr().out
    assert all(f'"{name}"' in printed for name in SIGNATURES)


def test_signatures_agree_with_each_other(served):
    run, _ = served
    files = [*FILES, b"no image"]
    best, several, every = (run(name, files) for name in SIGNATURES)
    assert best["caption"].tolist() == several["caption"][:, 0].tolist() == every["caption"].tolist()
    assert several["caption"][:, 1:].tolist() == every["alternatives_caption"].tolist()
    np.testing.assert_allclose(best["score"], several["score"][:, 0], rtol=1e-6)
    np.testing.assert_allclose(several["logp"][:, 1:], every["alternatives_logp"], rtol=1e-6)
    assert best["error"].tolist() == several["error"].tolist() == every["error"].tolist()


def test_no_images_give_no_rows(served):
    assert all(len(array) == 0 for array in served[0]("explain", []).values())


def test_the_notes(exported, tiny_model):
    stored_metadata = read_metadata(exported)
    assert (stored_metadata["strategy"], stored_metadata["max_length"], stored_metadata["n_best"]) == (
        BEAM,
        7,
        3,
    )
    assert (stored_metadata["image_size"], stored_metadata["grid"]) == ([32, 32], [4, 4])
    assert stored_metadata["vocabulary"] == {"size": 14, "fingerprint": tiny_model.tokenizer.fingerprint}
    assert stored_metadata["max_pixels"] == 50_000_000 and stored_metadata["batch_sizes"] == [1, 3]
    manifest = json.loads((exported.parent / "captioner.json").read_text())
    assert manifest["exports"]["1"]["strategy"] == BEAM
    assert captioner.bundle.read(exported.parent).tokenizer.vocabulary == tiny_model.tokenizer.vocabulary
    left = {path.name for path in exported.parent.iterdir()} - {"1"}
    assert left == {"captioner.json", "model.weights.h5", "vocab.txt", "card.md", "metrics.json"}


def test_warm_up_requests_run(exported, served):
    run, _ = served
    seen = set()
    path = exported / "assets.extra/tf_serving_warmup_requests"
    for record in tf.compat.v1.io.tf_record_iterator(str(path)):
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        files = tf.make_ndarray(request.inputs["image_bytes"]).tolist()
        arrays = run(request.model_spec.signature_name, files)
        assert arrays["ok"].all() and len(arrays["ok"]) == len(files)
        assert request.model_spec.name == "tiny"
        assert set(request.output_filter) < set(arrays)
        seen.add((request.model_spec.signature_name, len(files)))
    assert seen == {(name, size) for name in SIGNATURES for size in (1, 3)}


# The engine


def test_odd_images_agree_in_both_engines(engines):
    files = {**odd_images.good(), **odd_images.bad()}
    captions = [engine.predict(list(files.values()), BEAM) for engine in engines]
    for name, one, other in zip(files, *captions, strict=True):
        assert one.ok == (name in odd_images.good()), f"{name}: {one.error}"
        same(other, one)
    assert len({caption.text for caption in captions[0]}) > 3


def test_a_bad_image_fails_alone(engines):
    good = [odd_images.encoded(odd_images.drawn(90, 70, turn=50 * i), "JPEG") for i in range(7)]
    alone = [engines[0].predict([data], BEAM)[0] for data in good]
    for name, bad in odd_images.bad().items():
        if name in ("cut-JPEG-0.6", "png-damaged-at-60", "bomb-png", "text"):
            *captions, last = engines[1].predict([*good, bad])
            for one, other in zip(captions, alone, strict=True):
                same(one, other)
            assert not last.ok and last.text == ""


def test_captioner_load_takes_an_export(exported, images):
    with captioner.load(exported) as model, captioner.load(exported.parent) as folder_model:
        assert isinstance(model.engine, SavedModelEngine) and isinstance(folder_model.engine, KerasEngine)
        same(model.caption(images[0]), folder_model.caption(images[0], BEAM))
        described = model.engine.describe()
        assert (described["engine"], described["strategy"], described["vocabulary"]) == (
            "saved_model",
            BEAM,
            14,
        )
        assert model.engine.predict([], "beam( width=3,n_best=3 )") == []
        for call in (
            lambda: model.caption(images[0], "greedy"),
            lambda: model.engine.predict([], "greedy"),
        ):
            with pytest.raises(EngineError, match="was exported with the strategy") as error:
                call()
            assert BEAM in str(error.value) and "export again with strategy='greedy'" in str(error.value)


@pytest.mark.parametrize("fault", ["empty", "graph", "variables", "no variables"])
def test_a_damaged_export_is_one_line(exported, tmp_path, fault):
    folder = tmp_path / "1"
    if fault != "empty":
        shutil.copytree(exported, folder)
    if fault == "graph":
        path = folder / "saved_model.pb"
        path.write_bytes(path.read_bytes()[:2000])
    if fault == "variables":
        path = next((folder / "variables").glob("*.data-*"))
        path.write_bytes(path.read_bytes()[:200])
    if fault == "no variables":
        shutil.rmtree(folder / "variables")
    words = f"no exported model in {tmp_path}" if fault == "empty" else f"damaged export {folder}"
    with pytest.raises(EngineError, match=re.escape(words)) as error:
        SavedModelEngine.open(str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_model_of_somebody_else_is_one_line(tmp_path):
    module = tf.Module()
    module.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([], tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=module.double)
    with pytest.raises(EngineError, match="1 was not exported by captioner"):
        captioner.load(tmp_path)


# What clients get wrong, and what a network does.


def test_images_that_are_no_list_are_told(exported):
    says = "expected image_bytes to be a list of encoded images, one dimension, got dimensions:"
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(exported))
        for name in SIGNATURES:
            signature = meta.signature_def[name]
            # A server feeds what it was sent; Python's session looks at the shape of a placeholder first.
            feed = signature.inputs["image_bytes"].name
            session.graph.get_tensor_by_name(feed)._shape_val = tf.TensorShape(None)
            for rank, sent in ((0, np.array(FILES[0], object)), (2, np.array([FILES[:1]], object))):
                with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes") as error:
                    session.run(signature.outputs["error"].name, {feed: sent})
                assert f"[{says}] [{rank}]" in error.value.message


def test_nan_in_the_graph_is_an_error(tmp_path):
    model = small_models.build(small_models.ROWS[0])
    for variable in model.decoder.weights:
        variable.assign(variable * np.nan)
    strategy = saved_model.Served(model, "beam(width=2)", model.max_length, 10**6)
    for signature in SIGNATURES:
        arrays = strategy.outputs(signature, tf.constant([FILES[0], b"no image"]))
        assert arrays["ok"].numpy().tolist() == [False, False]
        assert arrays["error"].numpy()[0] == b"the network computed NaN or infinity"
        assert all(np.isfinite(array.numpy()).all() for array in arrays.values() if array.dtype.is_floating)
