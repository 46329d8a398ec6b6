"""Options and metadata that all export targets share. No TensorFlow here."""

from __future__ import annotations

import logging
from typing import Any

from captioner import bundle, checks
from captioner.engines import weights
from captioner.engines.base import default_strategy
from captioner.errors import ModelError, SpecError
from captioner.registry import Spec, parse_spec
from captioner.rerank import RERANKERS

_LOG = logging.getLogger(__name__)


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


def resolve_strategy(model: Any, strategy: str | Spec | None, fitted_parameters: bool = True) -> str:
    """The strategy of an export: `strategy`, or that of the model for None.

    Args:
        model: `CaptionModel`.
        strategy: spec of `STRATEGIES`, or None.
        fitted_parameters: bool, default True. Whether the export can hold the fitted parameters of a reranker. If not,
            a reranker that needs some is left out of the model's strategy, and a warning is logged.

    Returns:
        str.

    Raises:
        SpecError: if it is no spec.
    """
    if strategy:
        return str(parse_spec(strategy))
    spec = parse_spec(default_strategy(model))
    reranker = spec.args.get("rerank")
    if fitted_parameters or reranker is None or not RERANKERS[parse_spec(reranker).name].parameters:
        return str(spec)
    plain = Spec(spec.name, {option: value for option, value in spec.args.items() if option != "rerank"})
    _LOG.warning(
        "the file cannot hold the fitted parameters that the model's strategy %s needs: it gets %s instead",
        spec,
        plain,
    )
    return str(plain)


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
