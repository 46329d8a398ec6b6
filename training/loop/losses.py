"""Losses, written in `keras.ops` for all backends."""

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
        return _smoothed_cross_entropy(
            ops.cast(y_true, "int32"), ops.cast(y_pred, "float32"), self.label_smoothing
        )


def _smoothed_cross_entropy(ids: Any, logits: Any, smoothing: float) -> Any:
    """[M] cross-entropies of softmax(logits [M, V]) with the smoothed targets of ids [M].

    Frameworks materialise the targets [M, V]. With z the logits, e the smoothing and S the softmax
    it is log sum exp z - (1 - e) z_id - e mean z, whose gradient is S - target, so one softmax serves both; the
    logarithm is the largest logit less that of its probability, which is never small.
    """
    size = logits.shape[-1]
    target_weight, other_weight = 1 - smoothing, smoothing / size

    @ops.custom_gradient
    def cross_entropy(logits: Any) -> tuple[Any, Any]:
        probabilities = ops.softmax(logits, axis=-1)
        total = ops.max(logits, axis=-1) - ops.log(ops.max(probabilities, axis=-1))
        chosen = ops.take_along_axis(logits, ops.expand_dims(ids, 1), axis=1)[:, 0]
        losses = total - target_weight * chosen - other_weight * ops.sum(logits, axis=-1)

        def gradient(*upstreams: Any, upstream: Any = None) -> Any:
            weights = ops.expand_dims(upstreams[0] if upstream is None else upstream, 1)
            target = ops.where(
                ops.expand_dims(ids, 1) == ops.arange(size), target_weight + other_weight, other_weight
            )
            return weights * (probabilities - target)

        return losses, gradient

    return cross_entropy(logits)
