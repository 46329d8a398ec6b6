"""Old names in files of format 1, converted to the current ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from captioner import checks
from captioner.registry import Spec, parse_spec

_ENCODERS = {"side_by_side": "concat"}
_DECODERS = {"lstm", "gru", "simple_rnn", "bidirectional", "soft_attention"}
_DECODERS |= {"adaptive", "top_down", "show_and_tell", "ensemble"}
_DECODER_OPTIONS = {"depth": "value_dim"}

# Layers of decoders, which name the groups in a weights file of Keras.
_LAYERS = {
    "project": "value_projection",
    "picture": "image_projection",
    "seeds": "initial_state",
    "makers": "projections",
    "look": "attention_cell",
    "look_seeds": "attention_initial_state",
    "speak": "language_cell",
    "speak_seeds": "language_initial_state",
    "reader": "input_projection",
    "joint": "recurrent_kernel",
    "recur": "recurrent_projection",
    "back_reader": "backward_input_projection",
    "back_seen": "backward_context_projection",
    "back_recur": "backward_recurrent_projection",
}


def model_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a `CaptionModel` with current names; see `encoder` and `decoder`."""
    specs = {"encoder": encoder, "decoder": decoder}
    return {
        name: specs[name](value) if name in specs and isinstance(value, str) else value
        for name, value in config.items()
    }


def encoder(spec: str) -> str:
    """An encoder's spec in the current names.

    Args:
        spec: str.

    Returns:
        str; `spec` itself unless it has old names.

    Example:
        >>> encoder("side_by_side(encoders=['densenet169', 'mobilenet'])")
        "concat(encoders=['densenet169', 'mobilenet'])"
    """
    parsed = parse_spec(spec)
    args = dict(parsed.args)
    if parsed.name in (*_ENCODERS, *_ENCODERS.values()) and isinstance(args.get("encoders"), list | tuple):
        args["encoders"] = [encoder(part) if isinstance(part, str) else part for part in args["encoders"]]
    return _written(spec, parsed, Spec(_ENCODERS.get(parsed.name, parsed.name), args))


def decoder(spec: str) -> str:
    """A decoder's spec in the current names.

    Args:
        spec: str.

    Returns:
        str; `spec` itself unless it has old names, or if it names a decoder that is not captioner's own.

    Example:
        >>> decoder("ensemble(members=['lstm(depth=8)', 'gru'], depth=16)")
        "ensemble(members=['lstm(value_dim=8)', 'gru'], value_dim=16)"
    """
    parsed = parse_spec(spec)
    if parsed.name not in _DECODERS:
        return spec
    args = {_DECODER_OPTIONS.get(name, name): value for name, value in parsed.args.items()}
    if parsed.name == "ensemble" and isinstance(args.get("members"), list | tuple):
        args["members"] = [decoder(part) if isinstance(part, str) else part for part in args["members"]]
    return _written(spec, parsed, Spec(parsed.name, args))


def _written(spec: str, before: Spec, after: Spec) -> str:
    return spec if str(before) == str(after) else str(after)


def layer(name: str, siblings: Collection[str]) -> str:
    """The current name of a layer inside a decoder.

    Args:
        name: str.
        siblings: names of the other layers of its parent. A GRU's "joint" is no recurrent matrix: that is its "recur".

    Returns:
        str; `name` itself unless it is an old name.

    Example:
        >>> layer("joint", ["reader", "joint"]), layer("joint", ["reader", "joint", "recur"])
        ('recurrent_kernel', 'context_projection')
    """
    if name == "joint" and "recur" in siblings:
        return "context_projection"
    return _LAYERS.get(name, name)


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
