"""The model in saved_models/default: whole, small, described as it was measured, and the one that `load` opens."""

import json
from pathlib import Path

import pytest

import captioner
from captioner import bundle
from captioner.cli import main
from captioner.errors import EngineError
from tests.support.models.tiny_model import build_tiny_model
from training import photos

DEFAULT = Path(__file__).parents[2] / "saved_models/default"
FILES = [path for path in DEFAULT.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def photo():
    pytest.importorskip("skimage")
    return photos.sample_photos()[0]


@pytest.fixture(scope="module")
def weights():
    """It, run by Keras."""
    with captioner.load(DEFAULT) as model:
        yield model


@pytest.fixture(scope="module")
def captions(photo, weights):
    """What every form of it says of one photograph."""
    pytest.importorskip("ai_edge_litert")
    caption = weights.caption(photo)
    forms = {".": (caption, weights.confidence(caption))}
    for name in ("1", "model_float16.tflite", "model_int8.tflite"):
        with captioner.load(DEFAULT / name) as model:
            caption = model.caption(photo)
            forms[name] = caption, model.confidence(caption)
    return forms


def test_it_is_whole_and_small_enough_for_git():
    names = {path.relative_to(DEFAULT).as_posix() for path in FILES}
    assert {
        bundle.WEIGHTS,
        bundle.CARD,
        bundle.METRICS,
        bundle.CONFIDENCE,
        *bundle.RERANKER_FILES.values(),
        "reliability.png",
    } <= names
    assert {"1/saved_model.pb", "model_float16.tflite", "model_int8.tflite", "reliability.png"} <= names
    assert sum(path.stat().st_size for path in FILES) < 60e6
    assert bundle.read(DEFAULT).card


def test_the_card_says_what_was_measured():
    card = bundle.read(DEFAULT).card
    measured = json.loads((DEFAULT / bundle.METRICS).read_text())["test"]
    assert measured["model_int8.tflite"]["official CIDEr-D"] >= 55
    for row in measured.values():
        assert f"{row['official CIDEr-D']:.1f} ± {row['error']:.1f}" in card


def test_nothing_in_it_tells_of_the_machine_it_was_made_on():
    for path in FILES:
        content = path.read_bytes()
        assert not any(
            word in content for word in (b"flickr8k/images", b"_notop", b"/tmp/", b"/home/", b"/root/")
        ), path


def test_every_form_says_a_sentence_and_how_sure_it_is(captions):
    for caption, sure in captions.values():
        assert caption.ok and len(caption.words) > 3 and 0 < sure < 1
    assert captions["."][0].text == captions["1"][0].text == captions["model_float16.tflite"][0].text


def test_it_can_rerank_by_the_image(photo, weights, captions):
    caption = weights.caption(photo, "beam(width=20, n_best=20, rerank='cider_regression')")
    every = {alternative.text for alternative in caption.alternatives} | {caption.text}
    assert captions["."][0].text in every
    assert caption.score >= max(alternative.score for alternative in caption.alternatives)


def test_load_takes_the_one_here_or_the_one_beside_the_package(tmp_path, monkeypatch, photo, captions):
    monkeypatch.chdir(tmp_path)
    with captioner.load() as model:
        assert model.caption(photo).text == captions["."][0].text
    captioner.save(build_tiny_model(), "saved_models/default")
    with captioner.load() as model:
        assert model.engine.describe()["vocabulary"] < 100


def test_commands_without_a_model_mean_the_one_beside_the_package(tmp_path, monkeypatch, capsys):
    asked = []

    def note(source, *_, **__):
        asked.append(Path(source))
        raise EngineError("not now")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("captioner.benchmark.cost", note)
    monkeypatch.setattr("captioner.cli.export.export", note)
    assert main(["bench"]) == main(["export"]) == EngineError.exit_code
    assert asked == [DEFAULT, DEFAULT / "1", *sorted(DEFAULT.glob("*.tflite")), DEFAULT]
    assert capsys.readouterr().err.count("not now") == len(asked)
