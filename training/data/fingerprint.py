"""A digest of an encoder's structure and weights, part of the key of the feature cache."""

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
    inner = [inner for layer in encoder.network.layers for inner in _inside(layer)]
    numbers |= {layer.name: f"inner {i}" for i, layer in enumerate(inner) if layer.name not in numbers}
    structure = _nameless(encoder.network.get_config(), numbers)
    digest.update(json.dumps(structure, sort_keys=True, default=str).encode())
    for variable in encoder.network.variables:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{value.shape}{value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _inside(layer: Any) -> list[Any]:
    """The layers inside a layer, at any depth, including inputs that `layers` does not list."""
    return [inner for part in getattr(layer, "_layers", []) for inner in [part, *_inside(part)]]


def _nameless(config: Any, numbers: dict[str, str]) -> Any:
    """A network's config without what its features do not depend on: automatic names, object ids, `trainable`."""
    if isinstance(config, dict):
        return {
            k: _nameless(v, numbers) for k, v in config.items() if k not in ("shared_object_id", "trainable")
        }
    if isinstance(config, list | tuple):
        return [_nameless(part, numbers) for part in config]
    return numbers.get(config, config) if isinstance(config, str) else config
