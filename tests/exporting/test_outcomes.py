"""Outcomes in exports: the same in the served signatures, in the `.tflite` file and in Keras."""

import shutil
import zipfile

import numpy as np
import pytest

import captioner
from captioner import signature
from captioner.engines import tflite_file
from captioner.engines.tflite_file import CAPTION, read
from captioner.errors import BundleError, EngineError
from captioner.outputs.confidence import Confidence
from captioner.types import OUTCOMES
from tests.support.models.outcomes import CALIBRATION, IMAGES, build_judging_model, parameters
from tests.support.models.v1_session import session_of

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return captioner.save(build_judging_model("de"), tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def keras(folder):
    with captioner.load(folder) as model:
        return [model.caption(image) for image in IMAGES]


@pytest.fixture(scope="module")
def version(folder):
    return captioner.export(folder, ["saved_model(batch_sizes=(1,))"])["saved_model"]


@pytest.fixture(scope="module")
def lite(folder):
    pytest.importorskip("ai_edge_litert")
    return captioner.export(folder, ["tflite"])["tflite"]


def same(captions, expected):
    for one, other in zip(captions, expected, strict=True):
        assert (one.text, one.caption, one.outcome) == (other.text, other.caption, other.outcome)
        assert one.ood_score == pytest.approx(other.ood_score, rel=1e-4)
        assert [a.text for a in one.alternatives] == [a.text for a in other.alternatives]


def test_keras_has_all_three(keras):
    by_outcome = {outcome: [c for c in keras if c.outcome == outcome] for outcome in OUTCOMES}
    assert [len(captions) for captions in by_outcome.values()] == [2, 2, 2]
    plain, hedged, declined = by_outcome.values()
    assert all(c.text == c.caption == " ".join(c.words) for c in plain)
    assert all(c.text == "Vielleicht: " + c.caption for c in hedged)
    assert {c.text for c in declined} == {
        "keine Beschreibung: anders als alles, woran dieses Modell gelernt hat"
    }
    assert all(c.caption == " ".join(c.words) for c in declined)
    scores = [[c.ood_score for c in captions] for captions in by_outcome.values()]
    assert max(scores[0]) < min(scores[1]) <= max(scores[1]) < min(scores[2])


def test_the_engine_of_saved_models_agrees(version, keras):
    with captioner.load(version) as model:
        same(model.caption_many(IMAGES, batch_size=4), keras)


def test_every_signature_serves_them(version, keras):
    with session_of(version) as (run, meta):
        for name in signature.SIGNATURES:
            arrays = run(name, [*IMAGES, b"no image"])
            assert set(arrays) == set(signature.outputs(name, 2, outcomes=True))
            assert [text.decode() for text in arrays["outcome"]] == [c.outcome for c in keras] + [""]
            assert [text.decode() for text in arrays["text"]] == [c.text for c in keras] + [""]
            np.testing.assert_allclose(
                arrays["ood_score"], [c.ood_score for c in keras] + [0], rtol=1e-4, atol=1e-6
            )
            best = arrays["caption"][:, 0] if name == "captions" else arrays["caption"]
            assert [text.decode() for text in best] == [c.caption for c in keras] + [""]
            inputs = meta.signature_def[name].inputs
            assert signature.missing(inputs, meta.signature_def["explain"].outputs) == []


def test_the_engine_of_tflite_files_agrees(lite, keras):
    with captioner.load(lite) as model:
        same(model.caption_many(IMAGES), keras)


def test_the_graph_of_a_tflite_file_judges(lite, keras):
    from captioner.engines.tflite import interpreter_class
    from captioner.image import pillow_preprocess

    run = interpreter_class()(model_path=str(lite)).get_signature_runner(CAPTION)
    for image, caption in zip(IMAGES, keras, strict=True):
        outputs = run(image=pillow_preprocess.read(image, (32, 32))[np.newaxis])
        assert OUTCOMES[outputs["outcome"].item()] == caption.outcome
        assert outputs["ood_score"].item() == pytest.approx(caption.ood_score, rel=1e-4)


@pytest.mark.slow
def test_quantised_files_decline_what_is_far(folder, keras, tmp_path):
    pytest.importorskip("ai_edge_litert")
    photos = IMAGES * 3
    target = f"tflite(quantize='int8', calibration={str(tmp_path)!r})"
    for number, photo in enumerate(photos):
        (tmp_path / f"{number}.png").write_bytes(photo)
    path = captioner.export(folder, [target], output_dir=tmp_path)["tflite"]
    with captioner.load(path) as model:
        captions = list(model.caption_many(IMAGES))
    scores = [[c.ood_score for c in either] for either in (captions, keras)]
    np.testing.assert_allclose(*scores, rtol=0.1)


@pytest.mark.slow
def test_low_confidence_is_hedged_in_all_of_them(tmp_path):
    """Whatever their score, half of the captions are of low confidence."""
    pytest.importorskip("ai_edge_litert")
    confidence = Confidence(CALIBRATION)
    with captioner.load(captioner.save(build_judging_model(), tmp_path / "sure")) as model:
        values = sorted(confidence.of(model.caption(image)) for image in IMAGES)
    least = (values[2] + values[3]) / 2
    assert values[2] < values[3]
    folder = captioner.save(build_judging_model("en", CALIBRATION, least), tmp_path / "model")
    with captioner.load(folder) as model:
        expected = [model.caption(image) for image in IMAGES]
    for caption in expected:
        unsure = confidence.of(caption) < least
        assert caption.outcome != "caption" if unsure else True
    assert {"hedged", "declined"} <= {c.outcome for c in expected}
    assert sum(c.outcome == "hedged" for c in expected) > 2, "the choice of images shows nothing"
    for path in captioner.export(folder, ["saved_model(batch_sizes=(1,))", "tflite"]).values():
        with captioner.load(path) as model:
            same(model.caption_many(IMAGES), expected)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 damaged"])
def test_damaged_parameters_at_the_end_of_a_file(lite, tmp_path, damage):
    path = tmp_path / "damaged.tflite"
    with zipfile.ZipFile(lite) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert sorted(contents) == ["captioner.json", "ood.npz", "vocab.txt"]
    path.write_bytes(lite.read_bytes()[: read(lite).metadata["bytes"]])
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in (contents | {"ood.npz": damage}).items():
            archive.writestr(name, content)
    with pytest.raises(
        EngineError, match=r"damaged .*damaged\.tflite, ood\.npz: run training/fit_ood"
    ) as error:
        captioner.load(path)
    assert "\n" not in str(error.value)


def test_huge_parameters_at_the_end_of_a_file_are_not_read(lite, monkeypatch):
    monkeypatch.setattr(tflite_file, "_MOST_OOD_BYTES", 4)
    with pytest.raises(EngineError, match=r"expected a ood\.npz of at most 4 bytes at its end"):
        captioner.load(lite)


def test_parameters_of_another_encoder(folder, tmp_path):
    other = tmp_path / "model"
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("1", "*.tflite"))
    parameters(channels=7).save(other / "ood.npz")
    with pytest.raises(BundleError, match=r"for this model \(12 channels\), got 7 channels"):
        captioner.load(other)


