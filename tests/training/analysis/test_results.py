"""The table of results: from the runs alone, a row for all seeds, and a command that trains it again."""

import csv
import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from training import analyze
from training.analysis import results
from training.config import as_dict
from training.recipes import RECIPES
from training.recipes.changes import with_changes

ROOT = Path(__file__).parents[3]
FIGURES = {"BLEU-1": 60.0, "BLEU-4": 20.0, "METEOR": 19.0, "ROUGE-L": 45.0, "unique captions": 80.0}


@pytest.fixture
def finished(tmp_path):
    """Makes a finished run of a recipe: its folder."""

    def make(number, cider, *changes, recipe="flickr8k_device", official=True, memory=1500.0):
        run = with_changes(RECIPES.build(recipe), [*changes, f"seed={number}"])
        folder = tmp_path / f"{recipe}_{len(changes)}_{number}"
        folder.mkdir()
        figures = FIGURES | {"CIDEr-D": 1.0}
        figures |= {f"official {k}": v for k, v in (FIGURES | {"CIDEr-D": cider}).items()} if official else {}
        metrics = {run.evaluation.tests[0]: figures, "seconds": 600.0 * number}
        metrics |= {"memory": memory} if memory else {}
        (folder / "run.json").write_text(json.dumps(as_dict(run)))
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "history.csv").write_text("epoch,loss\n1,2.5\n")
        return folder

    return make


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_seeds_share_a_row_with_their_spread(finished):
    runs = [
        finished(1, 50.0),
        finished(1, 40.0, "data.cached_augmentations=4"),
        finished(2, 53.0),
        finished(3, 56.0),
    ]
    head, _, one, other = map(cells, results.table(runs).splitlines())
    first, second = dict(zip(head, one, strict=True)), dict(zip(head, other, strict=True))
    assert (first["seeds"], first["CIDEr-D"], first["BLEU-4"]) == ("3", "53.0 ± 3.0", "20.0 ± 0.0")
    assert (first["minutes"], first["GB"], first["unique"]) == ("20", "1.5", "80 %")
    assert first["command"] == "`python training/train.py flickr8k_device`"
    assert (second["seeds"], second["CIDEr-D"]) == ("1", "40.0")


def test_seeds_with_other_initial_models_share_a_row(finished):
    starts = [f"model.init_from=runs/best_{seed}/model" for seed in (1, 2)]
    runs = [
        finished(i, 60.0, start, recipe="flickr8k_two_encoders_288_finetune")
        for i, start in enumerate(starts, 1)
    ]
    line = cells(results.table(runs).splitlines()[-1])
    assert (line[2], line[-1]) == ("2", "`python training/train.py flickr8k_two_encoders_288_finetune`")
    alone = finished(3, 60.0, starts[0])
    assert f"--set {starts[0]}" in results.row([alone])


def test_the_command_trains_the_same_again(finished):
    changes = [
        "data.cached_augmentations=4",
        "model.decoder=gru(units=8, tied=True)",
        "xe.mixed_precision=true",
        "scst.learning_rate=5e-5",
    ]
    there = ["data.source=folder(path='here')", "model.encoder=efficientnet_lite0(weights='x y.h5')"]
    run = with_changes(RECIPES.build("flickr8k_device"), [*changes, *there])
    command = results.command(as_dict(run))
    assert command == (
        "python training/train.py flickr8k_device --set data.cached_augmentations=4 "
        '--set model.decoder="gru(units=8, tied=True)" '
        "--set xe.mixed_precision=true --set scst.learning_rate=5e-05"
    )
    changes = [text.strip(' "') for text in command.split("--set")[1:]]
    again = with_changes(RECIPES.build("flickr8k_device"), [text.replace('="', "=") for text in changes])
    assert replace(
        again, data=replace(again.data, source=""), model=replace(again.model, encoder="")
    ) == replace(run, data=replace(run.data, source=""), model=replace(run.model, encoder=""))
    other = with_changes(run, ["model.encoder=mobilenet_v2"])
    assert "--set model.encoder=mobilenet_v2" in results.command(as_dict(other))


def test_unknown_values_are_dashes(finished):
    line = cells(results.row([finished(1, 50.0, official=False, memory=None)]))
    assert line[7] == "1.0" and line[10] == "-"


