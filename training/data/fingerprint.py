"""A name for an encoder's structure and weights, by which the feature cache knows it again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from captioner.models.encoders import Encoder


def weights_fingerprint(encoder: Encoder) -> str:
    """Hex digest of an encoder's structure and weights, the same in every process."""
    digest = hashlib.sha256(encoder.scaling.encode())
    numbers = {layer.name: f"layer {i}" for i, layer in enumerate(encoder.network.layers)}
    numbers[encoder.network.name] = "network"
    inner = [layer for each in encoder.network.layers for layer in _inside(each)]
    numbers |= {layer.name: f"inner {i}" for i, layer in enumerate(inner) if layer.name not in numbers}
    structure = _nameless(encoder.network.get_config(), numbers)
    digest.update(json.dumps(structure, sort_keys=True, default=str).encode())
    for variable in encoder.network.variables:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{value.shape}{value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _inside(layer: Any) -> list[Any]:
    """The layers inside a layer, at any depth, inputs that `layers` does not name among them."""
    return [part for each in getattr(layer, "_layers", []) for part in [each, *_inside(each)]]


def _nameless(config: Any, numbers: dict[str, str]) -> Any:
    """A network's config without what its features do not depend on: running names, object ids, being frozen."""
    if isinstance(config, dict):
        return {
            k: _nameless(v, numbers) for k, v in config.items() if k not in ("shared_object_id", "trainable")
        }
    if isinstance(config, list | tuple):
        return [_nameless(each, numbers) for each in config]
    return numbers.get(config, config) if isinstance(config, str) else config
