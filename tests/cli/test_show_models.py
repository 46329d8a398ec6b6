"""`captioner show` and `captioner models`."""

import json
import shutil
from pathlib import Path

from captioner import api
from captioner.cli import main
from captioner.cli import models as models_command


def test_show(tiny_bundle, capsys):
    assert main(["show", str(tiny_bundle)]) == 0
    output = capsys.readouterr().out
    assert "image_size   32 x 32\n" in output and "strategy     beam(width=3)\n" in output
    for words in (
        "10 words and 4 special tokens: a, red",
        "lstm(units=12",
        "CIDEr-D      1.50",
        "Random weights.",
    ):
        assert words in output
    assert main(["show", str(tiny_bundle), "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert fields["model"]["max_length"] == 7 and fields["vocabulary"]["size"] == 14
    assert fields["parameters"]["encoder"] == 8 * (4 * 4 * 3 + 1) + 12 * (2 * 2 * 8 + 1)


def test_show_prints_tables_of_the_default_model(tiny_bundle, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "saved_models" / "default"
    shutil.copytree(tiny_bundle, folder)
    scores = {"CIDEr-D": 58.834, "images": 5, "note": None}
    (folder / "metrics.json").write_text(
        json.dumps({"test": {"weights, run by Keras": scores, "model.tflite": {"CIDEr-D": 9.0}}})
    )
    monkeypatch.chdir(tmp_path)
    assert main(["show"]) == 0
    output = capsys.readouterr().out
    assert "\ntest         weights, run by Keras  model.tflite\n" in output
    assert "\nCIDEr-D                      58.83          9.00\n" in output
    assert "\nimages                           5             -\n" in output
    assert "\nencoder      a Keras Functional of 4 layers: InputLayer, Rescaling, Conv2D, Conv2D\n" in output
    assert "{" not in output
    assert main(["models"]) == 0
    output = capsys.readouterr().out
    assert "models in saved_models:\n" in output and ", CIDEr-D 58.83\n" in output


def test_models_searches_the_default_folder(tmp_path, capsys, monkeypatch):
    """Also outside the repository; the output names the searched folders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models_command, "_tables", dict)
    assert main(["models"]) == 0
    output = capsys.readouterr().out
    assert f"no folder {tmp_path}/saved_models" in output
    default_folder = Path(api.__file__).parents[1] / "saved_models"
    if (default_folder / "default").is_dir():
        assert f"models in {default_folder}:\n  {default_folder}/default" in output
    assert main(["models", "--folder", "mine"]) == 0
    assert capsys.readouterr().out.startswith(f"models in mine:\n  none  no folder {tmp_path}/mine")


def test_models_lists_folders_and_tables(tiny_bundle, capsys):
    from captioner.decoding import RULES, STRATEGIES
    from captioner.models import ATTENTIONS, CELLS, DECODERS, ENCODERS
    from captioner.rerank import RERANKERS

    assert main(["models", "--folder", str(tiny_bundle.parent)]) == 0
    output = capsys.readouterr().out
    assert f"{tiny_bundle}  " in output and "CIDEr-D 1.5" in output
    rows = {line.split()[0] for line in output.splitlines() if line.startswith("  ")}
    for table in (ENCODERS, DECODERS, CELLS, ATTENTIONS, STRATEGIES, RULES, RERANKERS):
        assert set(table.names()) <= rows
