"""Writing an export: versions, notes, warm-up requests, sentences in a graph, and what can go wrong."""

import json
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import captioner
from captioner.api import engine_for
from captioner.engines import answers
from captioner.engines.versions import facts, holds_only_exports, version_folder, versions
from captioner.errors import BundleError, EngineError, ModelError, SpecError
from captioner.exporting import TARGETS, saved_model, warmup
from captioner.exporting import versions as publish
from captioner.exporting.sentences import Sentences
from captioner.exporting.signatures import SIGNATURES, outputs
from captioner.image import pillow_preprocess
from captioner.text import Tokenizer, words
from captioner.types import END, PAD
from tests.support.tiny_model import build_tiny_model

# Signatures


def test_the_signatures_are_these():
    """They are public: a change breaks clients that we never see."""
    assert {name: " ".join(SIGNATURES[name]) for name in SIGNATURES} == {
        "serving_default": "caption score ok error",
        "captions": "caption score logp ok error",
        "explain": "caption score logp ids words word_logp attention alternatives_caption alternatives_score "
        "alternatives_logp alternatives_ids alternatives_words alternatives_word_logp alternatives_attention ok error",
    }
    names = {name for given in SIGNATURES.values() for name in given}
    assert not any(name.endswith("_bytes") for name in names), "REST would answer with base64"


def test_engines_read_what_explain_gives():
    read = {**answers._BEST, **answers._OTHERS, **answers._VERDICT}
    assert {name: row[2] for name, row in read.items()} == {
        name: output.axes for name, output in outputs("explain", 2).items()
    }
    for name, row in read.items():
        kind = outputs("explain", 2)[name].dtype.replace("str", "O")
        assert np.dtype(kind).kind in row[0]


# Publishing


def filled(folder):
    (folder / "saved_model.pb").write_bytes(b"graph")


def test_versions_count_up_and_none_is_overwritten(tmp_path):
    folder = tmp_path / "new" / "model"
    assert publish.publish(folder, filled) == folder / "1"
    assert publish.publish(folder, filled).name == "2"
    (folder / "7").mkdir()
    (folder / "0009").mkdir()
    (folder / "notes").write_text("mine")
    assert publish.publish(folder, filled).name == "10"
    assert sorted(p.name for p in folder.iterdir()) == ["0009", "1", "10", "2", "7", "notes"]


@pytest.mark.parametrize(
    "fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), ModelError("no")]
)
def test_nothing_half_written_stays(tmp_path, fault):
    def fill(folder):
        filled(folder)
        (folder / "variables").mkdir()
        assert not versions(folder.parent)
        raise fault

    kept = tmp_path / "there"
    kept.mkdir()
    for folder in (kept, tmp_path / "new"):
        with pytest.raises(BundleError if isinstance(fault, OSError) else type(fault)) as error:
            publish.publish(folder, fill)
        if isinstance(fault, OSError):
            assert str(error.value) == f"cannot write the export to {folder}: No space left on device"
    assert [p.name for p in tmp_path.iterdir()] == ["there"] and not list(kept.iterdir())


def test_exports_at_the_same_time_get_numbers_of_their_own(tmp_path):
    gate, made = threading.Barrier(4), []

    def fill(folder):
        filled(folder)
        gate.wait()

    threads = [
        threading.Thread(target=lambda: made.append(publish.publish(tmp_path, fill))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.name for p in made) == ["1", "2", "3", "4"] == sorted(p.name for p in tmp_path.iterdir())


def test_a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "model").write_text("not a folder")
    with pytest.raises(BundleError, match="cannot write the export to .*model: "):
        publish.publish(tmp_path / "model", filled)


# Finding versions


