"""`evaluate.py` scores the model folder of a run as the training did, with any strategy and on any split."""

import json
from pathlib import Path

import PIL.Image
import pytest

import captioner
from tests.support.training.short_runs import CHANGES, SOURCE
from training import evaluate, train
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def trained(quick):
    """The folder of a finished run; its feature cache is beside it."""
    out = Path("run").absolute()
    run = with_changes(RECIPES.build("tiny"), CHANGES)
    train.train(run, out, False)
    return out


def score(capsys, *options):
    code = evaluate.main([*options])
    out, err = capsys.readouterr()
    return code, out, err


def test_evaluate_agrees_with_training(trained, tmp_path, capsys):
    predictions = tmp_path / "said.json"
    common = [str(trained / "model"), SOURCE, "--strategy", "greedy", "--json"]
    code, out, err = score(capsys, *common, "--predictions", str(predictions))
    assert code == 0 and "5 images, features cached" in err
    result, metrics = json.loads(out), json.loads((trained / "metrics.json").read_text())["test"]
    assert result["split"] == "test" and result["images"] == 5
    assert result["metrics"]["greedy"] == pytest.approx(metrics)
    assert json.loads(predictions.read_text()) == json.loads((trained / "predictions_test.json").read_text())
    # Without the cache the same, as far as float16 goes.
    code, out, err = score(
        capsys, *common, "--features", str(tmp_path / "none"), "--predictions", str(predictions)
    )
    assert code == 0 and "images read" in err and not (tmp_path / "none").exists()
    assert set(json.loads(predictions.read_text())) == {f"test-{i:06d}" for i in range(5)}
    assert json.loads(out)["metrics"]["greedy"].keys() == metrics.keys()


def test_evaluate_takes_what_was_exported(trained, tmp_path, capsys):
    pytest.importorskip("ai_edge_litert")
    lite = captioner.export(trained / "model", ["tflite"], output_dir=tmp_path)["tflite"]
    common = [SOURCE, "--strategy", "greedy", "--json", "--features", str(tmp_path / "none")]
    figures = []
    for model in (lite, trained / "model"):
        code, out, err = score(capsys, str(model), *common)
        assert code == 0 and "5 images, images read" in err
        figures.append(json.loads(out)["metrics"]["greedy"])
    assert figures[0] == pytest.approx(figures[1])


def test_evaluate_uses_the_strategy_of_the_model(trained, tmp_path, capsys):
    with captioner.load(trained / "model") as loaded:
        loaded.engine.model.strategy = "greedy(min_length=2)"
        folder = captioner.save(loaded.engine.model, tmp_path / "own")
    for model, strategy in ((folder, "greedy(min_length=2)"), (trained / "model", "beam(width=3)")):
        code, out, _ = score(capsys, str(model), SOURCE, "--json")
        assert code == 0 and list(json.loads(out)["metrics"]) == [strategy]


def test_training_saves_representative_images(trained):
    paths = sorted((trained / "calibration").iterdir())
    assert 0 < len(paths) <= 128
    with PIL.Image.open(paths[0]) as image:
        assert image.size == (32, 32)


def test_evaluate_compares_strategies_on_any_split(trained, capsys):
    specs = ["greedy", "beam(width=2)", "beam(width=1)"]
    options = [part for spec in specs for part in ("--strategy", spec)]
    code, out, _ = score(
        capsys, str(trained / "model"), SOURCE, "--split", "validation", "--limit", "2", *options
    )
    lines = out.splitlines()
    assert code == 0 and [line.split("  ")[0] for line in lines] == ["strategy", *specs]
    names = [name for name in lines[0].split("  ") if name.strip()]
    assert {"CIDEr-D", "BLEU-4", "exact match"} <= {name.strip() for name in names}
    rows = dict(zip(specs, (line.split()[1:] for line in lines[1:]), strict=True))
    assert rows["greedy"] == rows["beam(width=1)"] and all(
        len(row) == len(names) - 1 for row in rows.values()
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["no/model", SOURCE], "no/model"),
        (["MODEL", "synthetic_scene"], "did you mean 'synthetic_scenes'"),
        (["MODEL", "folder(path='no')"], "found no such folder"),
        (["MODEL", SOURCE, "--split", "tset"], "'tset'"),
        (["MODEL", SOURCE, "--strategy", "beem"], "did you mean 'beam'"),
        (["MODEL", SOURCE, "--limit", "-1"], "--limit expects a whole number of at least 0"),
        (
            ["MODEL", SOURCE, "--strategy", "greedy", "--strategy", "beam", "--predictions", "x"],
            "one --strategy",
        ),
        (["MODEL", SOURCE, "--limit", "1", "--predictions", "MODEL/captioner.json/x"], "captioner.json"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_evaluate_reports_wrong_input(options, says, trained, capsys):
    words = [option.replace("MODEL", str(trained / "model")) for option in options]
    code, out, err = score(capsys, *words)
    last = err.splitlines()[-1]
    assert code == 2 and out == "" and last.startswith("evaluate.py: ") and says in last
    assert "Traceback" not in err
