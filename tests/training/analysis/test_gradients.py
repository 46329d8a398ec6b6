"""The gradient diagnostic: its norms against finite differences, its table, its images and its errors."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from captioner.errors import DataError, SpecError
from captioner.types import START
from tests.support.models.small_models import SIZES, build, features_of
from training import analyze
from training.analysis import copy_task, gradients

IDS = np.array([[5, 6, 7, 8], [9, 10, 5, 2]], np.int32)


class Bend:
    """A small world: the state bends at each word, a constant rides along, and one tensor has two names."""

    size = 6

    def __init__(self):
        rng = np.random.default_rng(0)
        self.turn, self.word = rng.normal(size=(3, 3)), rng.normal(size=(12, 3))
        self.out = rng.normal(size=(3, 12))

    def start(self, features):
        h = tf.tanh(tf.cast(features[:, 0], tf.float64))
        return {}, {"h": h, "again": h, "rides": h * 2, "count": tf.zeros((len(h), 1), tf.int32)}

    def step(self, ids, memory, state):
        h = tf.tanh(
            state["h"] @ self.turn + 0.1 * state["again"] + tf.gather(self.word, ids) + state["rides"]
        )
        return h, None, {"h": h, "again": h, "rides": state["rides"], "count": state["count"] + 1}

    def head(self, output):
        return output @ self.out


def loss_from(world, state, ids, t):
    """Loss of the last word of one caption, going on from the state before word t; plain NumPy."""
    h, rides = state
    for word in [START, *ids][t : len(ids)]:
        h = np.tanh(h @ world.turn + 0.1 * h + world.word[word] + rides)
    logits = h @ world.out
    return np.log(np.exp(logits).sum()) - logits[ids[-1]]


def test_norms_are_those_of_finite_differences():
    world, features = Bend(), np.random.default_rng(1).normal(size=(2, 1, 3))
    expected = np.zeros(4)
    for image, ids in zip(features, IDS, strict=True):
        h = np.tanh(image[0])
        rides = h * 2
        for t, word in enumerate([START, *ids[:-1]]):
            steps = np.eye(3) * 1e-5
            slope = [
                (loss_from(world, (h + d, rides), ids, t) - loss_from(world, (h - d, rides), ids, t)) / 2e-5
                for d in steps
            ]
            expected[t] += np.linalg.norm(slope) / len(IDS)
            h = np.tanh(h @ world.turn + 0.1 * h + world.word[word] + rides)
    np.testing.assert_allclose(gradients.norms(world, features, IDS), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "bidirectional", "top_down", "adaptive", "show_and_tell"])
def test_norms_of_models_for_every_step(name):
    model = build(
        f"{name}({SIZES})" if name == "show_and_tell" else f"{name}({SIZES}, attention='scaled_dot')"
    )
    norms = gradients.norms(model, features_of(2), IDS)
    assert norms.shape == (4,) and np.isfinite(norms).all() and (norms > 0).all()
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(
        gradients.norms(model, pixels, IDS), gradients.norms(model, model.encode(pixels), IDS), rtol=1e-5
    )


def read(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_recording_an_epoch_again_replaces_it(tmp_path):
    world, features, path = Bend(), np.ones((2, 1, 3)), tmp_path / "gradients.csv"
    for epoch in (1, 2, 3):
        gradients.record(world, features, IDS, path, epoch)
    first = read(path)
    assert list(first[0]) == ["epoch", "step", "norm"]
    assert [(row["epoch"], row["step"]) for row in first] == [
        (str(e), str(t)) for e in (1, 2, 3) for t in range(4)
    ]
    np.testing.assert_allclose(
        [float(row["norm"]) for row in first[:4]], gradients.norms(world, features, IDS), rtol=1e-5
    )
    world.turn *= 0.5
    # A run resumed at epoch 2 does it again, and what followed is no longer true.
    gradients.record(world, features, IDS, path, 2)
    second = read(path)
    assert second[:4] == first[:4]
    assert [row["epoch"] for row in second] == ["1"] * 4 + ["2"] * 4
    assert second[4:] != first[4:8]


def fall(name, length=25):
    """How many times less the farthest state counts than the nearest, in a cell fresh from its initialiser."""
    decoder = copy_task.build_decoder(name, units=32, length=length)
    ids = copy_task.copy_captions(length, seed=0)
    norms = gradients.norms(decoder, copy_task.zero_features(len(ids)), ids)
    return norms[-1] / norms[0]


def test_simple_rnn_vanishes_faster_than_lstm():
    plain = fall("simple_rnn")
    assert plain > 2 * fall("lstm")
    assert fall("simple_rnn*0.5") > 1e4 * plain
    assert fall("simple_rnn*3") < 0.01


def test_the_task_can_be_learnt():
    ids = copy_task.copy_captions(6, seed=4)
    assert (ids[:, -1] == ids[:, 0]).all() and len(set(ids[:, 0].tolist())) > 1
    decoder = copy_task.build_decoder("gru", units=16, length=4)
    assert copy_task.train(decoder, length=4, steps=150) < 0.7 * np.log(copy_task.SYMBOLS)


def is_png(path):
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_compare_makes_table_and_image_from_one_command(tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    small = ["--length", "4", "--units", "4", "--steps", "2"]
    assert analyze.main(["gradients", "--compare", "simple_rnn*1.5", "lstm", "--out", str(out), *small]) == 0
    rows = read(out / "gradients.csv")
    assert [(row["cell"], row["epoch"]) for row in rows[::4]] == [
        ("simple_rnn*1.5", "0"),
        ("simple_rnn*1.5", "2"),
        ("lstm", "0"),
        ("lstm", "2"),
    ]
    assert is_png(out / "gradients.png")
    assert "lstm: the farthest state counts" in capsys.readouterr().out


def test_runs_are_drawn_at_two_epochs(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(gradients, "draw", lambda runs, titles, out: drawn.update(runs))
    for name, best in (("one", 2), ("two", None)):
        (tmp_path / name).mkdir()
        rows = [f"{epoch},{t},{epoch * 10 + t}" for epoch in (1, 2, 3) for t in range(2)]
        (tmp_path / name / "gradients.csv").write_text("epoch,step,norm\n" + "\n".join(rows) + "\n")
        if best:
            (tmp_path / name / "metrics.json").write_text(f'{{"epoch": {best}}}')
    assert (
        analyze.main(
            ["gradients", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "x.png")]
        )
        == 0
    )
    curves = {name: {epoch: norm.tolist() for epoch, norm in curve.items()} for name, curve in drawn.items()}
    assert curves == {"one": {1: [10, 11], 2: [20, 21]}, "two": {1: [10, 11], 3: [30, 31]}}
    monkeypatch.undo()
    analyze.main(["gradients", str(tmp_path / "one"), "--out", str(tmp_path / "deep" / "x.png")])
    assert is_png(tmp_path / "deep" / "x.png")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected folders of runs"),
        (["nowhere"], "expected a run with a gradients.csv, got nowhere"),
        (["--compare", "lsmt"], "did you mean 'lstm'"),
        (["--compare", "lstm*big"], "'lstm*big'"),
        (["--compare", "lstm(bogus=1)"], "bogus"),
        (["--compare", "lstm", "--length", "1"], "--length"),
    ],
)
def test_errors_are_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert analyze.main(["gradients", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_broken_table_is_one_line(tmp_path):
    (tmp_path / "gradients.csv").write_text("epoch,step,norm\n1,0\n")
    with pytest.raises(DataError, match="epoch, step, norm"):
        gradients.curves_of(tmp_path)
    (tmp_path / "gradients.csv").write_text("")
    with pytest.raises(DataError, match="epoch, step, norm"):
        gradients.curves_of(tmp_path)
    with pytest.raises(SpecError):
        copy_task.build_decoder("lstm*", 4, 4)


def test_help_of_the_command():
    root = Path(__file__).parents[3]
    text = subprocess.run(
        [sys.executable, "training/analyze.py", "gradients", "--help"],
        cwd=root, capture_output=True, text=True, check=True, env={**os.environ},
    ).stdout  # fmt: skip
    assert "--compare" in text and "RUN" in text
    assert keras.backend.backend() == "tensorflow"
