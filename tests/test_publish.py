"""The program that makes a model for others out of a finished run."""

import json
import shutil

import pytest
import zoo

pytest.importorskip("ai_edge_litert")

import captioner
from captioner import benchmark, bundle
from training import publish
from training.config import as_dict
from training.datasets import DATASETS
from training.datasets.example import Example
from training.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("quick")
SAID = {
    "dog.jpg": ("a dog runs", "a red dog"),
    "cat.jpg": ("a cat sits", "the blue cat"),
    "sea.jpg": ("the grass",),
}


class Drawn:
    splits = ("test",)

    def examples(self, split):
        return [
            Example(name, said, lambda i=i: zoo.encoded(zoo.drawn(32, 32, turn=60 * i), "PNG"))
            for i, (name, said) in enumerate(SAID.items())
        ]


@pytest.fixture
def run(tiny_bundle, tmp_path, monkeypatch):
    """A finished run, and a benchmark that takes no time."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_bundle, folder / "model")
    (folder / "calibration").mkdir()
    for i in range(16):
        picture = zoo.encoded(zoo.drawn(32, 32, turn=20 * i), "PNG")
        (folder / "calibration" / f"{i}.png").write_bytes(picture)
    (folder / "run.json").write_text(json.dumps(as_dict(RECIPES.build("tiny"))))
    monkeypatch.setattr(DATASETS, "build", lambda spec: Drawn())
    monkeypatch.setattr(
        benchmark,
        "cost",
        lambda source, pictures, threads: benchmark.Cost(
            source, "x", 1.25, 0.5, 9.0, (0.002, 0.004), 10.0, "a dog"
        ),
    )
    return folder


def test_a_run_becomes_a_model_for_others(run, tmp_path, capsys):
    (tmp_path / "notes.md").write_text("## Notes\n\nIt knows dogs.\n")
    folder = tmp_path / "models" / "mine"
    arguments = [str(run), str(folder), "drawn", "--no-official", "--strategy", "beam(width=2, min_length=2)"]
    assert publish.main([*arguments, "--notes", str(tmp_path / "notes.md")]) == 0
    assert "MB in all" in capsys.readouterr().out
    names = {"1", bundle.MANIFEST, bundle.WEIGHTS, bundle.VOCABULARY, bundle.CARD, bundle.METRICS}
    assert {p.name for p in folder.iterdir()} == names | {"model_float16.tflite", "model_int8.tflite"}
    measured = json.loads((folder / bundle.METRICS).read_text())["test"]
    assert list(measured) == [
        "weights, run by Keras",
        "SavedModel",
        "model_float16.tflite",
        "model_int8.tflite",
    ]
    card = bundle.read(folder).card
    assert card.startswith("# mine\n") and card.endswith("## Notes\n\nIt knows dogs.\n")
    for row in measured.values():
        assert row["median"] == 4.0 and row["megabytes"] in (1.2, 1.3) and row["error"] >= 0
        assert f"{row['CIDEr-D']:.1f} ± {row['error']:.1f}" in card
    # Rounded once, when it was saved: all that was exported says the same.
    assert measured["SavedModel"]["BLEU-1"] == measured["weights, run by Keras"]["BLEU-1"]
    picture = zoo.encoded(zoo.drawn(32, 32), "PNG")
    strategy = "beam(width=2, min_length=2)"
    with captioner.load(folder) as whole, captioner.load(folder / "1") as exported:
        assert whole.caption(picture, strategy).text == exported.caption(picture).text
    # Nothing that is there is touched.
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert publish.main(arguments) == 2
    assert "is there already" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        ("calibration", "to be a finished run"),
        ("run.json", "to be a finished run"),
        ("model", "no such model"),
    ],
)
def test_what_is_no_finished_run(run, tmp_path, capsys, lacks, says):
    target = run / lacks
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert publish.main([str(run), str(tmp_path / "mine"), "drawn", "--no-official"]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
    assert not (tmp_path / "mine").exists()