def test_unknown_recipes_and_folders(finished, tmp_path, capsys):
    folder = finished(1, 50.0)
    config = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(config | {"name": "mine"}))
    assert "`python training/train.py mine`" in results.table([folder])
    assert analyze.main(["results", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "to hold a finished run" in err and err.count("\n") == 1


def test_it_is_written_between_the_marks_alone(finished, tmp_path, capsys):
    page = tmp_path / "README.md"
    page.write_text("above\n<!-- results -->\n<!-- /results -->\nbelow\n")
    assert analyze.main(["results", str(finished(1, 50.0)), "--write", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("above\n<!-- results -->\n| recipe") and text.endswith(
        "|\n<!-- /results -->\nbelow\n"
    )
    assert capsys.readouterr().out.strip() in text
    page.write_text("no marks")
    assert analyze.main(["results", str(tmp_path), "--write", str(page)]) == 2
    assert page.read_text() == "no marks"


def test_rows_of_runs_that_are_not_given_stay(finished, tmp_path, capsys):
    page = tmp_path / "README.md"
    page.write_text("<!-- results -->\n<!-- /results -->\n")
    one, two, other = finished(1, 50.0), finished(2, 54.0), finished(1, 40.0, "data.cached_augmentations=4")
    seen = lambda: [cells(line)[7] for line in page.read_text().splitlines()[3:-1]]  # noqa: E731
    for runs, expected in (
        ([one], ["50.0"]),
        ([other], ["50.0", "40.0"]),
        ([one, two], ["52.0 ± 2.8", "40.0"]),
        ([other], ["52.0 ± 2.8", "40.0"]),
    ):
        assert analyze.main(["results", *map(str, runs), "--write", str(page)]) == 0
        assert seen() == expected
    kept = "<!-- results -->\n| figures of mine |\n|---|\n| 1 |\n<!-- /results -->\n"
    page.write_text(kept)
    capsys.readouterr()
    assert analyze.main(["results", str(one), "--write", str(page)]) == 2
    err = capsys.readouterr().err
    assert "figures of mine" in err and "delete" in err and err.count("\n") == 1
    assert page.read_text() == kept


def test_archived_runs_make_the_same_row(finished, tmp_path, capsys):
    there = ["data.source=folder(path='/there')", "model.encoder=efficientnet_lite0(weights='/there/w.h5')"]
    one, two = finished(1, 50.0, *there), finished(2, 54.0, *there)
    kept = tmp_path / "kept"
    assert analyze.main(["results", str(one), str(two), "--archive-dir", str(kept)]) == 0
    table = capsys.readouterr().out.strip()
    assert results.table(sorted(kept.iterdir())) == table
    assert "there" not in "".join(file.read_text() for file in kept.rglob("*.*"))
    assert {file.name for file in kept.rglob("*.*")} == {"run.json", "metrics.json", "history.csv"}
    other = finished(1, 50.0, "model.encoder=mobilenet_v2")
    assert analyze.main(["results", str(other), "--archive-dir", str(kept)]) == 0
    assert "mobilenet_v2" in (kept / other.name / "run.json").read_text()
    # The same once more is nothing new, another run of that name is not taken in its place.
    assert analyze.main(["results", str(one), "--archive-dir", str(kept)]) == 0
    (one / "metrics.json").write_text((one / "metrics.json").read_text().replace("50.0", "70.0"))
    capsys.readouterr()
    assert analyze.main(["results", str(one), "--archive-dir", str(kept)]) == 2
    err = capsys.readouterr().err
    assert "found another one" in err and err.count("\n") == 1
    assert "70.0" not in (kept / one.name / "metrics.json").read_text()


@pytest.mark.parametrize("page", ["README.md", "training/README.md"])
def test_tables_have_the_rows_of_measured_runs(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for line in results.table(sorted((ROOT / "results").iterdir())).splitlines():
        assert f"\n{line}\n" in text


@pytest.mark.parametrize(("folder", "recipe"), [("sharp", "two_encoders_288"), ("compact", "lite0_cells")])
def test_cells_compared_are_those_of_measured_runs(folder, recipe):
    text = (ROOT / "training" / "README.md").read_text(encoding="utf-8").partition("### Cells compared")[2]
    rows = text.partition(f"\n`flickr8k_{recipe}`")[2].splitlines()
    kept = sorted((ROOT / "results").glob(f"{folder}_*"))
    names = {run.name.rpartition("_")[0].removeprefix(f"{folder}_") for run in kept}
    assert names == {"simple_rnn", "gru", "lstm", "bidirectional"}
    for name in names:
        first_cell = f"| {name.replace('_', ' ')} |".lower()
        line = next(line for line in rows if line.lower().startswith(first_cell))
        shown: list[list[float]] = [[], [], []]
        for run in (run for run in kept if run.name.startswith(f"{folder}_{name}_")):
            config, metrics, figures = results.read(run)
            with open(run / "history.csv", newline="") as file:
                scored = [row["CIDEr-D"] for row in csv.DictReader(file)][: config["xe"]["epochs"]]
            shown[0].append(max(float(value) for value in scored if value))
            shown[1].append(metrics["validation"]["CIDEr-D"])
            shown[2].append(figures["official CIDEr-D"])
        assert all(len(values) == 3 for values in shown)
        assert cells(line)[1:4] == [", ".join(f"{value:.1f}" for value in values) for values in shown]
        assert cells(line)[4].split()[0] == f"{statistics.mean(shown[2]):.1f}"
