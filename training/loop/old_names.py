"""Names that earlier versions wrote into run folders, and what they are called now: the one place that knows both."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from captioner import format1
from captioner.errors import SpecError

RECIPES = {
    "flickr8k_small": "flickr8k_lite0_gru",
    "flickr8k_compact": "flickr8k_lite0_cells",
    "flickr8k_best": "flickr8k_two_encoders",
    "flickr8k_fine": "flickr8k_two_encoders_288_finetune",
    "flickr8k_brisk": "flickr8k_two_encoders_288_batch12",
    "flickr8k_sharp": "flickr8k_two_encoders_288",
}
_OPTIMIZER = {"final": "final_lr_ratio", "clip": "global_clipnorm", "ema": "ema_momentum"}
_KEYS = {
    "data": {"mirror": "horizontal_flip", "views": "cached_augmentations"},
    "model": {"keep_statistics": "freeze_batch_norm", "start": "init_from"},
    "xe": {
        **_OPTIMIZER,
        "teacher": "distillation_teacher",
        "teacher_weight": "distillation_weight",
        "teacher_temperature": "distillation_temperature",
    },
    "scst": _OPTIMIZER,
}
_COLUMNS = {"drawing": "sample_seconds", "paying": "reward_seconds"}
_STATE = {"waited": "epochs_without_improvement", "figures": "metrics", "phase": "stage"}


def current_config(config: dict[str, Any]) -> dict[str, Any]:
    """The content of `run.json` with today's recipe and keys.

    Example:
        >>> current_config({"name": "flickr8k_best", "xe": {"clip": 5.0, "epochs": 1}})
        {'name': 'flickr8k_two_encoders', 'xe': {'global_clipnorm': 5.0, 'epochs': 1}}
    """
    config = {
        name: _renamed(part, _KEYS.get(name, {})) if isinstance(part, dict) else part
        for name, part in config.items()
    }
    if isinstance(config.get("name"), str):
        config["name"] = RECIPES.get(config["name"], config["name"])
    if isinstance(config.get("model"), dict):
        with suppress(SpecError):  # a spec that cannot be read is refused where it is used
            config["model"] = format1.model_config(config["model"])
    return config


def current_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table such as `history.csv`, with today's columns."""
    return _renamed(row, _COLUMNS)


def current_state(state: Any) -> Any:
    """The state that a checkpoint holds with today's keys; what is no mapping is returned as it is."""
    return _renamed(state, _STATE) if isinstance(state, dict) else state


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}
