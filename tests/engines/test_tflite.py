"""The `.tflite` file and its engine: the same captions as the model it came from, and one line for every mistake."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.support.images import odd_images
from tests.support.models import small_models

pytest.importorskip("ai_edge_litert")

import captioner
from captioner.engines.keras import KerasEngine
from captioner.engines.tflite import TFLiteEngine
from captioner.engines.tflite_file import CAPTION, pack, read
from captioner.errors import BundleError, CaptionerError, DataError, EngineError, SpecError
from captioner.exporting import tflite
from captioner.text import Tokenizer

pytestmark = pytest.mark.usefixtures("quick")
BEAM = "beam(width=3, n_best=2)"
IMAGES = [odd_images.encoded(odd_images.drawn(40, 30, turn=20 * i), "PNG") for i in range(18)]
QUICK = [
    s for s in small_models.ROWS if small_models.short(s).startswith(("gru", "bidirectional", "top_down"))
]


@pytest.fixture(scope="module")
def exported(tiny_bundle, tmp_path_factory):
    """A file of each kind, made through the public door."""
    folder = tmp_path_factory.mktemp("lite")
    plain, float16 = "tflite", "tflite(quantize='float16')"
    for target in (plain, float16):
        captioner.export(tiny_bundle, [target], strategy=BEAM, output_dir=folder)
    with captioner.load(tiny_bundle) as model:
        tflite.write(model.engine.model, folder, BEAM, quantize="int8", calibration=IMAGES)
    return folder


@pytest.fixture(scope="module")
def lite(exported):
    return captioner.load(exported / "model.tflite")


def squared(model, count=3):
    """Images of the model's own size, so that no resizing comes between."""
    height, width = model.image_size
    return [odd_images.encoded(odd_images.drawn(width, height, turn=40 * i), "PNG") for i in range(count)]


def same(one, two, score=1e-3, attention=1e-3):
    assert one.text == two.text and one.words == two.words
    assert abs(one.score - two.score) < score and abs(one.logp - two.logp) < score
    np.testing.assert_allclose(one.word_logp, two.word_logp, atol=score)
    assert (one.attention is None) == (two.attention is None)
    if one.attention is not None:
        np.testing.assert_allclose(one.attention, two.attention, atol=attention)
    assert len(one.alternatives) == len(two.alternatives)


# The same captions.


@pytest.mark.parametrize(
    "strategy", [None, "greedy", "beam(width=5, n_best=3, min_length=4)", "diverse(width=4, groups=2)"]
)
def test_every_strategy_says_what_keras_says(lite, tiny_model, strategy):
    images = squared(tiny_model)
    wanted = KerasEngine(tiny_model).predict(images, strategy or BEAM)
    for one, two in zip(lite.engine.predict(images, strategy), wanted, strict=True):
        same(one, two, 1e-4, 1e-5)


def test_rules_with_words_and_samples_run_as_well(lite, tiny_model):
    word = tiny_model.tokenizer.word(6)
    must = lite.engine.predict(squared(tiny_model, 1), f"constrained(must_include=[{word!r}])")[0]
    assert word in must.words
    banned = lite.engine.predict(squared(tiny_model, 1), f"greedy(banned=[{must.words[0]!r}])")[0]
    assert must.words[0] not in banned.words
    drawn = [lite.engine.predict(squared(tiny_model, 1), "sample(n=3, seed=1)")[0] for _ in range(2)]
    assert drawn[0].text == drawn[1].text and len(drawn[0].alternatives) == 2


def test_odd_files_agree_with_keras(lite, tiny_bundle):
    files = {**odd_images.good(), **odd_images.bad()}
    with captioner.load(tiny_bundle) as model:
        wanted = list(model.caption_many(files.values()))
    for name, one, two in zip(files, lite.caption_many(files.values()), wanted, strict=True):
        assert one.ok == two.ok, f"{name}: {one.error} {two.error}"
        assert "\n" not in (one.error or "")


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_quantized_files_are_smaller_and_work(exported, kind):
    with captioner.load(exported / f"model_{kind}.tflite") as model:
        caption = model.caption(odd_images.drawn())
        assert caption.ok and caption.words and np.isfinite(caption.score)
        assert model.engine.describe()["quantize"] == kind