def test_the_newest_version_with_a_graph_counts(tmp_path):
    assert version_folder(tmp_path) is None and not holds_only_exports(tmp_path / "nowhere")
    for name in ("2", "10", "11", "next"):
        (tmp_path / name).mkdir()
    for name in ("2", "10", "next"):
        filled(tmp_path / name)
    assert version_folder(tmp_path) == tmp_path / "10"
    assert version_folder(tmp_path / "2") == tmp_path / "2"
    assert holds_only_exports(tmp_path) and engine_for(str(tmp_path)) == "saved_model"
    (tmp_path / "model.weights.h5").write_bytes(b"")
    assert not holds_only_exports(tmp_path) and engine_for(str(tmp_path)) == "keras"
    assert engine_for(str(tmp_path / "2")) == "saved_model"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "was not exported by captioner"),
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"format": 1}', "damaged"),
        ('{"format": 99, "captioner": "9.0", "strategy": "greedy"}', "by a newer captioner (9.0, format 99)"),
    ],
)
def test_notes_that_are_not_ours_are_one_line(tmp_path, text, said):
    (tmp_path / "assets.extra").mkdir()
    if text is not None:
        (tmp_path / "assets.extra/captioner.json").write_text(text)
    with pytest.raises(EngineError, match=re.escape(said)) as error:
        facts(tmp_path)
    assert "\n" not in str(error.value)


# Warm-up requests


@pytest.mark.parametrize("length", [0, 1, 100, 20_000, 3_000_000])
def test_a_log_is_what_the_official_stubs_read(length):
    images = [bytes(length), b"x" * length, b"third"]
    log = prediction_log_pb2.PredictionLog.FromString(warmup._log("dogs", "explain", images))
    assert log.WhichOneof("log_type") == "predict_log" and log.ByteSize() > 2 * length
    request = log.predict_log.request
    assert (request.model_spec.name, request.model_spec.signature_name) == ("dogs", "explain")
    assert tf.make_ndarray(request.inputs["image_bytes"]).tolist() == images
    assert len(request.inputs) == 1 and not request.output_filter


def test_the_file_holds_every_signature_and_size(tmp_path):
    image = pillow_preprocess.drawn((20, 30))
    assert tf.io.decode_image(image).shape == (20, 30, 3)
    path = warmup.write(tmp_path, "dogs", [1, 4], image)
    assert path.name == "tf_serving_warmup_requests"
    found = []
    for record in tf.compat.v1.io.tf_record_iterator(str(path)):
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        given = tf.make_ndarray(request.inputs["image_bytes"]).tolist()
        assert set(given) == {image}
        found.append((request.model_spec.signature_name, len(given), tuple(request.output_filter)))
    filters = [(name, 1, outputs) for name in warmup.FILTERS for outputs in warmup.FILTERS[name]]
    assert sorted(found) == sorted([(name, size, ()) for name in SIGNATURES for size in (1, 4)] + filters)


def test_the_outputs_that_our_clients_ask_for_are_warmed_up():
    example = Path(__file__).parents[2] / "serving/examples/grpc_client.py"
    asked = tuple(re.findall(r'field\(3, b"(\w+)"\)', example.read_text(encoding="utf-8")))
    assert asked == ("caption", "error") and asked in warmup.FILTERS["serving_default"]
    for name, filters in warmup.FILTERS.items():
        assert all(set(outputs) < set(SIGNATURES[name]) for outputs in filters)


# Sentences

TEXTS = [
    "a brown dog runs over the grass",
    "一只狗在草地上跑 und zwei Katzen",
    "犬が走る ドッグ",
    "สุนัขวิ่ง ขาว",
    "ຫມາແລ່ນ",
    "ឆ្កែកំពុងរត់",
    "ခွေးပြေးနေသည်",
    "собака бежит по траве",
    "कुत्ता दौड़ रहा है",
    "كلب يجري على العشب",
    "개가 달린다",
    "🐕 runs 👩‍🚒 🇩🇪 n° 5",
    "l'homme est là",
]


