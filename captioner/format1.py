"""Old names in files of format 1, converted to the current ones."""

from __future__ import annotations

from captioner import checks
from captioner.registry import Spec, parse_spec


def strategy(spec: str) -> str:
    """Converts the spec of a strategy from format 1.

    The strategy `consensus(width, sharpness, evidence, fluency, ...)` is now a beam search with a reranker: with
    `evidence="beam"` `mbr`, whose temperature is the reciprocal of the sharpness, and with `evidence="picture"`
    `cider_regression`, whose `logp_weight` is the fluency.

    Args:
        spec: str.

    Returns:
        str; `spec` itself unless it has old names.

    Raises:
        SpecError: for an option out of range.

    Example:
        >>> strategy("consensus(width=20, evidence='picture', n_best=3)")
        "beam(width=20, length_penalty=0.0, n_best=3, rerank='cider_regression')"
        >>> strategy("beam(width=3)")
        'beam(width=3)'
    """
    parsed = parse_spec(spec)
    if parsed.name != "consensus":
        return spec
    options = {"width": 10, **parsed.args}
    sharpness, fluency = options.pop("sharpness", None), options.pop("fluency", None)
    if options.pop("evidence", "beam") == "picture":
        weight = {} if fluency is None else {"logp_weight": fluency}
        reranker = Spec("cider_regression", weight)
    else:
        reranker = Spec("mbr", {} if sharpness is None else {"temperature": _temperature(sharpness)})
    width = options.pop("width")
    return str(Spec("beam", {"width": width, "length_penalty": 0.0, **options, "rerank": str(reranker)}))


def _temperature(sharpness: object) -> float:
    """1 / sharpness; for sharpness 0 a temperature so high that all captions have the same weight."""
    sharpness = checks.number(sharpness, "sharpness", 0.0, 1e3)
    return min(1.0 / sharpness, 1e9) if sharpness else 1e9