@pytest.mark.parametrize(
    "spec",
    [s if s in QUICK else pytest.param(s, marks=pytest.mark.slow) for s in small_models.SPECS],
    ids=lambda spec: small_models.short(spec),
)
def test_every_decoder_converts_and_runs(spec, tmp_path):
    model = small_models.build(spec)
    path = tflite.write(model, tmp_path, BEAM)
    engine = TFLiteEngine.open(str(path))
    images = squared(model)
    for one, two in zip(engine.predict(images), KerasEngine(model).predict(images, BEAM), strict=True):
        same(one, two, 1e-4, 1e-5)


@pytest.mark.parametrize(
    "spec",
    [s if s in QUICK[:1] else pytest.param(s, marks=pytest.mark.slow) for s in small_models.SPECS],
    ids=lambda spec: small_models.short(spec),
)
def test_every_decoder_runs_in_8_bits(spec, tmp_path):
    """Words of random weights turn on a hair, so they may be others; `tflite.write` compares what the first weigh."""
    model = small_models.build(spec)
    path = tflite.write(model, tmp_path, BEAM, quantize="int8", calibration=IMAGES)
    for caption in TFLiteEngine.open(str(path)).predict(squared(model), "beam(width=3, min_length=2)"):
        assert caption.ok and np.isfinite(caption.word_logp).all() and max(caption.word_logp) <= 0.1


def test_images_that_training_set_aside_calibrate(exported, tiny_bundle, tmp_path, monkeypatch):
    made = exported / "model_int8.tflite"
    graph, calibrated = made.read_bytes()[: read(made).metadata["bytes"]], []

    def converted(lite, names, quantize, images):  # as it was converted before: that takes seconds
        calibrated.extend(images)
        return graph

    monkeypatch.setattr(tflite, "_convert", converted)
    (tmp_path / "calibration").mkdir()
    for i, image in enumerate(IMAGES[:16]):
        (tmp_path / "calibration" / f"{i}.png").write_bytes(image)
    made = captioner.export(tiny_bundle, ["tflite(quantize='int8')"], output_dir=tmp_path / "model")
    assert read(made["tflite"]).metadata["quantize"] == "int8" and len(calibrated) == 16
    (tmp_path / "calibration" / "3.png").unlink()
    with pytest.raises(DataError, match="got 15 that can be read"):
        captioner.export(
            tiny_bundle, ["tflite(quantize='int8', overwrite=True)"], output_dir=tmp_path / "model"
        )


def test_signature_caption_has_builtin_ops(exported, lite, tiny_model):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(exported / "model.tflite")).get_signature_runner(CAPTION)
    image = squared(tiny_model, 1)[0]
    outputs = runner(image=captioner.image.pillow_preprocess.read(image, tiny_model.image_size)[np.newaxis])
    best = lite.engine.predict([image])[0]
    assert tiny_model.tokenizer.decode(outputs["ids"][0, 0]) == best.text
    assert abs(float(outputs["score"][0, 0]) - best.score) < 1e-4
    assert CAPTION not in read(exported / "model_int8.tflite").metadata["signatures"]


def test_the_words_travel_in_the_file(exported, tiny_model):
    with zipfile.ZipFile(exported / "model.tflite") as archive:
        assert sorted(archive.namelist()) == ["captioner.json", "vocab.txt"]
        facts = json.loads(archive.read("captioner.json"))
    assert facts["strategy"] == BEAM and facts["quantize"] == "none"
    assert read(exported / "model.tflite").tokenizer == tiny_model.tokenizer


