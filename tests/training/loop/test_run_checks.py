"""Folders that a run may not be written to, and checkpoints that it may not resume from."""

import json

import pytest

from captioner.errors import DataError
from training import train
from training.loop import checkpoint
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick", "no_reports", "unoptimised")

CHANGES = [
    "data.source=synthetic_scenes(train=8, validation=3, test=3, test_unseen=2, size=32)",
    "data.max_vocabulary=20",
    "model.encoder=small_cnn(width=4, stages=1)",
    "model.decoder=lstm(units=8, embedding=8, value_dim=8, attention='additive(units=8)', dropout=0.4)",
    "model.image_size=32",
    "model.max_length=4",
    "model.train_encoder=false",
    "xe.epochs=3",
    "xe.batch_images=4",
    "evaluation.strategy=greedy",
]


def refused(capsys, out, *more):
    arguments = [part for change in CHANGES for part in ("--set", change)]
    assert train.main(["tiny", *arguments, "--out", str(out), *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("train.py: ") and error.count("\n") == 1 and str(out) in error
    return error


def test_foreign_folders_are_never_overwritten(tmp_path, capsys):
    for name, content in (("run.json", "{}"), ("run.json", "no json"), ("thesis.tex", "years of work")):
        out = tmp_path / f"{name}{len(content)}"
        out.mkdir()
        (out / name).write_text(content)
        for more in ([], ["--overwrite"]):
            assert "neither" in refused(capsys, out, *more)
            assert (out / name).read_text() == content
    (tmp_path / "file").write_text("x")
    assert "got a file" in refused(capsys, tmp_path / "file")


def test_overwrite_deletes_after_all_checks(tmp_path):
    out, run = tmp_path / "run", with_changes(RECIPES.build("tiny"), CHANGES)
    train.build(run, out, False).save()
    (out / "old.txt").write_text("of the old run")
    arguments = [part for change in CHANGES for part in ("--set", change)]
    common = ["tiny", *arguments, "--out", str(out), "--overwrite", "--set"]
    for wrong in ("evaluation.tests=nowhere", "evaluation.strategy=beam(width=2, banned=['zeppelin'])"):
        assert train.main([*common, wrong]) == 2
        assert (out / "old.txt").exists() and (out / "checkpoint.npz").exists()
    other = with_changes(run, ["seed=9"])
    train.build(other, out, train.open_run(out, other, overwrite=True))
    assert [path.name for path in out.iterdir()] == ["run.json"]
    assert json.loads((out / "run.json").read_text())["seed"] == 9


def test_changed_captions_are_reported(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    from PIL import Image

    rows = ["image,caption,split"]
    for i, split in enumerate(["train"] * 4 + ["validation", "test"]):
        Image.new("RGB", (16, 16), (40 * i, 9, 9)).save(photos / f"{i}.png")
        rows.append(f"{i}.png,a red dog,{split}")
    table = photos / "captions.csv"
    table.write_text("\n".join(rows))
    source = [f"data.source=folder(path={str(photos)!r})", "evaluation.tests=test"]
    run = with_changes(RECIPES.build("tiny"), [*CHANGES, *source])
    train.build(run, tmp_path / "run", False).save()
    # The same words, images and lengths; only who says what is another.
    table.write_text("\n".join(rows).replace("0.png,a red dog", "0.png,a dog red"))
    with pytest.raises(DataError, match="training captions .* others"):
        train.train(run, tmp_path / "run", True)


def test_damaged_checkpoint_is_one_line(tmp_path, capsys):
    out = tmp_path / "run"
    train.build(with_changes(RECIPES.build("tiny"), CHANGES), out, False).save()
    content = (out / "checkpoint.npz").read_bytes()
    (out / "checkpoint.npz").write_bytes(content[: len(content) // 2])
    assert "is damaged" in refused(capsys, out)


def refused_line(capsys, out, *more):
    arguments = [part for change in CHANGES for part in ("--set", change)]
    assert train.main(["tiny", *arguments, "--out", str(out), *more]) == 2
    return capsys.readouterr().err


def test_failed_start_leaves_no_folder(tmp_path, capsys):
    out = tmp_path / "new" / "run"
    assert "did you mean 'beam'" in refused_line(capsys, out, "--set", "evaluation.strategy=beem")
    assert not (tmp_path / "new").exists()


def test_run_with_wrong_state_is_refused(tmp_path):
    made = train.build(with_changes(RECIPES.build("tiny"), CHANGES), tmp_path / "run", False)
    made.save()
    values, state = checkpoint.read(tmp_path / "run" / "checkpoint.npz")
    for change, says in (({"epoch": "3"}, "damaged"), ({"stage": 7}, "another")):
        checkpoint.write(tmp_path / "run" / "checkpoint.npz", values, {**state, **change})
        with pytest.raises(DataError, match=says):
            made.restore()
