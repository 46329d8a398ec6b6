"""Run folders with the names of earlier versions are read, compared and resumed like new ones."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from captioner.errors import BundleError
from training import train
from training.analysis import report
from training.loop import checkpoint, old_names
from training.loop.run_folder import read_config, settings
from training.loop.run_logger import RunLogger
from training.recipes import RECIPES
from training.recipes.changes import keys, with_changes

ROOT = Path(__file__).parents[3]
MEASURED = sorted(path.parent for path in ROOT.glob("results/*/run.json"))
OLD_KEYS = {
    "data.horizontal_flip": "data.mirror",
    "data.cached_augmentations": "data.views",
    "model.freeze_batch_norm": "model.keep_statistics",
    "model.init_from": "model.start",
    "xe.final_lr_ratio": "xe.final",
    "xe.global_clipnorm": "xe.clip",
    "xe.ema_momentum": "xe.ema",
    "xe.distillation_teacher": "xe.teacher",
    "xe.distillation_weight": "xe.teacher_weight",
    "xe.distillation_temperature": "xe.teacher_temperature",
    "scst.final_lr_ratio": "scst.final",
    "scst.global_clipnorm": "scst.clip",
    "scst.ema_momentum": "scst.ema",
}


def flat(config):
    return {
        f"{name}.{key}": value
        for name, part in config.items()
        if isinstance(part, dict)
        for key, value in part.items()
    }


def old_config(run):
    """The settings of a run as an earlier version wrote them."""
    config = settings(run)
    for new, old in OLD_KEYS.items():
        part, key = new.split(".")
        config[part][old.split(".")[1]] = config[part].pop(key)
    return config


def test_measured_runs_have_todays_keys():
    known = set(keys(RECIPES.build("tiny")))
    assert len(MEASURED) >= 28
    for folder in MEASURED:
        config = read_config(folder)
        # Keys that came later are missing from them; no old name is left.
        assert set(OLD_KEYS) <= set(flat(config)) <= known, folder
        assert config["name"] in RECIPES, folder


def test_measured_histories_have_todays_columns():
    columns = {name for folder in MEASURED for row in report._history(folder / "history.csv") for name in row}
    assert {"sample_seconds", "reward_seconds"} <= columns and not {"drawing", "paying"} & columns


@pytest.mark.parametrize(("old", "new"), old_names.RECIPES.items())
def test_old_recipe_names_lead_to_recipes(old, new):
    assert old not in RECIPES and RECIPES.build(new).name == new
    assert old_names.current_config({"name": old})["name"] == new


@pytest.mark.parametrize("key", OLD_KEYS)
def test_old_keys_mean_the_new_ones(key):
    run = RECIPES.build("flickr8k_two_encoders_288")
    part, name = key.split(".")
    current = getattr(getattr(run, part), name)
    value = {bool: not current, int: 7, float: 0.25, str: "a"}[type(current)]
    changed = with_changes(run, [f"{key}={value}"])
    assert old_names.current_config(old_config(changed)) == settings(changed) != settings(run)


def test_a_run_with_old_names_is_resumed(tmp_path):
    run = RECIPES.build("flickr8k_two_encoders_288")
    (tmp_path / "run.json").write_text(json.dumps(old_config(run) | {"name": "flickr8k_sharp"}))
    assert train.open_run(tmp_path, run, overwrite=False)


def test_a_run_without_todays_newest_settings_is_resumed(tmp_path):
    run = RECIPES.build("flickr8k_two_encoders_288")
    config = settings(run)
    del config["xe"]["min_steps"], config["evaluation"]["choose_by"], config["sized_by_data"]
    (tmp_path / "run.json").write_text(json.dumps(config))
    assert train.open_run(tmp_path, run, overwrite=False)
    config["xe"]["epochs"] += 1
    (tmp_path / "run.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match="other settings"):
        train.open_run(tmp_path, run, overwrite=False)


def test_an_old_checkpoint_has_todays_state(tmp_path):
    fresh = {"epoch": 0, "step": 0, "best": 0.0, "epochs_without_improvement": 0, "metrics": {}, "stage": 0}
    old = {"epoch": 2, "step": 1, "best": 3.5, "waited": 4, "figures": {"reward": 0.5}, "phase": 1}
    checkpoint.write(tmp_path / "checkpoint.npz", {"a": np.zeros(2)}, old)
    _, state = checkpoint.read(tmp_path / "checkpoint.npz")
    assert state == {
        "epoch": 2, "step": 1, "best": 3.5, "epochs_without_improvement": 4, "metrics": {"reward": 0.5}, "stage": 1,
    }  # fmt: skip
    assert checkpoint.fits(state, fresh)


def test_an_old_history_goes_on_with_todays_columns(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,loss,seconds,drawing\n1,2.0,3.0,0.5\n")
    RunLogger(tmp_path).row({"epoch": 2, "loss": 1.0, "seconds": 6.0, "sample_seconds": 0.25})
    with (tmp_path / "history.csv").open(newline="") as handle:
        assert [row["sample_seconds"] for row in csv.DictReader(handle)] == ["0.5", "0.25"]