def test_sentences_are_those_of_the_tokenizer():
    vocabulary = list(dict.fromkeys(word for text in TEXTS for word in words(text)))
    tokenizer = Tokenizer(vocabulary)
    said = Sentences(tokenizer)
    random = np.random.default_rng(0)
    rows = [tokenizer.encode(text, 12) for text in TEXTS]
    for _ in range(2000):
        row = random.integers(3, len(tokenizer), random.integers(0, 12)).tolist()
        rows.append([*row, END] if random.random() < 0.8 else row)
    ids = np.full((len(rows), 12), PAD, np.int32)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    texts, spelled = said.text(tf.constant(ids)).numpy(), said.words(tf.constant(ids)).numpy()
    for row, text, one in zip(ids, texts, spelled, strict=True):
        assert text.decode() == tokenizer.decode(row)
        assert tuple(w.decode() for w in one if w) == tokenizer.words(row)
    # Any leading axes, none of them, and no rows at all.
    cube = said.text(tf.constant(ids[:6].reshape(2, 3, 12)))
    assert cube.numpy().reshape(-1).tolist() == texts[:6].tolist()
    assert said.text(tf.zeros((0, 3, 12), tf.int32)).shape == (0, 3)


# What is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": ["saved_modle"]}, "did you mean 'saved_model'"),
        ({"to": ["saved_model(batch=1)"]}, "unknown option of export target 'saved_model': 'batch'"),
        ({"to": "saved_model(batch_sizes=())"}, "batch_sizes expects numbers"),
        (
            {"to": "saved_model(batch_sizes=(0, 1))"},
            "batch_sizes expects a whole number of at least 1, got 0",
        ),
        ({"to": "saved_model(max_pixels=0.5)"}, "max_pixels expects a whole number of at least 1, got 0.5"),
        ({"to": "saved_model(model=1)"}, "unknown option"),
        ({"strategy": "beem"}, "unknown strategy 'beem'"),
        ({"strategy": "beam(width=0)"}, "width expects"),
        ({"max_length": 8}, "max_length expects at most the model's own 7, got 8"),
        ({"max_length": 1}, "max_length expects a whole number of at least 2"),
    ],
)
def test_wrong_options_are_one_line_and_write_nothing(tiny_bundle, tmp_path, options, words):
    with pytest.raises(SpecError, match=re.escape(words)) as error:
        captioner.export(tiny_bundle, into=tmp_path / "out", **options)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_weights_that_are_no_numbers_are_not_published(tmp_path):
    model = build_tiny_model()
    model.decoder.weights[0].assign(model.decoder.weights[0] * np.nan)
    with pytest.raises(ModelError, match="finite weights"):
        saved_model.write(model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(BundleError, match="no such model folder"):
        captioner.export(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


def test_only_finite_numbers_come_out():
    odd = tf.constant([[np.nan, 1.0], [np.inf, -np.inf], [5.0, 6.0]])
    found = saved_model.Served._hidden(odd, tf.constant([True, True, False])).numpy()
    assert found.tolist() == [[-1e9, 1.0], [-1e9, -1e9], [0.0, 0.0]]
    text = saved_model.Served._hidden(tf.constant(["a", "b"]), tf.constant([False, True]))
    assert text.numpy().tolist() == [b"", b"b"]


def test_the_note_in_a_bundle_leaves_it_a_bundle(tmp_path, tiny_bundle):
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_bundle, folder)
    (folder / "3").mkdir()
    publish.record(folder, folder / "3", {"strategy": "greedy"})
    (folder / "4").mkdir()
    publish.record(folder, folder / "4", {"strategy": "beam"})
    (folder / "3").rmdir()
    publish.record(folder, folder / "4", {"strategy": "sample"})
    noted = json.loads((folder / "captioner.json").read_text())
    assert noted["exports"] == {"4": {"strategy": "sample"}}
    assert captioner.bundle.read(folder).config == captioner.bundle.read(tiny_bundle).config
    publish.record(tmp_path, tmp_path / "1", {})  # no bundle, nothing to note it in
    assert [p.name for p in Path(tmp_path).iterdir()] == ["tiny"]


def test_the_table_says_what_each_target_is():
    assert all(line for line in TARGETS.describe().values())
