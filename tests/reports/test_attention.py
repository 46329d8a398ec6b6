"""Attention, from predictions to reports."""

import json

import numpy as np
import pytest

from captioner import api
from captioner.caption_files import read_predictions
from captioner.cli import caption as caption_command
from captioner.cli import main
from captioner.engines.fake import FakeEngine
from captioner.errors import DataError
from captioner.types import Caption
from tests.support.report_inputs import read_report


def test_attention_from_the_command_to_the_report(tmp_path, photos, capsys, monkeypatch):
    monkeypatch.setattr(caption_command, "load", lambda source: api.Captioner(FakeEngine()))
    assert main(["caption", str(photos), "--json", "--attention"]) == 0
    text = capsys.readouterr().out
    rows = [json.loads(line) for line in text.splitlines()]
    assert all(value == round(value, 4) for value in np.ravel(rows[0]["attention"]))
    (tmp_path / "p.jsonl").write_text(text)
    predictions = read_predictions(str(tmp_path / "p.jsonl"))
    for row in rows:
        caption, again = api.Captioner(FakeEngine()).caption(row["image"]), predictions[row["image"]]
        assert again.words == caption.words and again.word_logp == caption.word_logp
        assert again.attention == pytest.approx(caption.attention, abs=6e-5)
    (tmp_path / "refs.json").write_text(json.dumps({name: ["a small red dog"] for name in predictions}))
    files = [str(tmp_path / "p.jsonl"), str(tmp_path / "refs.json")]
    assert main(["evaluate", *files, "--html", str(tmp_path / "r.html")]) == 0
    assert read_report(tmp_path / "r.html")[1]["attention"] == [12]


def test_attention_needs_json(tmp_path, photos, capsys, monkeypatch):
    monkeypatch.setattr(caption_command, "load", lambda source: api.Captioner(FakeEngine()))
    assert main(["caption", str(photos), "--attention"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["caption", str(photos / "1.png"), "--json"]) == 0
    assert "attention" not in json.loads(capsys.readouterr().out)
    monkeypatch.setattr(
        FakeEngine, "_caption", staticmethod(lambda image, spec: Caption("a dog", words=("a", "dog")))
    )
    assert main(["caption", str(photos / "1.png"), "--json", "--attention"]) == 0
    assert json.loads(capsys.readouterr().out)["attention"] is None


FINE = {"image": "1.jpg", "caption": "a dog", "words": ["a", "dog"], "word_logp": [-1, -2.5]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"words": None}, "expected words, a list of strings"),
        ({"words": ["a", 7]}, "expected words, a list of strings"),
        ({"word_logp": [-1]}, "expected word_logp, 2 log-probabilities"),
        ({"word_logp": [-1, "x"]}, "expected word_logp"),
        ({"word_logp": [-1, 20]}, "expected word_logp"),
        ({"word_logp": [-1, float("nan")]}, "not a line of JSON: NaN"),
        ({"attention": [[[0.5]]]}, "expected attention, 2 maps"),
        ({"attention": [[0.5], [0.5]]}, "expected attention"),
        ({"attention": [[[0.5]], [[0.5, 0.5]]]}, "expected attention"),
        ({"attention": [[["x"]], [["y"]]]}, "expected attention"),
        ({"attention": [[[-0.5]], [[0.5]]]}, "expected attention"),
        ({"attention": [[[float("inf")]], [[0.5]]]}, "not a line of JSON: Infinity"),
        ({"attention": [[], []]}, "expected attention"),
        ({"attention": "x"}, "expected attention"),
    ],
)
def test_malformed_attention_names_its_line(tmp_path, change, words):
    row = FINE | {"attention": [[[0.5, 0.5]], [[0.1, 0.9]]]}
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row))
    assert read_predictions(str(path))["1.jpg"].attention.shape == (2, 1, 2)
    path.write_text(json.dumps(FINE | {"image": "0.jpg"}) + "\n" + json.dumps(row | change))
    with pytest.raises(DataError, match=f"p.jsonl:2: {words}") as caught:
        read_predictions(str(path))
    assert "\n" not in str(caught.value)


def test_attention_is_optional(tmp_path):
    path = tmp_path / "p.jsonl"
    for more in ({}, {"attention": None}, {"words": 5}, {"attention": [], "words": []}):
        path.write_text(json.dumps(FINE | more))
        assert read_predictions(str(path))["1.jpg"].attention is None
