"""The served signatures: inputs and outputs of an exported model, and the captions in them.

The exporter writes these outputs; engines and servers read them. No TensorFlow here, and no vocabulary is needed.

Every signature takes `image_bytes`, string [B], encoded images; every output leads with B. An image that cannot be
read has ok=false, its reason in `error`, and empty strings and zeros elsewhere. No output is ever NaN or infinite, and
none has a name that ends in `_bytes`: JSON cannot hold the one, REST would answer the other in base64.

    serving_default   the sentence
    captions          the K best sentences, best first (K is fixed by the exported strategy)
    explain           everything: words, their log-probabilities and attention; with K > 1 also for the K - 1
                      captions after the best, as `alternatives_...`

A model that knows which images are unlike its training images (`training/fit_ood.py`) has three more outputs in every
signature. `caption` stays the sentence as the model wrote it; show `text`.

    text        the caption, the hedged caption ("Perhaps: a dog"), or "no caption: ..." in the captions' language
    outcome     "caption", "hedged" or "declined"
    ood_score   how unlike the training images it is, about 1 for one of them; see `captioner.outputs.ood`

`words` holds no special tokens and is "" after the last word; `word_logp` and `attention` are 0 there, and
`attention` is 0 everywhere for a model without attention. `logp` includes the end token, `word_logp` does not.
Unreachable hypotheses are returned empty: "" with `logp` and `score` -1e9.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from captioner.errors import EngineError
from captioner.types import OUTCOMES, Caption

INPUT = "image_bytes"
# `SERVING_DEFAULT` is TensorFlow Serving's name for the signature of a request that names none.
SERVING_DEFAULT, CAPTIONS, EXPLAIN = "serving_default", "captions", "explain"
ALTERNATIVES = "alternatives_"  # prefix of the outputs on the captions after the best
# NumPy kinds that are accepted for a type (JSON has one type of number), and their names in messages.
_KINDS = {
    "str": ("SUO", "strings"),
    "float32": ("fiu", "numbers"),
    "int32": ("iu", "integers"),
    "bool": ("b", "booleans"),
}
_UNREACHABLE = -1e8  # unreachable hypotheses have a lower log-probability


class Output(NamedTuple):
    """Type and shape of an output: NumPy's name of its type ("str" for strings) and the letters of its axes.

    B images, K captions an image, K-1 captions after the best, T words, H x W locations.
    """

    dtype: str
    shape: str

    @property
    def axes(self) -> list[str]:
        """The letters of the axes."""
        return self.shape.split()


_BEST = {
    "caption": Output("str", "B"),
    "score": Output("float32", "B"),
    "logp": Output("float32", "B"),
    "ids": Output("int32", "B T"),
    "words": Output("str", "B T"),
    "word_logp": Output("float32", "B T"),
    "attention": Output("float32", "B T H W"),
}
# Of models that were fitted to tell which images are unlike their training images.
_OUTCOME = {"text": Output("str", "B"), "outcome": Output("str", "B"), "ood_score": Output("float32", "B")}
_STATUS = {"ok": Output("bool", "B"), "error": Output("str", "B")}
_ALTERNATIVES = {
    f"{ALTERNATIVES}{name}": Output(o.dtype, o.shape.replace("B", "B K-1")) for name, o in _BEST.items()
}

SIGNATURES: dict[str, dict[str, Output]] = {
    SERVING_DEFAULT: {"caption": _BEST["caption"], "score": _BEST["score"], **_STATUS},
    CAPTIONS: {
        "caption": Output("str", "B K"),
        "score": Output("float32", "B K"),
        "logp": Output("float32", "B K"),
        **_STATUS,
    },
    EXPLAIN: {**_BEST, **_ALTERNATIVES, **_STATUS},
}


def outputs(signature: str, n_best: int, outcomes: bool = False) -> dict[str, Output]:
    """The outputs of a signature of a model that returns `n_best` captions an image.

    Args:
        signature: str, a key of `SIGNATURES`.
        n_best: int. K.
        outcomes: bool, default False. Whether the model knows which images are unlike its training images.

    Returns:
        dict of name to `Output`.

    Example:
        >>> sorted(outputs("serving_default", 1))
        ['caption', 'error', 'ok', 'score']
        >>> "alternatives_ids" in outputs("explain", 1), "alternatives_ids" in outputs("explain", 2)
        (False, True)
        >>> sorted(set(outputs("captions", 1, outcomes=True)) - set(outputs("captions", 1)))
        ['ood_score', 'outcome', 'text']
    """
    every = SIGNATURES[signature] | (_OUTCOME if outcomes else {})
    return {name: o for name, o in every.items() if n_best > 1 or "K-1" not in o.axes}


def missing(inputs: Iterable[str], output_names: Iterable[str]) -> list[str]:
    """The inputs and outputs that a server's signature `explain` lacks to be one of captioner.

    Args:
        inputs: iterable of str. The names of its inputs.
        output_names: iterable of str. The names of its outputs; others are ignored.

    Returns:
        list of names, empty if `captions_from` can read its outputs.

    Example:
        >>> missing(["image_bytes"], ["caption", "score", "logp", "ids", "words", "ok", "error"])
        ['word_logp', 'attention']
    """
    expected = [] if list(inputs) == [INPUT] else [INPUT]
    present = set(output_names)
    return expected + [name for name in outputs(EXPLAIN, 1) if name not in present]


def captions_from(values: Mapping[str, np.ndarray]) -> list[Caption]:
    """The captions in the outputs of the signature `explain`.

    Args:
        values: mapping of name to array; strings as str or as UTF-8 bytes. Other names in it are ignored.

    Returns:
        list of B `Caption`; a row that is not ok has its reason in `error`.

    Raises:
        EngineError: if an output is missing, of another kind or shape, or not finite.

    Example:
        >>> one = {"caption": [b"a dog"], "score": [-1.5], "logp": [-1.5], "ids": [[4, 5, 2]],
        ...        "words": [[b"a", b"dog", b""]], "word_logp": [[-0.5, -0.7, -0.3]],
        ...        "attention": np.zeros((1, 3, 2, 2)), "ok": [True], "error": [b""]}
        >>> captions_from({name: np.array(value) for name, value in one.items()})[0].words
        ('a', 'dog')
    """
    with_outcomes = any(name in values for name in _OUTCOME)
    expected = outputs(EXPLAIN, 2 if any(name in values for name in _ALTERNATIVES) else 1, with_outcomes)
    sizes: dict[str, int] = {}
    arrays = {name: _checked(values, name, output, sizes) for name, output in expected.items()}
    captions = []
    for row, ok in enumerate(arrays["ok"]):
        if not ok:
            reason = " ".join(_text(arrays["error"][row]).split())
            captions.append(Caption("", error=reason or "the model gave no caption and no reason"))
            continue
        fields = {name: arrays[name][row] for name in _BEST}
        caption = _caption(fields, _alternatives(arrays, row, sizes.get("K-1", 0)))
        captions.append(_with_outcome(caption, arrays, row) if with_outcomes else caption)
    return captions


def _checked(
    values: Mapping[str, np.ndarray], name: str, output: Output, sizes: dict[str, int]
) -> np.ndarray:
    """One output as an array of the right kind and shape; `sizes` holds the lengths of axes seen so far."""
    if name not in values:
        got = ", ".join(sorted(map(str, values))) or "nothing"
        raise EngineError(f"expected the output {name!r} of captioner's signature {EXPLAIN!r}, got {got}")
    array = np.asarray(values[name])
    fits = array.ndim == len(output.axes) and all(
        sizes.setdefault(axis, length) == length
        for axis, length in zip(output.axes, array.shape, strict=True)
    )
    kinds, word = _KINDS[output.dtype]
    if array.dtype.kind not in kinds or not fits:
        shape = ", ".join(str(sizes.get(axis, axis)) for axis in output.axes)
        raise EngineError(
            f"expected {word} [{shape}] in the output {name!r}, got {array.dtype} {list(array.shape)}"
        )
    if output.dtype == "float32":
        with np.errstate(over="ignore"):  # infinity is refused below
            array = array.astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise EngineError(
                f"expected finite numbers in the output {name!r}, got {array.dtype} with NaN or infinity"
            )
    return array


def _alternatives(arrays: Mapping[str, np.ndarray], row: int, count: int) -> tuple[Caption, ...]:
    rows = [{name: arrays[f"{ALTERNATIVES}{name}"][row, k] for name in _BEST} for k in range(count)]
    return tuple(
        _caption(fields)
        for fields in rows
        if _text(fields["caption"]) or float(fields["logp"]) > _UNREACHABLE
    )


def _caption(fields: Mapping[str, Any], alternatives: tuple[Caption, ...] = ()) -> Caption:
    words = [_text(word) for word in fields["words"]]
    count = words.index("") if "" in words else len(words)
    if any(words[count:]):
        raise EngineError(f"expected words without gaps in the output 'words', got {' '.join(words)[:80]!r}")
    attention = fields["attention"][:count].astype(np.float32)
    return Caption(
        text=_text(fields["caption"]),
        score=float(fields["score"]),
        words=tuple(words[:count]),
        logp=float(fields["logp"]),
        word_logp=tuple(float(value) for value in fields["word_logp"][:count]),
        attention=attention if attention.any() else None,
        alternatives=alternatives,
    )


def _with_outcome(caption: Caption, arrays: Mapping[str, np.ndarray], row: int) -> Caption:
    text, outcome = _text(arrays["text"][row]), _text(arrays["outcome"][row])
    if outcome not in OUTCOMES:
        raise EngineError(f"expected {', '.join(OUTCOMES)} in the output 'outcome', got {outcome[:40]!r}")
    sentence = None if text == caption.text else caption.text
    score = float(arrays["ood_score"][row])
    return replace(caption, text=text, outcome=outcome, ood_score=score, sentence=sentence)


def _text(value: Any) -> str:
    if not isinstance(value, str | bytes):
        raise EngineError(f"expected a string in an output of strings, got {type(value).__name__}")
    try:  # JSON may hold half of a surrogate pair
        return (value.encode() if isinstance(value, str) else value).decode("utf-8")
    except UnicodeError:
        raise EngineError(f"expected text in UTF-8 in an output of strings, got {value[:40]!r}") from None
