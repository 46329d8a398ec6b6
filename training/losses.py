"""Losses, in `keras.ops` so that every backend trains with the same ones."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class CaptionLoss(keras.losses.Loss):
    """Cross-entropy in nats a word, with label smoothing, averaged over the words that count.

    With smoothing e the target is (1 - e) on the word and e / V on every word (Szegedy et al. 2016, section 7), so
    the loss is (1 - e) nll(y) + e mean over words of nll(v) = nll(y) + e (z_y - mean z), z being the logits: two
    cheap reductions beside the fused cross-entropy.

    Args:
        label_smoothing: float, default 0.0.

    Example:
        >>> loss = CaptionLoss()
        >>> round(float(loss([1, 0], [[0.0, 0.0], [9.0, 0.0]], sample_weight=[1.0, 0.0])), 4)
        0.6931
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "caption_loss"):
        super().__init__(name=name, reduction="mean_with_sample_weight")
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """[M] losses from ids [M] and logits [M, V]."""
        logits = ops.cast(y_pred, "float32")
        ids = ops.cast(y_true, "int32")
        loss = ops.sparse_categorical_crossentropy(ids, logits, from_logits=True)
        if self.label_smoothing:
            chosen = ops.take_along_axis(logits, ops.expand_dims(ids, -1), axis=-1)[:, 0]
            loss = loss + self.label_smoothing * (chosen - ops.mean(logits, axis=-1))
        return loss
