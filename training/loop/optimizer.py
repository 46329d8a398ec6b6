"""Adam whose moving average of weights warms up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from captioner.signals import defer_signals


@keras.saving.register_keras_serializable("captioner")
class AveragedAdam(keras.optimizers.Adam):
    """Adam, with a moving average of weights that forgets the first steps faster than the later ones.

    The average begins with the weights after the first step. After t steps its momentum is
    min(`ema_momentum`, (1 + t) / (10 + t)), the rule of `num_updates` of TensorFlow's
    `tf.train.ExponentialMovingAverage`: with 0.995 the plain average of 80 steps is mostly of the first, nearly random
    weights. Variables are those of `keras.optimizers.Adam`, so checkpoints of either fit the other.

    Example:
        >>> weight = keras.Variable([1.0])
        >>> optimizer = AveragedAdam(0.5, use_ema=True, ema_momentum=0.995)
        >>> optimizer.build([weight])
        >>> for _ in range(2):
        ...     optimizer.apply([ops.ones((1,))])
        >>> optimizer._model_variables_moving_average[0].numpy().round(3)  # 2 / 11 of 0.5, 9 / 11 of 0.0
        array([0.091], dtype=float32)
    """

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[Any]) -> None:
        if not self.use_ema:
            return
        steps = ops.cast(self.iterations, "float32")
        momentum = ops.minimum(self.ema_momentum, (1.0 + steps) / (10.0 + steps))
        momentum = ops.where(steps > 0, momentum, 0.0)  # averages are zeros before the first step
        for variable, average in zip(trainable_variables, self._model_variables_moving_average, strict=True):
            if average is not None:
                change = ops.cast(1.0 - momentum, variable.dtype) * (variable - average)
                average.assign(average + change)


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Context manager that puts the moving average of a model's weights in their place.

    Args:
        model: keras.Model, compiled with an optimizer that keeps an average.
    """
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=False)
    swap.set_model(model)
    with defer_signals():
        swap.on_test_begin()
    try:
        yield
    finally:
        with defer_signals():
            swap.on_test_end()
