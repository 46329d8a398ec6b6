"""Resuming: a run that was stopped anywhere ends as one that never was."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.training.interrupted_runs import CHANGES, history
from training import train
from training.loop import checkpoint
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick", "no_reports", "unoptimised")

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
        pytest.param([("Ctrl-C after", 1), ("Ctrl-C while scoring", 2)], TRAINED, marks=pytest.mark.slow),
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
