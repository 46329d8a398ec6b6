"""From the outputs of the signature `explain` to captions, for every engine that runs an exported model.

Words come spelled out, so no vocabulary is needed here, nor TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from captioner.errors import EngineError
from captioner.types import Caption

# What `explain` gives: numpy kinds that will do, what to call them, and the axes. N images, T words,
# H x W places.
_BEST = {
    "caption": ("SUO", "strings", "N"),
    "score": ("fiu", "numbers", "N"),
    "logp": ("fiu", "numbers", "N"),
    "ids": ("iu", "integers", "NT"),
    "words": ("SUO", "strings", "NT"),
    "word_logp": ("fiu", "numbers", "NT"),
    "attention": ("fiu", "numbers", "NTHW"),
}
_VERDICT = {"ok": ("b", "booleans", "N"), "error": ("SUO", "strings", "N")}
# The same for the captions after the best one, of which there are K - 1; axis A.
_OTHERS = {f"alternatives_{name}": (*row[:2], f"NA{row[2][1:]}") for name, row in _BEST.items()}
# The outputs that must be there.
OUTPUTS = (*_BEST, *_VERDICT)
# Where a search found fewer captions than asked for, it fills up with empty ones that are this unlikely.
_NOTHING = -1e8


def captions_from(outputs: Mapping[str, np.ndarray]) -> list[Caption]:
    """Reads what the signature `explain` gave.

    Args:
        outputs: mapping of name to array; strings as str or as UTF-8 bytes. Other names in it are ignored.

    Returns:
        list of N `Caption`; a row that is not ok has its reason in `error`.

    Raises:
        EngineError: if an output is missing, of another kind or shape, or not finite.

    Example:
        >>> one = {"caption": [b"a dog"], "score": [-1.5], "logp": [-1.5], "ids": [[4, 5, 2]],
        ...        "words": [[b"a", b"dog", b""]], "word_logp": [[-0.5, -0.7, -0.3]],
        ...        "attention": np.zeros((1, 3, 2, 2)), "ok": [True], "error": [b""]}
        >>> captions_from({name: np.array(values) for name, values in one.items()})[0].words
        ('a', 'dog')
    """
    best, others, verdict = _checked(outputs)
    return [
        _caption({name: array[row] for name, array in best.items()}, _alternatives(others, row))
        if ok
        else Caption("", error=_line(verdict["error"][row]) or "the model gave no caption and no reason")
        for row, ok in enumerate(verdict["ok"])
    ]


def _checked(outputs: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The three groups of outputs as arrays, of the right kinds, and of shapes that agree."""
    groups = [_BEST, _OTHERS if any(name in outputs for name in _OTHERS) else {}, _VERDICT]
    sizes: dict[str, int] = {}
    best, others, verdict = ({name: _output(outputs, name, *g[name], sizes) for name in g} for g in groups)
    return best, others, verdict


def _output(
    outputs: Mapping[str, np.ndarray], name: str, kinds: str, called: str, axes: str, sizes: dict[str, int]
) -> np.ndarray:
    """One output as an array; `sizes` holds the lengths of axes seen so far."""
    if name not in outputs:
        given = ", ".join(sorted(map(str, outputs))) or "nothing"
        raise EngineError(f"expected the output {name!r} of captioner's signature 'explain', got {given}")
    array = np.asarray(outputs[name])
    fits = array.ndim == len(axes) and all(
        sizes.setdefault(axis, length) == length for axis, length in zip(axes, array.shape, strict=True)
    )
    if array.dtype.kind not in kinds or not fits:
        shape = ", ".join(str(sizes.get(axis, axis)) for axis in axes)
        raise EngineError(
            f"expected {called} [{shape}] in the output {name!r}, got {array.dtype} {list(array.shape)}"
        )
    if kinds.startswith("f"):
        with np.errstate(over="ignore"):  # infinity is told below
            array = array.astype(np.float32, copy=False)  # JSON knows one kind of number
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise EngineError(
            f"expected finite numbers in the output {name!r}, got {array.dtype} with NaN or infinity"
        )
    return array


def _alternatives(others: dict[str, Any], row: int) -> tuple[Caption, ...]:
    rows = [
        {name.removeprefix("alternatives_"): array[row, k] for name, array in others.items()}
        for k in range(others["alternatives_caption"].shape[1] if others else 0)
    ]
    return tuple(
        _caption(found) for found in rows if _text(found["caption"]) or float(found["logp"]) > _NOTHING
    )


def _caption(found: dict[str, Any], alternatives: tuple[Caption, ...] = ()) -> Caption:
    words = [_text(word) for word in found["words"]]
    count = words.index("") if "" in words else len(words)
    if any(words[count:]):
        raise EngineError(f"expected words without gaps in the output 'words', got {' '.join(words)[:80]!r}")
    attention = found["attention"][:count].astype(np.float32)
    return Caption(
        text=_text(found["caption"]),
        score=float(found["score"]),
        words=tuple(words[:count]),
        logp=float(found["logp"]),
        word_logp=tuple(float(value) for value in found["word_logp"][:count]),
        attention=attention if attention.any() else None,
        alternatives=alternatives,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str | bytes):
        raise EngineError(f"expected a string in an output of strings, got {type(value).__name__}")
    try:  # JSON may hold half of a pair of surrogates, which nobody can print
        return (value.encode() if isinstance(value, str) else value).decode("utf-8")
    except UnicodeError:
        raise EngineError(f"expected text in UTF-8 in an output of strings, got {value[:40]!r}") from None


def _line(value: Any) -> str:
    return " ".join(_text(value).split())