def test_graphs_without_them_lack_the_outputs(tiny_export):
    """Models that were not fitted are exported as before."""
    with session_of(tiny_export("saved_model(batch_sizes=(1,))", "beam(width=3, min_length=3)")) as (run, _):
        assert set(run("serving_default", IMAGES[:1])) == {"caption", "score", "ok", "error"}


def test_an_unknown_outcome_of_a_server_is_refused(keras):
    values = {
        name: np.full([1] * len(output.axes), b"" if output.dtype == "str" else 0)
        for name, output in signature.outputs("explain", 1, outcomes=True).items()
    }
    values["ok"] = np.array([True])
    good = {
        **values,
        "outcome": np.array([b"hedged"]),
        "text": np.array([b"(?) x"]),
        "caption": np.array([b"x"]),
    }
    caption = signature.captions_from(good)[0]
    assert (caption.text, caption.caption, caption.outcome, caption.ood_score) == (
        "(?) x",
        "x",
        "hedged",
        0.0,
    )
    with pytest.raises(
        EngineError, match="expected caption, hedged, declined in the output 'outcome', got 'x'"
    ):
        signature.captions_from({**good, "outcome": np.array([b"x"])})
    for name in ("text", "outcome", "ood_score"):
        with pytest.raises(EngineError, match=f"expected the output '{name}'"):
            signature.captions_from({n: array for n, array in good.items() if n != name})
