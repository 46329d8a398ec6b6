"""Model folders of format 1, whose decoders added a gate's bias twice: code that adds it once keeps their captions."""

import json

import numpy as np
import pytest

import captioner
from captioner import bundle
from captioner.engines.keras import network
from tests.support.models.tiny_model import build_tiny_model

SIZES = "units=6, embedding=5, value_dim=8, attention='additive(units=4)'"
DECODERS = [
    f"adaptive({SIZES}, cell='gru')",
    f"top_down({SIZES}, cell='bidirectional')",
    f"ensemble(members=['adaptive', 'top_down', 'lstm'], {SIZES})",
]
CAPTIONS = [[4, 5, 6, 2], [7, 2], [8, 9, 10, 11, 2]]


def logp(model):
    features = np.random.default_rng(5).normal(size=(3, 16, 12)).astype(np.float32)
    return np.concatenate(model.word_logp(features, CAPTIONS))


def format_of(folder, change=None):
    path = folder / bundle.MANIFEST
    manifest = json.loads(path.read_text())
    if change:
        path.write_text(json.dumps({**manifest, "format": change}))
    return manifest["format"]


@pytest.mark.parametrize("decoder", DECODERS)
def test_its_captions_stay(decoder, tmp_path, monkeypatch):
    model = build_tiny_model(decoder)
    rng = np.random.default_rng(1)
    for weight in model.decoder.weights:
        weight.assign(rng.normal(scale=0.5, size=weight.shape))
    folder = captioner.save(model, tmp_path / "m")
    np.testing.assert_allclose(logp(network(bundle.read(folder))), logp(model), atol=1e-6)
    with monkeypatch.context() as patch:  # format 1 added the bias with the word and with the mean feature
        for module in ("cells", "decoders"):
            patch.setattr(f"captioner.models.{module}.project", lambda dense, x, bias=True: dense(x))
        expected = logp(model)
    assert abs(logp(model) - expected).max() > 0.01
    assert format_of(folder, change=1) == bundle.FORMAT == 2
    loaded = network(bundle.read(folder))
    np.testing.assert_allclose(logp(loaded), expected, atol=1e-5)
    # Saved again it is of this format, and says the same.
    again = captioner.save(loaded, tmp_path / "again")
    assert format_of(again) == bundle.FORMAT
    np.testing.assert_allclose(logp(network(bundle.read(again))), expected, atol=1e-5)
