"""Stopping and going on: a run that was stopped anywhere ends as one that never was."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from captioner import signals
from captioner.engines.keras import KerasEngine
from captioner.errors import DataError
from captioner.models import CaptionModel
from training import train
from training.config import with_changes
from training.loop import checkpoint, trainer
from training.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("quick", "no_reports", "unoptimised")

# 8 images of 6 captions are 16 groups of 3, 4 steps an epoch; 10 steps in all. Everything that has a state is on:
# dropout, the average of weights, the schedule, and the encoder's statistics where it is trained.
CHANGES = [
    "data.source=synthetic_scenes(train=8, validation=3, test=3, test_unseen=2, size=32)",
    "data.max_vocabulary=20",
    "data.captions_per_image=3",
    "model.encoder=small_cnn(width=4, stages=1)",
    "model.decoder=lstm(units=8, embedding=8, value_dim=8, attention='additive(units=8)', dropout=0.4)",
    "model.image_size=32",
    "model.max_length=4",
    "model.train_encoder=false",
    "xe.epochs=3",
    "xe.batch_images=4",
    "xe.ema_momentum=0.9",
    "xe.warmup=0.3",
    "xe.weight_decay=0.01",
    "xe.label_smoothing=0.1",
    "evaluation.strategy=greedy",
    "evaluation.every=1",
    "checkpoint_minutes=60",
]


FRESH = {
    "epoch": 0, "step": 0, "best": -math.inf, "best_epoch": 0, "epochs_without_improvement": 0,
    "seconds": 0.0, "loss": 0.0, "losses": 0, "metrics": {}, "epoch_done": False, "finished": False, "stage": 0,
    "memory": 0.0,
}  # fmt: skip


class Crash(BaseException):
    """Ends a run as a power cut does: nothing gets to tidy up after it."""


@pytest.fixture(scope="module")
def built(quick):
    """`train.build` that builds a network once and then puts it back to its first values: tracing takes seconds."""
    real, known = train.build, {}

    def build(run, out, resume):
        key = (run.data.source, run.model.train_encoder, run.xe.epochs)
        if key not in known:
            made = real(run, out, resume)
            known[key] = made, [variable.numpy() for variable in made._variables()]
            return made
        made, values = known[key]
        for variable, value in zip(made._variables(), values, strict=True):
            variable.assign(value)
        trainer.write_run(out, run)
        made.run, made.out, made.run_logger = run, out, trainer.RunLogger(out)
        made.state = {**FRESH}
        return made

    return build


@pytest.fixture
def make(monkeypatch, built):
    """Runs a training to its end or to where it is made to stop; how many steps it did."""
    real_step = CaptionModel.train_on_batch

    def run_it(out, *changes, stop=None, at=0):
        run = with_changes(RECIPES.build("tiny"), [*CHANGES, *changes])
        real_score, steps, scorings = trainer.score, [], []

        def step(self, *arguments, **more):
            steps.append(1)
            now = len(steps) == at
            if now and stop == "Ctrl-C before":
                signal.raise_signal(signal.SIGINT)
            if now and stop == "crash before":
                raise Crash
            result = real_step(self, *arguments, **more)
            if now and stop == "Ctrl-C after":
                signal.raise_signal(signal.SIGINT)
            if now and stop == "crash after":
                raise Crash
            return result

        def score(*arguments, **more):
            scorings.append(1)
            if stop == "Ctrl-C while scoring" and len(scorings) == at:
                signal.raise_signal(signal.SIGINT)
            result = real_score(*arguments, **more)
            if stop == "crash after scoring" and len(scorings) == at:
                monkeypatch.setattr(trainer.Trainer, "save", crash)
            return result

        def crash(self):
            raise Crash

        def record(*arguments):
            if stop == "Ctrl-C after scoring" and len(scorings) == at:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(CaptionModel, "train_on_batch", step)
            patch.setattr(trainer, "score", score)
            patch.setattr(train, "build", built)
            patch.setattr(trainer, "record", record)
            save = trainer.Trainer.save
            try:
                train.train(run, out, train.open_run(out, run, overwrite=False))
            except (KeyboardInterrupt, Crash):
                assert stop
                return len(steps)
            finally:
                monkeypatch.setattr(trainer.Trainer, "save", save)
        assert not stop, f"never got to {stop} {at}"
        return len(steps)

    return run_it


FROZEN, TRAINED = (), ("model.train_encoder=true",)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, quick, no_reports, built):
    """Folders of runs that were never stopped; the first is of a network that nothing else uses."""
    made = {}

    def get(changes):
        if changes not in made:
            out = tmp_path_factory.mktemp("uninterrupted") / "run"
            run = with_changes(RECIPES.build("tiny"), [*CHANGES, *changes])
            with pytest.MonkeyPatch.context() as patch:
                if changes != FROZEN:
                    patch.setattr(train, "build", built)
                train.train(run, out, False)
            made[changes] = out
        return made[changes]

    return get


def history(out):
    with (out / "history.csv").open(newline="") as handle:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(handle)]


def check_same(one, other):
    """Two runs agree: every figure of every epoch, and everything that a checkpoint holds."""
    rows, more = history(one), history(other)
    assert [row["epoch"] for row in rows] == [row["epoch"] for row in more] == ["1", "2", "3"]
    for row, twin in zip(rows, more, strict=True):
        assert row.keys() == twin.keys()
        for name in row:
            assert float(row[name]) == pytest.approx(float(twin[name]), rel=1e-5), (row["epoch"], name)
    for name in ("checkpoint.npz", "best.npz"):
        (arrays, state), (others, twin) = checkpoint.read(one / name), checkpoint.read(other / name)
        for array, (key, value) in zip(others.values(), arrays.items(), strict=True):
            np.testing.assert_allclose(array, value, rtol=1e-4, atol=1e-6, err_msg=f"{name} {key}")
        drop = {"seconds", "loss", "best", "memory"}
        assert {k: v for k, v in state.items() if k not in drop} == {
            k: v for k, v in twin.items() if k not in drop
        }
    for name in ("predictions_test.json", "predictions_test_unseen.json", "samples.txt"):
        assert (one / name).read_text() == (other / name).read_text()


def test_checkpoint_holds_all_that_changes(uninterrupted):
    arrays, state = checkpoint.read(uninterrupted(FROZEN) / "checkpoint.npz")
    names = [name.split(":")[1] for name in arrays]
    assert any("seed_generator" in name for name in names), "dropout"
    assert any("average" in name for name in names), "the average of weights"
    assert any("momentum" in name for name in names) and any("iteration" in name for name in names)
    assert state["epoch"] == 3 and (uninterrupted(FROZEN) / "gradients.csv").is_file()
    rates = [float(row["learning rate"]) for row in history(uninterrupted(FROZEN))]
    assert rates[0] > rates[1] > rates[2], "the schedule runs over all epochs"


@pytest.mark.parametrize(
    ("stops", "changes"),
    [
        # Where each of several stops comes, counted in steps since the last.
        ([("Ctrl-C before", 3), ("Ctrl-C after", 4)], FROZEN),
        ([("Ctrl-C after", 4), ("Ctrl-C while scoring", 1), ("Ctrl-C before", 2)], FROZEN),
        ([("Ctrl-C after", 1), ("Ctrl-C while scoring", 2)], TRAINED),
        ([("crash before", 2), ("crash after", 7), ("crash after scoring", 1)], FROZEN),
    ],
    ids=["in steps", "around scoring", "trained encoder", "crashes"],
)
def test_resumed_run_equals_uninterrupted_run(stops, changes, uninterrupted, make, tmp_path):
    out, steps = tmp_path / "run", 0
    for stop, at in stops:
        steps += make(out, *changes, stop=stop, at=at)
        assert not (out / "model").exists() and not (out / "metrics.json").exists()
    steps += make(out, *changes)
    assert steps == 12 or "crash" in str(stops), "Ctrl-C costs no step"
    check_same(uninterrupted(changes), out)


def test_ctrl_c_costs_no_step(make, tmp_path):
    make(tmp_path / "ctrl_c", stop="Ctrl-C before", at=3)
    state = checkpoint.read(tmp_path / "ctrl_c" / "checkpoint.npz")[1]
    assert (state["epoch"], state["step"], state["losses"]) == (0, 3, 3), "the step in hand was still done"
    make(tmp_path / "crash", stop="crash after", at=3)
    assert checkpoint.read(tmp_path / "crash" / "checkpoint.npz") is None
    # With a checkpoint after every step, the third was under way.
    make(tmp_path / "often", "checkpoint_minutes=0", stop="crash after", at=3)
    assert checkpoint.read(tmp_path / "often" / "checkpoint.npz")[1]["step"] == 2


@pytest.mark.slow
def test_killed_run_equals_uninterrupted_run(uninterrupted, make, tmp_path):
    out, root = tmp_path / "run", Path(train.__file__).parent.parent
    changes = [*CHANGES, "checkpoint_minutes=0"]
    command = [sys.executable, str(root / "training" / "train.py"), "tiny", "--out", str(out)]
    for change in changes:
        command += ["--set", change]
    wanted = int(np.random.default_rng().integers(1, 9))  # steps before the kill
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        steps, deadline = 0, time.monotonic() + 300
        while steps < wanted and process.poll() is None and time.monotonic() < deadline:
            saved = checkpoint.read(out / "checkpoint.npz")
            steps = saved[1]["epoch"] * 4 + saved[1]["step"] if saved else 0
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, process.stderr.read()[-500:]
    assert steps >= wanted and not (out / "model").exists()
    left = make(out, "checkpoint_minutes=0")
    assert left <= 12 - steps, f"killed after {steps} of 12 steps, and yet {left} were left"
    check_same(uninterrupted(FROZEN), out)


# Choosing the best epoch.


@pytest.fixture
def scripted(monkeypatch):
    """Scores that a test dictates, one a scoring."""

    def script(*values):
        left = list(values)
        monkeypatch.setattr(trainer, "score", lambda *a, **k: {"CIDEr-D": left.pop(0), "BLEU-4": 1.0})

    return script


def weights_in(path):
    return [array for name, array in checkpoint.read(path)[0].items() if "seed" not in name]


def test_early_stopping_keeps_the_best_epoch(scripted, make, tmp_path, capsys):
    scripted(5.0, 5.0, 77.0, 78.0)  # two epochs, then the two test splits
    steps = make(tmp_path / "run", "evaluation.patience=1")
    assert steps == 8 and "stopping early" in capsys.readouterr().out
    assert [row["CIDEr-D"] for row in history(tmp_path / "run")] == ["5.0", "5.0"]
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert figures["epoch"] == 1 and figures["validation"]["CIDEr-D"] == 5.0
    assert [figures[split]["CIDEr-D"] for split in ("test", "test_unseen")] == [77.0, 78.0]
    assert checkpoint.read(tmp_path / "run" / "best.npz")[1] == {"epoch": 1}
    saved = KerasEngine.open(str(tmp_path / "run" / "model")).model.decoder.variables
    saved = [v.numpy() for v in saved if "seed" not in v.path]
    best, last = (weights_in(tmp_path / "run" / name) for name in ("best.npz", "checkpoint.npz"))
    assert len(best) == len(saved) > 9 and all(map(np.array_equal, saved, best))
    assert not any(np.allclose(a, b, atol=1e-5) for a, b in zip(saved, last, strict=False) if a.ndim > 1)


def test_patience_survives_a_stop(scripted, make, tmp_path):
    changes = ["evaluation.patience=2"]
    scripted(5.0, 4.0)
    # Stopped when an epoch without a better score had been scored, but before that was written down.
    make(tmp_path / "run", *changes, stop="Ctrl-C after scoring", at=2)
    scripted(3.0, 3.0, 77.0, 78.0)
    make(tmp_path / "run", *changes)
    assert [row["CIDEr-D"] for row in history(tmp_path / "run")] == ["5.0", "3.0", "3.0"]
    assert checkpoint.read(tmp_path / "run" / "best.npz")[1] == {"epoch": 1}


# Folders that are in the way.


def refused(capsys, out, *more):
    arguments = [part for change in CHANGES for part in ("--set", change)]
    assert train.main(["tiny", *arguments, "--out", str(out), *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("train.py: ") and error.count("\n") == 1 and str(out) in error
    return error


def listing(folder):
    return sorted((str(p.relative_to(folder)), p.stat().st_mtime_ns) for p in folder.rglob("*"))


def test_other_runs_are_refused_and_untouched(uninterrupted, capsys):
    out = uninterrupted(FROZEN)
    before = listing(out)
    assert "finished" in refused(capsys, out)
    assert "other settings" in refused(capsys, out, "--set", "seed=9")
    assert listing(out) == before


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_writes_a_checkpoint(number, built, tmp_path, capsys, monkeypatch):
    out, steps, real_step = tmp_path / "run", [], CaptionModel.train_on_batch

    def step(self, *arguments, **more):
        steps.append(1)
        if len(steps) == 2:
            signal.raise_signal(number)
        return real_step(self, *arguments, **more)

    monkeypatch.setattr(CaptionModel, "train_on_batch", step)
    monkeypatch.setattr(train, "build", built)
    arguments = [part for change in CHANGES for part in ("--set", change)]
    assert train.main(["tiny", *arguments, "--out", str(out)]) == 128 + number
    assert capsys.readouterr().err.splitlines()[-1] == (
        "train.py: stopped; run the same command again to resume"
    )
    assert checkpoint.read(out / "checkpoint.npz")[1]["step"] == 2
    assert sorted(path.name for path in out.iterdir()) == ["checkpoint.npz", "run.json"]


def test_second_signal_stops_at_once(built, tmp_path, capsys, monkeypatch):
    out, steps, real_step = tmp_path / "run", [], CaptionModel.train_on_batch
    monkeypatch.setattr(signals, "_ECHO_SECONDS", 0.0)

    def step(self, *arguments, **more):
        steps.append(1)
        result = real_step(self, *arguments, **more)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        return result

    monkeypatch.setattr(CaptionModel, "train_on_batch", step)
    monkeypatch.setattr(train, "build", built)
    arguments = [part for change in [*CHANGES, "checkpoint_minutes=0"] for part in ("--set", change)]
    assert train.main(["tiny", *arguments, "--out", str(out)]) == 143
    assert checkpoint.read(out / "checkpoint.npz")[1]["step"] == 2, "the third step was half done"


def test_closed_output_writes_a_checkpoint(built, tmp_path, monkeypatch):
    real_step = CaptionModel.train_on_batch

    def step(self, *arguments, **more):
        real_step(self, *arguments, **more)
        raise BrokenPipeError

    monkeypatch.setattr(CaptionModel, "train_on_batch", step)
    monkeypatch.setattr(train, "build", built)
    run = with_changes(RECIPES.build("tiny"), CHANGES)
    with pytest.raises(BrokenPipeError):
        train.train_into(run, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint.npz").is_file()


def test_failed_start_leaves_no_folder(tmp_path, capsys):
    out = tmp_path / "new" / "run"
    assert "did you mean 'beam'" in refused_line(capsys, out, "--set", "evaluation.strategy=beem")
    assert not (tmp_path / "new").exists()


def refused_line(capsys, out, *more):
    arguments = [part for change in CHANGES for part in ("--set", change)]
    assert train.main(["tiny", *arguments, "--out", str(out), *more]) == 2
    return capsys.readouterr().err


def test_run_with_wrong_state_is_refused(tmp_path):
    made = train.build(with_changes(RECIPES.build("tiny"), CHANGES), tmp_path / "run", False)
    made.save()
    values, state = checkpoint.read(tmp_path / "run" / "checkpoint.npz")
    for change, says in (({"epoch": "3"}, "damaged"), ({"stage": 7}, "another")):
        checkpoint.write(tmp_path / "run" / "checkpoint.npz", values, {**state, **change})
        with pytest.raises(DataError, match=says):
            made.restore()


def test_files_are_flushed_before_renaming(make, tmp_path, monkeypatch):
    flushed, names = set(), {}
    fsync, replace = os.fsync, os.replace

    def force(handle):
        flushed.add(os.fstat(handle).st_ino)
        fsync(handle)

    def rename(old, new):
        name = Path(new).name
        names.setdefault(name, []).append(os.stat(old).st_ino in flushed)
        replace(old, new)

    monkeypatch.setattr(os, "fsync", force)
    monkeypatch.setattr(os, "replace", rename)
    make(tmp_path / "run", "xe.epochs=1")
    wanted = {"run.json", "checkpoint.npz", "best.npz", "history.csv", "samples.txt", "metrics.json"}
    wanted |= {"predictions_test.json", "references_test.json"}
    assert wanted <= set(names)
    assert all(all(values) for name, values in names.items() if name in wanted)
