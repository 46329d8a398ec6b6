"""`captioner caption` with a model that knows which images are unlike those it was trained on."""

import json

import pytest

import captioner
from captioner import api
from captioner.caption_files import read_predictions
from captioner.cli import caption as caption_command
from captioner.cli import main
from tests.support.models.outcomes import JudgingEngine

DECLINED = {
    "en": "no caption: unlike anything this model was trained on",
    "de": "keine Beschreibung: anders als alles, woran dieses Modell gelernt hat",
    "fr": "(?)",
}
HEDGE = {"en": "Perhaps: ", "de": "Vielleicht: ", "fr": "(?) "}


@pytest.fixture
def use_engine(monkeypatch):
    """Captions of the command come from a `JudgingEngine` of a language."""

    def use(language="en"):
        engine = JudgingEngine(language)
        monkeypatch.setattr(caption_command, "load", lambda source: api.Captioner(engine))

    return use


@pytest.mark.parametrize("language", DECLINED)
def test_lines_of_text(use_engine, folder, capsys, language):
    use_engine(language)
    assert main(["caption", str(folder)]) == 0
    out, err = capsys.readouterr()
    plain, other, hedged, another, declined = out.splitlines()
    assert plain.startswith(f"{folder / 'a.jpg'}: a ") and other == another == "    another one"
    assert hedged.startswith(f"{folder / 'b.png'}: {HEDGE[language]}a ")
    # Alternatives of an image that is declined are not listed.
    assert declined == f"{folder / 'c.GIF'}: {DECLINED[language]}" and err == ""


def test_json_has_the_sentence_and_what_to_show(use_engine, folder, tmp_path, capsys):
    use_engine()
    assert main(["caption", "--json", str(folder)]) == 0
    out = capsys.readouterr().out
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["outcome"] for row in rows] == ["caption", "hedged", "declined"]
    assert [row["ood_score"] for row in rows] == [1.25, 2.5, 3.75]
    assert all(row["caption"] == " ".join(row["words"]) for row in rows)
    sentences = [row["caption"] for row in rows]
    assert [row["text"] for row in rows] == [sentences[0], f"Perhaps: {sentences[1]}", DECLINED["en"]]
    # Evaluation scores the sentences.
    path = tmp_path / "predictions.jsonl"
    path.write_text(out)
    assert [caption.text for caption in read_predictions(path).values()] == sentences


def test_json_of_other_models_is_as_before(fake_engine, folder, capsys):
    assert main(["caption", "--json", str(folder / "a.jpg")]) == 0
    assert not {"text", "outcome", "ood_score"} & set(json.loads(capsys.readouterr().out))


def test_alternative_texts(use_engine, folder, capsys):
    use_engine()
    assert main(["caption", "--alt-text", "--json", str(folder)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["flagged"] for row in rows] == [False, True, True]
    assert rows[1]["alt_text"].startswith("Perhaps: A ")
    assert rows[2]["alt_text"] == "No caption: unlike anything this model was trained on."
    use_engine("de")
    assert main(["caption", "--alt-text", "--max-chars", "24", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].endswith(": Keine Beschreibung.")


def test_metrics_score_sentences(folder):
    engine = JudgingEngine()
    with api.Captioner(engine) as model:
        captions = [model.caption(folder / name) for name in ("a.jpg", "b.png", "c.GIF")]
    references = [[caption.caption] for caption in captions]
    assert captions[2].text != captions[2].caption
    assert captioner.evaluate(captions, references)["BLEU-1"] == pytest.approx(100)
