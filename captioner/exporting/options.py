"""What all targets check and note alike. No TensorFlow here."""

from __future__ import annotations

from typing import Any

from captioner import bundle, checks
from captioner.engines import weights
from captioner.errors import ModelError, SpecError


def facts(model: Any, strategy: str, max_length: int, n_best: int) -> dict[str, Any]:
    """What every export notes about itself."""
    return {
        "format": bundle.FORMAT,
        "captioner": bundle.version(),
        "strategy": strategy,
        "max_length": max_length,
        "n_best": n_best,
        "image_size": list(model.image_size),
        "grid": list(model.grid),
        "vocabulary": {"size": len(model.tokenizer), "fingerprint": model.tokenizer.fingerprint},
        "model": model.get_config(),
        "confidence": model.calibration,
    }


def finite(model: Any) -> None:
    """Raises a `ModelError` if a weight is NaN or infinite."""
    if not weights.finite(model):
        raise ModelError("expected finite weights to export, got NaN or infinity: train the model again")


def length(model: Any, max_length: int | None) -> int:
    """The most ids of a caption: `max_length`, or the model's own."""
    if max_length is None:
        return model.max_length
    if checks.integer(max_length, "max_length", 2) > model.max_length:
        raise SpecError(f"max_length expects at most the model's own {model.max_length}, got {max_length}")
    return max_length
