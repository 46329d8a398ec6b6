"""Confidence of captions: the calibrated probability that a person would accept one. No TensorFlow here.

The words' own probabilities say how usual a caption is, not whether it is right. `training/calibrate_confidence.py`
learns what they are worth for one model, and leaves `confidence.json` in its folder; exports carry it on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from captioner import checks
from captioner.errors import BundleError, SpecError
from captioner.types import Caption

# What a caption is judged by; the weights of a calibration have these names.
FEATURES = ("mean_logp", "least_logp", "words")
_MOST = 1e6  # of a weight, either way; no sum of them is infinite then


def features(caption: Caption) -> tuple[float, float, float]:
    """The features of a caption that the calibration uses.

    Args:
        caption: Caption with words.

    Returns:
        Mean log-probability of its words and its end in nats, the lowest of a word, and the number of words.

    Example:
        >>> features(Caption("a dog", -1.5, ("a", "dog"), -1.5, (-0.5, -0.7)))
        (-0.5, -0.7, 2.0)
    """
    count = len(caption.words)
    return caption.logp / (count + 1), min(caption.word_logp), float(count)


class Confidence:
    """A calibration: logistic regression (Platt 1999) of the chance of acceptance on `features`.

    Args:
        noted: mapping. What `confidence.json` holds: "bias", and "weights" by the names of `FEATURES`.

    Raises:
        BundleError: if it holds something else.

    Example:
        >>> weights = {"mean_logp": 2.0, "least_logp": 0.0, "words": 0.0}
        >>> sure = Confidence({"bias": 1.0, "weights": weights})
        >>> sure.of(Caption("a dog", -1.5, ("a", "dog"), -1.5, (-0.5, -0.7)))
        0.5
    """

    def __init__(self, noted: Mapping[str, Any]):
        try:
            self._bias = checks.number(noted["bias"], "bias", -_MOST, _MOST)
            self._weights = [checks.number(noted["weights"][name], name, -_MOST, _MOST) for name in FEATURES]
        except (KeyError, TypeError, IndexError, SpecError):
            raise BundleError(
                f"damaged calibration: expected bias and weights of {', '.join(FEATURES)}; "
                "run training/calibrate_confidence.py again"
            ) from None

    def of(self, caption: Caption) -> float:
        """The chance, from 0 to 1, that a person would accept the caption; 0 for one without words."""
        if not caption.ok or not caption.words:
            return 0.0
        logit = self._bias + sum(w * f for w, f in zip(self._weights, features(caption), strict=True))
        return 0.5 + 0.5 * math.tanh(logit / 2)  # the logistic function, which cannot overflow so
