"""Losses, in `keras.ops` so that every backend trains with the same ones."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class CaptionLoss(keras.losses.Loss):
    """Cross-entropy in nats a word, with label smoothing, averaged over the words that count.

    With smoothing e the target is (1 - e) on the word and e / V on every word (Szegedy et al. 2016, section 7).

    Args:
        label_smoothing: float, default 0.0.
        summed: bool, default False. The sum over words times their weights, which may be negative, instead of the
            average.

    Example:
        >>> loss = CaptionLoss()
        >>> round(float(loss([1, 0], [[0.0, 0.0], [9.0, 0.0]], sample_weight=[1.0, 0.0])), 4)
        0.6931
    """

    def __init__(self, label_smoothing: float = 0.0, summed: bool = False, name: str = "caption_loss"):
        super().__init__(name=name, reduction="sum" if summed else "mean_with_sample_weight")
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """[M] losses from ids [M] and logits [M, V]."""
        logits = ops.cast(y_pred, "float32")
        ids = ops.cast(y_true, "int32")
        if not self.label_smoothing:
            return ops.sparse_categorical_crossentropy(ids, logits, from_logits=True)
        # Spelled out: the gradient of picking one logit a row adds up row by row, and took a tenth of a step.
        size = logits.shape[-1]
        said, other = 1 - self.label_smoothing, self.label_smoothing / size
        target = ops.where(ops.expand_dims(ids, 1) == ops.arange(size), said + other, other)
        return ops.categorical_crossentropy(target, logits, from_logits=True)
