"""Models that write Chinese and Arabic: folder, captions, alternative texts, output and files of captions."""

import json

import PIL.Image
import pytest

import captioner
from captioner import bundle
from captioner.cli import main
from captioner.text.normalize import unspaced
from tests.support.captions_of_languages import ARABIC_WORDS, CHINESE_WORDS

VOCABULARIES = {"zh": CHINESE_WORDS, "ar": ARABIC_WORDS}
FULL_STOPS = {"zh": "。", "ar": "."}


@pytest.fixture(scope="module", params=VOCABULARIES)
def model_folder(request, tmp_path_factory):
    """The code of a language, and a model folder whose captions are in it."""
    from tests.support.models.tiny_model import build_tiny_model

    model = build_tiny_model(words=VOCABULARIES[request.param])
    model.language = request.param
    return request.param, captioner.save(model, tmp_path_factory.mktemp("models") / request.param)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    PIL.Image.new("RGB", (40, 40), "red").save(path)
    return path


def test_captions_of_a_script(model_folder, photo, capsys):
    code, folder = model_folder
    assert bundle.read(folder).language == code
    with captioner.load(folder) as model:
        assert model.language == code
        caption = model.caption(photo, "beam(width=3, min_length=5)")
        alt = model.alt_text(photo, strategy="beam(width=3, min_length=5)").text
    assert len(caption.words) >= 4 and set(caption.words) <= set(VOCABULARIES[code])
    assert caption.text == ("" if code == "zh" else " ").join(caption.words)
    assert all(map(unspaced, caption.words)) == (code == "zh")
    assert alt == caption.text + FULL_STOPS[code]
    options = ["--model", str(folder), "--strategy", "beam(width=3, min_length=5)"]
    assert main(["caption", str(photo), *options]) == 0
    assert capsys.readouterr().out == caption.text + "\n"
    assert main(["caption", str(photo), *options, "--alt-text", "--json"]) == 0
    line = capsys.readouterr().out
    assert caption.text in line  # not escaped
    row = json.loads(line)
    assert (row["caption"], row["words"], row["alt_text"]) == (caption.text, list(caption.words), alt)


def test_a_tflite_file_knows_the_language(model_folder, photo, capsys):
    code, folder = model_folder
    path = captioner.export(folder, ["tflite"], strategy="beam(width=3, min_length=5)")["tflite"]
    with captioner.load(path) as model:
        assert model.language == code
    assert main(["caption", str(photo), "--model", str(path), "--alt-text"]) == 0
    assert capsys.readouterr().out.endswith(f"{FULL_STOPS[code]}\n")


def test_captions_of_a_script_are_scored(model_folder, photo, tmp_path, capsys):
    code, folder = model_folder
    strategy = ["--strategy", "beam(width=3, min_length=5)"]
    assert main(["caption", str(photo), "--model", str(folder), *strategy, "--json"]) == 0
    line = capsys.readouterr().out
    (tmp_path / "predictions.jsonl").write_text(line, encoding="utf-8")
    text = json.loads(line)["caption"]
    references = tmp_path / "references.csv"
    rows = f"image,caption\r\nphoto.png,{text}{FULL_STOPS[code]}\r\n"
    references.write_text(rows, encoding="utf-8-sig")
    files = [str(tmp_path / "predictions.jsonl"), str(references)]
    metrics = ["--metric", "exact_match", "--metric", "bad_endings"]
    assert main(["evaluate", *files, *metrics, "--language", code, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"exact match": 100.0}
    assert f"no bad endings: the function words of '{code}' are not known" in err
