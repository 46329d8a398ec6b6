"""Ensembles: probabilities are averaged, one member alone is itself, and the models must fit together."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import captioner
from captioner.decoding import generate
from captioner.errors import ModelError
from captioner.models import CaptionModel
from captioner.models.ensemble import joined
from captioner.text import Tokenizer
from tests.support.models.tiny_model import build_tiny_model
from training import ensemble

pytestmark = pytest.mark.usefixtures("quick")

DECODERS = [
    "lstm(units=12, embedding=10, value_dim=8)",
    "top_down(units=6, embedding=8, value_dim=8, attention='scaled_dot')",
]


@pytest.fixture(scope="module")
def models():
    first, *others = (build_tiny_model(decoder, seed=i) for i, decoder in enumerate(DECODERS))
    for other in others:
        other.encoder.network.set_weights(first.encoder.network.get_weights())
    return [first, *others]


@pytest.fixture(scope="module")
def both(models):
    return joined(models)


def pixels(model, count=3):
    return np.random.default_rng(1).integers(0, 256, (count, *model.image_size, 3)).astype(np.float32)


def test_probabilities_are_the_mean_of_the_members(models, both):
    features = both.encode(pixels(both))
    captions = [[5, 6, 2], [4, 4, 7, 2], [9, 2]]
    ensemble_logp = both.word_logp(features, captions)
    member_logp = [model.word_logp(features, captions) for model in models]
    for i, logp in enumerate(ensemble_logp):
        np.testing.assert_allclose(
            logp, np.log(np.mean([np.exp(e[i]) for e in member_logp], axis=0)), atol=1e-5
        )


def test_a_strategy_is_inherited_if_all_have_the_same(models, monkeypatch):
    monkeypatch.setattr(models[0], "strategy", "beam(width=5)")
    assert joined(models).strategy == ""
    monkeypatch.setattr(models[1], "strategy", "beam(width=5)")
    assert joined(models).strategy == "beam(width=5)"


def test_attention_is_the_mean(models, both):
    features = both.encode(pixels(both, 2))
    _, attention, _ = both.step(tf.constant([1, 1]), *both.start(features))
    member_attention = [model.step(tf.constant([1, 1]), *model.start(features))[1] for model in models]
    np.testing.assert_allclose(attention, np.mean(member_attention, axis=0), atol=1e-6)


def test_ensemble_of_one_model_twice(models):
    twice, features = joined([models[0]] * 2), models[0].encode(pixels(models[0]))
    one, two = (
        generate(model, features, "beam(width=3)", 7, models[0].tokenizer) for model in (models[0], twice)
    )
    assert np.array_equal(one.ids, two.ids)
    np.testing.assert_allclose(one.score, two.score, atol=1e-5)


@pytest.mark.slow
def test_program_writes_a_bundle(models, both, tmp_path, capsys):
    for i, model in enumerate(models):
        captioner.save(model, tmp_path / str(i))
    folders = [str(tmp_path / str(i)) for i in range(2)]
    assert ensemble.main([*folders, "--out", str(tmp_path / "both")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "both")
    image = pixels(both)[0].astype(np.uint8)
    made = captioner.export(tmp_path / "both", ["saved_model"])["saved_model"]
    with captioner.load(tmp_path / "both") as here, captioner.load(made) as exported:
        assert here.caption(image).text == exported.caption(image).text
        wanted = generate(both, both.encode(image[np.newaxis]), "beam(width=3)", 7, both.tokenizer)
        assert here.caption(image).score == pytest.approx(float(wanted.score[0, 0]), abs=1e-4)
    assert folders[0] in captioner.bundle.read(tmp_path / "both").card
    assert ensemble.main([*folders, "--out", str(tmp_path / "both")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ensemble.py: ") and error.count("\n") == 1


def test_own_parts_need_trust(models, tmp_path, capsys, monkeypatch):
    (tmp_path / "own_parts.py").write_text(
        "from pathlib import Path\nfrom captioner.models import DECODERS\n"
        f"Path({str(tmp_path / 'MARKER')!r}).touch()\n"
        "def build(**options): return DECODERS.build(options.pop('spec'), **options)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    folders = []
    for i, model in enumerate(models):
        folders.append(str(captioner.save(model, tmp_path / str(i))))
        path = tmp_path / str(i) / "captioner.json"
        manifest = json.loads(path.read_text())
        manifest["model"]["decoder"] = f"own_parts:build(spec={manifest['model']['decoder']!r})"
        path.write_text(json.dumps(manifest))
    assert ensemble.main([*folders, "--out", str(tmp_path / "both")]) == 2
    assert "own_parts" in capsys.readouterr().err and not (tmp_path / "MARKER").exists()
    trusting = ["--trust", "own_parts"]
    assert ensemble.main([*folders, "--out", str(tmp_path / "both"), *trusting]) == 0
    assert (tmp_path / "MARKER").exists()


def test_mismatched_models_are_one_line(models):
    other_words = CaptionModel(
        models[0].encoder.network, DECODERS[0], Tokenizer(["other", "words"]), max_length=7
    )
    other_encoder = keras.models.clone_model(models[0].encoder.network)
    elsewhere = CaptionModel(other_encoder, DECODERS[0], models[0].tokenizer, max_length=7)
    for mismatched, says in (
        (models[:1], "two models or more"),
        ([models[0], other_words], "one vocabulary, model 2"),
        ([*models, elsewhere], "same encoder and encoder weights, model 3"),
    ):
        with pytest.raises(ModelError, match=says) as caught:
            joined(mismatched)
        assert "\n" not in str(caught.value)
    for members in ("lstm", []):
        with pytest.raises(ModelError, match="ensemble expects members"):
            build_tiny_model(f"ensemble(members={members!r})")
