"""Learning curves: which runs are trained, which are kept, and what is written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import captioner
from tests.support.training import photo_folders
from tests.support.training.photo_folders import SHORT, photos
from training import learning_curve, train
from training.analysis.curves import CONSTANT
from training.data.datasets import DATASETS
from training.recipes.sizing import hold_out

pytestmark = pytest.mark.usefixtures("quick", "no_reports", "unoptimised")


@pytest.fixture(scope="module")
def start(quick):
    return photo_folders.start_model(Path("start").absolute())


@pytest.fixture(scope="module")
def data(quick):
    """The spec of a folder with 14 images to train on and 7 to test on."""
    return f"folder(path='{photos(Path('photos').absolute(), 21, split='test')}')"


def in_process(recipe, folder, changes):
    return train.main([recipe, "--out", str(folder), *(p for change in changes for p in ("--set", change))])


class Trained:
    """Stands for `train.py`: writes what a finished run leaves, and remembers what was asked for.

    Args:
        codes: dict of the name of a run's folder to its exit code; 0 otherwise.
    """

    def __init__(self, **codes):
        self.codes, self.runs = codes, []

    def __call__(self, recipe, folder, changes):
        self.runs.append((folder.name, recipe, list(changes)))
        if code := self.codes.get(folder.name, 0):
            return code
        (folder / "model").mkdir(parents=True)
        images = int(folder.name.split("_")[1])
        metrics = {"epoch": 1, "test": {"CIDEr-D": float(images), "BLEU-4": 1.0}}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return 0

    @property
    def names(self):
        return [name for name, *_ in self.runs]


@pytest.fixture
def trained(monkeypatch):
    def stand_in(**codes):
        made = Trained(**codes)
        monkeypatch.setattr(learning_curve, "_train", made)
        return made

    return stand_in


def rows(out):
    """Images, start and seed of the runs; the best constant caption of each size and seed comes after them."""
    with (out / "curve.csv").open(newline="") as file:
        table = [(int(row["images"]), row["start"], int(row["seed"])) for row in csv.DictReader(file)]
    runs = [row for row in table if row[1] != CONSTANT]
    drawings = dict.fromkeys((images, seed) for images, _, seed in runs)
    assert table == [*runs, *((images, CONSTANT, seed) for images, seed in drawings)]
    return runs


# Real runs.


@pytest.mark.slow
def test_two_sizes(start, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(learning_curve, "_train", in_process)
    settings = [part for change in [*SHORT, "xe.epochs=1"] for part in ("--set", change)]
    words = [data, "--model", str(start), "--begin", "adapted", "--sizes", "10,all", *settings]
    assert learning_curve.main([*words, "--out", str(tmp_path)]) == 0
    assert rows(tmp_path) == [(10, "adapted", 1), (14, "adapted", 1)]
    assert (tmp_path / "curve.png").stat().st_size > 5000
    text = (tmp_path / "curve.md").read_text()
    assert text in capsys.readouterr().out and "\n| 10 | " in text and "\n| 14 | " in text
    sets = []
    for size in (10, 14):
        run = json.loads((tmp_path / f"adapted_{size}_1" / "run.json").read_text())
        assert run["name"] == "own" and run["data"]["images"] == size
        assert run["data"]["hold_out"] == hold_out(size) and run["evaluation"]["tests"] == ["test"]
        predictions = json.loads((tmp_path / f"adapted_{size}_1" / "predictions_test.json").read_text())
        sets.append(predictions if isinstance(predictions, dict) else {p["image"] for p in predictions})
        assert captioner.load(tmp_path / f"adapted_{size}_1" / "model")
    assert len(sets[0]) == 7 and set(sets[0]) == set(sets[1]), "the test images are the same for all"


def test_runs_are_programs_of_their_own(start, data, tmp_path, capsys):
    """Here they end before TensorFlow is imported; the reason is in their log files."""
    words = [data, "--model", str(start), "--begin", "adapted", "--sizes", "10", "--set", "xe.epoch=1"]
    assert learning_curve.main([*words, "--out", str(tmp_path / "out")]) == 2
    *lines, last = [line for line in capsys.readouterr().err.splitlines() if "learning_curve.py" in line]
    assert not lines and "expected runs that finish, all 1 failed" in last
    log = (tmp_path / "out" / "adapted_10_1.log").read_text()
    assert "train.py: " in log and "did you mean 'xe.epochs'" in log and "Traceback" not in log


@pytest.mark.slow
def test_a_run_in_a_program_of_its_own(start, data, tmp_path):
    settings = [part for change in [*SHORT, "xe.epochs=1"] for part in ("--set", change)]
    words = [data, "--model", str(start), "--begin", "adapted", "--sizes", "10", *settings]
    assert learning_curve.main([*words, "--out", str(tmp_path)]) == 0
    assert rows(tmp_path) == [(10, "adapted", 1)] and captioner.load(tmp_path / "adapted_10_1" / "model")


# Which runs.


def test_every_size_start_and_seed(data, tmp_path, trained):
    made = trained()
    words = [data, "--model", "m", "--sizes", "14,10", "--seeds", "2", "--set", "xe.epochs=3"]
    assert learning_curve.main([*words, "--out", str(tmp_path)]) == 0
    assert made.names == [f"{s}_{n}_{i}" for n in (10, 14) for s in ("adapted", "scratch") for i in (1, 2)]
    assert len(rows(tmp_path)) == 8
    _, recipe, changes = made.runs[-1]
    assert recipe == "scratch" and made.runs[0][1] == "own"
    assert changes == [
        f"data.source={data}", "model.init_from=m", "xe.epochs=3", "data.images=14", "data.hold_out=2", "seed=2",
    ]  # fmt: skip


def test_sizes_when_none_are_named(data, tmp_path, trained):
    made = trained()
    assert learning_curve.main([data, "--begin", "adapted", "--out", str(tmp_path)]) == 0
    assert made.names == ["adapted_14_1"], "50 would be more than there are; all are the last size"
    assert learning_curve._sizes(None, 301) == [50, 100, 300, 301]
    assert learning_curve._sizes(None, 300) == [50, 100, 300]
    assert learning_curve._sizes("300, 50,all,50", 700) == [50, 300, 700]


def test_a_folder_is_recognised(tmp_path, trained, monkeypatch):
    """Its test split is drawn from its images, and every run reads the folder in the same way."""
    made, place, specs = trained(), photos(tmp_path / "photos", 21), []
    build = DATASETS.build

    def recognised(spec):
        specs.append(spec)
        assert spec.startswith("auto(")
        return build(f"folder(path='{place}', validation=0, test=0.3)")

    monkeypatch.setattr(DATASETS, "build", recognised)
    words = [str(place), "--test", "0.3", "--begin", "adapted", "--sizes", "5"]
    assert learning_curve.main([*words, "--out", str(tmp_path / "out")]) == 0
    assert specs == [f"auto(path='{place}', validation=0, test=0.3)"]
    assert made.runs[0][2][0] == f"data.source={specs[0]}"


def test_a_failed_run_is_counted_and_the_rest_goes_on(data, tmp_path, trained, capsys):
    made = trained(adapted_10_1=2)
    words = [data, "--sizes", "10,12,14", "--begin", "adapted", "--out", str(tmp_path)]
    assert learning_curve.main(words) == 1
    assert made.names == ["adapted_10_1", "adapted_12_1", "adapted_14_1"]
    assert rows(tmp_path) == [(12, "adapted", 1), (14, "adapted", 1)]
    failed = tmp_path / "adapted_10_1"
    assert f"{failed}: failed, see {failed}.log" in capsys.readouterr().err
    again = trained()
    assert learning_curve.main(words) == 0
    assert again.names == ["adapted_10_1"], "finished runs are kept"
    assert len(rows(tmp_path)) == 3


def test_all_failed(data, tmp_path, trained, capsys):
    trained(adapted_10_1=2, adapted_14_1=1)
    words = [data, "--sizes", "10,14", "--begin", "adapted", "--out", str(tmp_path)]
    assert learning_curve.main(words) == 2
    assert (
        f"expected runs that finish, all 2 failed: see the .log files in {tmp_path}"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("code", [-2, 130, 143, 129, -15])
def test_ctrl_c_ends_all(code, data, tmp_path, trained, capsys):
    made = trained(adapted_12_1=code)
    words = [data, "--sizes", "10,12,14", "--begin", "adapted", "--out", str(tmp_path)]
    assert learning_curve.main(words) == 130
    assert made.names == ["adapted_10_1", "adapted_12_1"] and not (tmp_path / "curve.csv").exists()
    error = capsys.readouterr().err
    assert "stopped; run the same command again to go on" in error and "failed" not in error
    again = trained()
    assert learning_curve.main(words) == 0
    assert again.names == ["adapted_12_1", "adapted_14_1"]


# Mistakes.


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds", "0"], "--seeds expects a whole number of at least 1, got 0"),
        (["--test", "1.5"], "--test expects a number from 0 to 1, got 1.5"),
        (["--begin", "adapted,nothing"], "expected --begin of adapted, scratch, got 'nothing'"),
        (["--sizes", "ten"], "expected --sizes as numbers with commas between them, or all, got 'ten'"),
        (["--sizes", "0,10"], "expected --sizes from 1 to 14, the training images there are, got 0,10"),
        (["--sizes", "10,15"], "got 10,15"),
    ],
)
def test_wrong_options_are_one_line(words, says, data, tmp_path, trained, capsys):
    made = trained()
    assert learning_curve.main([data, *words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("learning_curve.py: ") and error.count("\n") == 1 and says in error
    assert not made.runs and not (tmp_path / "out").exists()


def test_without_a_test_split_it_is_one_line(tmp_path, trained, capsys):
    made, place = trained(), photos(tmp_path / "photos")
    assert learning_curve.main([f"folder(path='{place}', validation=0, test=0)"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "test" in error and not made.runs


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("no/photos", "expected a folder of images and captions, got 'no/photos', which does not exist"),
        ("photo", "expected a folder of images and captions, got 'photo', which does not exist"),
        ("foldr(path='photos')", "did you mean 'folder'"),
    ],
)
def test_no_such_data_are_one_line(data, says, trained, capsys):
    assert learning_curve.main([data]) == 2
    error = capsys.readouterr().err
    assert error.startswith("learning_curve.py: ") and error.count("\n") == 1 and says in error
