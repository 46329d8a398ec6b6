"""The outcome of an image: a caption, a hedged caption, or none because it is unlike the training images.

An image is declined above the threshold `decline` of the out-of-distribution score. A caption is hedged above the
threshold `hedge`, or if the model has a calibrated confidence (`captioner.outputs.confidence`) and it is below
`least_confidence`. The wording is that of the language, see `captioner.text.languages`. One code decides in graphs of
TensorFlow and in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from captioner.decoding.backend import xp
from captioner.decoding.pooling import mean_feature
from captioner.outputs.confidence import Confidence
from captioner.outputs.ood import OutOfDistribution
from captioner.text.languages import Language, rules
from captioner.types import CAPTIONED, DECLINED, END, HEDGED, OUTCOMES, PAD, START, Caption, Hypotheses


class Judge:
    """Decides the outcomes of a model.

    Args:
        ood: OutOfDistribution.
        calibration: mapping, default None: the confidence is not calibrated. The argument of `Confidence`.

    Example:
        >>> from captioner.decoding.backend import numpy_backend
        >>> thresholds = {"hedge": np.float32(1.5), "decline": np.float32(2), "least_confidence": np.float32(0.3)}
        >>> shape = {"centre": np.zeros(1), "axes": np.ones((1, 1)), "precisions": np.ones(1)}
        >>> ood = OutOfDistribution(**shape, **thresholds, residual_precision=1.0, images=1, figures="")
        >>> zeros = np.zeros((3, 1, 4))
        >>> hypotheses = Hypotheses(np.full((3, 1, 4), 5), zeros[..., 0], zeros[..., 0], zeros[..., 0], zeros, zeros)
        >>> with numpy_backend():
        ...     [OUTCOMES[code] for code in Judge(ood).codes(np.float32([1, 1.7, 9]), hypotheses)]
        ['caption', 'hedged', 'declined']
    """

    def __init__(self, ood: OutOfDistribution, calibration: Mapping[str, Any] | None = None):
        self.ood = ood
        self._confidence = Confidence(calibration) if calibration else None
        least = float(ood.least_confidence)
        self._least_logit = math.log(least / (1 - least)) if least > 0 else -math.inf

    def codes(self, scores: Any, hypotheses: Hypotheses) -> Any:
        """The outcomes as numbers, indices of `OUTCOMES`.

        Args:
            scores: float32 [B]. Out-of-distribution scores of the images.
            hypotheses: Hypotheses of B images, K captions each, of which the first counts.

        Returns:
            int32 [B].
        """
        hedged = scores > self.ood.hedge
        if self._confidence is not None:
            mean_logp, least_logp, words = confidence_features(hypotheses)
            unsure = self._confidence.logit(mean_logp, least_logp, words) < self._least_logit
            hedged = hedged | unsure | (words < 1.0)
        code = xp.where(hedged, OUTCOMES.index(HEDGED), OUTCOMES.index(CAPTIONED))
        return xp.where(scores > self.ood.decline, OUTCOMES.index(DECLINED), code)


def outcomes(model: Any, features: Any, hypotheses: Hypotheses) -> tuple[Any, Any] | None:
    """The outcomes of images, as numbers int32 [B], and their out-of-distribution scores float32 [B].

    Args:
        model: `CaptionModel`.
        features: float [B, L, C]. Of the images.
        hypotheses: see `Judge.codes`.

    Returns:
        Two arrays or tensors; None for a model that was not fitted to tell.
    """
    if model.ood is None:
        return None
    scores = model.ood.score(mean_feature(features))
    return Judge(model.ood, model.calibration).codes(scores, hypotheses), scores


def confidence_features(hypotheses: Hypotheses) -> tuple[Any, Any, Any]:
    """`captioner.outputs.confidence.features` of the first of the captions of each image: float32 [B] each."""
    ids, word_logp, logp = hypotheses.ids[:, 0], hypotheses.word_logp[:, 0], hypotheses.logp[:, 0]
    is_word = (ids != PAD) & (ids != START) & (ids != END)
    words = xp.reduce_sum(xp.cast(is_word, xp.float32), axis=-1)
    return logp / (words + 1.0), xp.reduce_min(xp.where(is_word, word_logp, 0.0), axis=-1), words


def wording(sentence: str, outcome: str | None, language: str | Language) -> str:
    """What to show of a sentence.

    Args:
        sentence: str. As the model wrote it.
        outcome: str or None. One of `OUTCOMES`, or None for a model that cannot tell.
        language: str or Language. The language of the sentence; see `captioner.text.languages`.

    Example:
        >>> wording("a dog", "caption", "en"), wording("a dog", "hedged", "en"), wording("ein hund", "hedged", "de")
        ('a dog', 'Perhaps: a dog', 'Vielleicht: ein hund')
        >>> wording("a dog", "declined", "en")
        'no caption: unlike anything this model was trained on'
    """
    spoken = rules(language) if isinstance(language, str) else language
    if outcome == DECLINED:
        return spoken.declined
    return spoken.hedge + sentence if outcome == HEDGED and sentence else sentence


def judged(captions: Sequence[Caption], codes: Any, scores: Any, language: str) -> list[Caption]:
    """Captions with their outcomes.

    Args:
        captions: sequence of B Caption without an error.
        codes: int [B]. What `Judge.codes` returned.
        scores: float [B]. Out-of-distribution scores.
        language: str. The language of the captions.

    Returns:
        list of Caption; alternatives stay as they are.
    """
    results = []
    for caption, code, score in zip(captions, np.asarray(codes), np.asarray(scores), strict=True):
        outcome = OUTCOMES[int(code)]
        text = wording(caption.text, outcome, language)
        sentence = None if text == caption.text else caption.text
        results.append(
            replace(caption, text=text, outcome=outcome, ood_score=float(score), sentence=sentence)
        )
    return results