def test_it_runs_without_tensorflow_or_keras(exported):
    program = """
import sys
import captioner
with captioner.load(sys.argv[1], threads=1) as model:
    print(model.caption(sys.argv[2]).ok, [m for m in ("tensorflow", "keras", "jax") if m in sys.modules])
"""
    image = Path("image.png")
    image.write_bytes(IMAGES[0])
    command = [sys.executable, "-c", program, str(exported / "model.tflite"), str(image)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == "True []\n"


# Mistakes.


def broken(exported, change):
    path = Path("broken.tflite")
    path.write_bytes(change((exported / "model.tflite").read_bytes()))
    return str(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"\x89PNG\r\n\x1a\n" + bytes(100), "no TensorFlow Lite file"),
        (lambda data: b"", "no TensorFlow Lite file"),
        (lambda data: data[: len(data) // 2], "nothing of captioner's at its end"),
        (lambda data: data[: data.rfind(b"PK\x05\x06") - 40], "nothing of captioner's at its end"),
        (lambda data: data[:2000] + bytes([data[2000] ^ 1]) + data[2001:], "checksum"),
        (lambda data: data[:-30] + bytes(8) + data[-22:], "cannot be read|checksum"),
        (lambda data: pack(data[:64], {"format": 1}, Tokenizer(["a"])), "lacks the entry 'strategy'"),
        (lambda data: pack(data[:64], ours(format=99), Tokenizer(["a"])), "newer captioner"),
        (lambda data: pack(data[:64] + bytes(64), ours(), Tokenizer(["a"])), "cannot be run"),
    ],
)
def test_a_bad_file_is_one_line(exported, change, words):
    with pytest.raises(EngineError, match=words) as caught:
        captioner.load(broken(exported, change))
    assert "\n" not in str(caught.value) and "broken.tflite" in str(caught.value)


def ours(**changes):
    facts = {"format": 1, "strategy": "greedy", "max_length": 5, "image_size": [8, 8], "grid": [2, 2]}
    return facts | {"signatures": ["encode"], "memory": [], "state": []} | changes


def test_no_file_and_other_options_are_one_line(exported):
    with pytest.raises(EngineError, match="no model nowhere.tflite"):
        captioner.load("nowhere.tflite")
    for threads in (0, 10_000, "2", True):
        with pytest.raises(SpecError, match="threads expects a whole number from 1 to"):
            captioner.load(exported / "model.tflite", threads=threads)
    with pytest.raises(SpecError, match="did you mean 'threads'"):
        captioner.load(exported / "model.tflite", thread=1)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"quantize": "int9"}, SpecError, "did you mean 'int8'"),
        ({"quantize": "int8"}, DataError, "at least 16 images .*; got none"),
        ({"quantize": "int8", "calibration": "nowhere"}, DataError, "nowhere is no folder"),
        ({"quantize": "int8", "calibration": IMAGES[:3]}, DataError, "got 3 that can be read"),
        ({"quantize": "int8", "calibration": [b"text"] * 20}, DataError, "got 0 that can be read"),
        ({"calibration": IMAGES}, SpecError, "is for quantize='int8'"),
        ({"max_length": 99}, SpecError, "at most the model's own"),
        ({"max_pixels": 0}, SpecError, "max_pixels"),
    ],
)
def test_wrong_options_leave_nothing(tiny_model, tmp_path, options, error, words):
    with pytest.raises(CaptionerError, match=words) as caught:
        tflite.write(tiny_model, tmp_path / "new", **options)
    assert isinstance(caught.value, error) and "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_file_is_replaced_only_when_asked(tiny_model, tmp_path, monkeypatch):
    (tmp_path / "model.tflite").write_bytes(b"mine")
    with pytest.raises(BundleError, match="is there already.*overwrite=True"):
        tflite.write(tiny_model, tmp_path)
    monkeypatch.setattr(tflite, "_convert", lambda *_: b"\x1c\0\0\0TFL3 and nothing that runs")
    with pytest.raises(EngineError, match="cannot be run"):
        tflite.write(tiny_model, tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]
    assert (tmp_path / "model.tflite").read_bytes() == b"mine"
