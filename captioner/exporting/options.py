"""Options and metadata that all export targets share. No TensorFlow here."""

from __future__ import annotations

from typing import Any

from captioner import bundle, checks
from captioner.engines import weights
from captioner.errors import ModelError, SpecError


def export_metadata(model: Any, strategy: str, max_length: int, n_best: int) -> dict[str, Any]:
    """The metadata of every export, which engines read back."""
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
        "language": model.language,
    }


def check_finite(model: Any) -> None:
    """Raises a `ModelError` if a weight is NaN or infinite."""
    if not weights.finite(model):
        raise ModelError("expected finite weights to export, got NaN or infinity: train the model again")


def resolve_max_length(model: Any, max_length: int | None) -> int:
    """The most ids of a caption: `max_length`, or that of the model for None.

    Raises:
        SpecError: if `max_length` is above that of the model.
    """
    if max_length is None:
        return model.max_length
    if checks.integer(max_length, "max_length", 2) > model.max_length:
        raise SpecError(f"max_length expects at most the model's own {model.max_length}, got {max_length}")
    return max_length
