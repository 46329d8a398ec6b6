"""The public signatures of an exported model: what goes in, what comes out. No TensorFlow here.

Every signature takes `image_bytes`, string [N], encoded images; every output leads with N. An image that
cannot be read has ok=false, its reason in `error`, and empty strings and zeros elsewhere. No output is ever NaN
or infinite, and none has a name that ends in `_bytes`: JSON cannot hold the one, REST would disguise the other.

    serving_default   the sentence
    captions          the K best sentences, best first (K is fixed by the exported strategy)
    explain           all there is to know: words, their log-probabilities and where the model looked for each;
                      with K > 1 also for the K - 1 captions after the best, as `alternatives_...`

`words` holds no special tokens and is "" after the last word; `word_logp` and `attention` are 0 there, and
`attention` is 0 everywhere for a model that does not attend. `logp` counts the end token, `word_logp` has no
place for it. Where a search found fewer captions than K, the rest are "" with `logp` and `score` -1e9.
"""

from __future__ import annotations

from typing import NamedTuple

INPUT = "image_bytes"


class Output(NamedTuple):
    """What one output holds: numpy's name of its type ("str" for strings) and its axes by their letters.

    N images, K captions an image, A = K - 1 captions after the best, T words, H x W places.
    """

    dtype: str
    axes: str


_VERDICT = {"ok": Output("bool", "N"), "error": Output("str", "N")}
_BEST = {
    "caption": Output("str", "N"),
    "score": Output("float32", "N"),
    "logp": Output("float32", "N"),
    "ids": Output("int32", "NT"),
    "words": Output("str", "NT"),
    "word_logp": Output("float32", "NT"),
    "attention": Output("float32", "NTHW"),
}
_OTHERS = {f"alternatives_{name}": Output(o.dtype, f"NA{o.axes[1:]}") for name, o in _BEST.items()}

SIGNATURES: dict[str, dict[str, Output]] = {
    "serving_default": {"caption": _BEST["caption"], "score": _BEST["score"], **_VERDICT},
    "captions": {
        "caption": Output("str", "NK"),
        "score": Output("float32", "NK"),
        "logp": Output("float32", "NK"),
        **_VERDICT,
    },
    "explain": {**_BEST, **_OTHERS, **_VERDICT},
}


def outputs(signature: str, n_best: int) -> dict[str, Output]:
    """The outputs of a signature of a model that gives `n_best` captions.

    Args:
        signature: str, a key of `SIGNATURES`.
        n_best: int. K.

    Returns:
        dict of name to `Output`.

    Example:
        >>> sorted(outputs("serving_default", 1))
        ['caption', 'error', 'ok', 'score']
        >>> "alternatives_ids" in outputs("explain", 1), "alternatives_ids" in outputs("explain", 2)
        (False, True)
    """
    return {n: o for n, o in SIGNATURES[signature].items() if n_best > 1 or "A" not in o.axes}
