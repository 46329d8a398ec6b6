"""What stops a run: scores that no longer improve, a signal, a closed output."""

import json
import signal

import numpy as np
import pytest

from captioner import signals
from captioner.engines.keras import KerasEngine
from captioner.models import CaptionModel
from tests.support.training.interrupted_runs import CHANGES, history
from training import train
from training.loop import checkpoint, validation
from training.recipes import RECIPES
from training.recipes.changes import with_changes

pytestmark = pytest.mark.usefixtures("quick", "no_reports", "unoptimised")

# Early stopping.


@pytest.fixture
def scripted(monkeypatch):
    """Scores that a test dictates, one a scoring."""

    def script(*values):
        left = list(values)
        monkeypatch.setattr(validation, "score", lambda *a, **k: {"CIDEr-D": left.pop(0), "BLEU-4": 1.0})

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


# Signals.


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
