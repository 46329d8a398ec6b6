"""Confidence of captions: the calibrated probability that a person would accept one. No TensorFlow here.

Word probabilities measure how usual a caption is, not whether it is right. `training/calibrate_confidence.py` fits a
calibration for one model and stores it as `confidence.json` in its folder; exports contain it as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from captioner import checks
from captioner.errors import BundleError, SpecError
from captioner.types import Caption

# Names of the features of a caption, and of the weights of a calibration.
FEATURES = ("mean_logp", "least_logp", "words")
_MOST = 1e6  # largest absolute value of a weight, so that no sum is infinite


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
    """A calibration: logistic regression (Platt 1999) of the probability of acceptance on `features`.

    Args:
        metadata: mapping. The content of `confidence.json`: "bias", and "weights" by the names of `FEATURES`.

    Raises:
        BundleError: for another content.

    Example:
        >>> weights = {"mean_logp": 2.0, "least_logp": 0.0, "words": 0.0}
        >>> confidence = Confidence({"bias": 1.0, "weights": weights})
        >>> confidence.of(Caption("a dog", -1.5, ("a", "dog"), -1.5, (-0.5, -0.7)))
        0.5
    """

    def __init__(self, metadata: Mapping[str, Any]):
        try:
            self._bias = checks.number(metadata["bias"], "bias", -_MOST, _MOST)
            self._weights = [
                checks.number(metadata["weights"][name], name, -_MOST, _MOST) for name in FEATURES
            ]
        except (KeyError, TypeError, IndexError, SpecError):
            raise BundleError(
                f"damaged calibration: expected bias and weights of {', '.join(FEATURES)}; "
                "run training/calibrate_confidence.py again"
            ) from None

    def logit(self, *features: Any) -> Any:
        """The logarithm of the odds of acceptance: `FEATURES` as numbers, arrays or tensors of one shape."""
        return self._bias + sum(w * f for w, f in zip(self._weights, features, strict=True))

    def of(self, caption: Caption) -> float:
        """The probability that a person would accept the caption; 0 for one without words."""
        if not caption.ok or not caption.words:
            return 0.0
        logit = self.logit(*features(caption))
        return 0.5 + 0.5 * math.tanh(logit / 2)  # the logistic function, which cannot overflow so
