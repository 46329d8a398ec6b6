"""The moving average of weights against its equation, on its own and in a graph."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.loop.optimizer import AveragedAdam

SHAPES = (3, 2), (4,)


def optimizer_of(weights, momentum, kind=AveragedAdam):
    made = kind(0.05, weight_decay=0.01, use_ema=True, ema_momentum=momentum)
    made.build(weights)
    return made


def averages(optimizer):
    return [average.numpy() for average in optimizer._model_variables_moving_average]


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.995])
@pytest.mark.parametrize("traced", [False, True], ids=["eager", "graph"])
def test_average_is_that_of_the_loop_written_out(momentum, traced):
    random = np.random.default_rng(2)
    weights = [keras.Variable(random.normal(size=shape).astype(np.float32)) for shape in SHAPES]
    optimizer = optimizer_of(weights, momentum)
    apply = tf.function(optimizer.apply) if traced else optimizer.apply
    expected = None
    for t in range(120):
        apply([tf.constant(random.normal(size=shape), tf.float32) for shape in SHAPES])
        current = [weight.numpy().astype(np.float64) for weight in weights]
        factor = min(momentum, (1 + t) / (10 + t)) if t else 0.0
        expected = [factor * a + (1 - factor) * w for a, w in zip(expected or current, current, strict=True)]
        for average, value in zip(averages(optimizer), expected, strict=True):
            np.testing.assert_allclose(average, value, rtol=1e-4, atol=1e-5)


def test_average_of_twenty_steps_is_near_the_weights():
    """What is scored after a short training is close to what was trained, unlike with a constant momentum."""
    distances = {}
    for kind in (AveragedAdam, keras.optimizers.Adam):
        weight = keras.Variable(np.zeros(4, np.float32))
        optimizer = optimizer_of([weight], 0.995, kind)
        for _ in range(20):
            optimizer.apply([tf.constant([-1.0, -1.0, 1.0, 1.0])])  # a steady way from zero
        distances[kind] = (
            np.abs(averages(optimizer)[0] - weight.numpy()).mean() / np.abs(weight.numpy()).mean()
        )
    assert distances[AveragedAdam] < 0.35 < 0.8 < distances[keras.optimizers.Adam]


def test_variables_are_those_of_adam():
    """So checkpoints written with either are read by the other."""
    kinds = []
    for kind in (AveragedAdam, keras.optimizers.Adam):
        optimizer = optimizer_of([keras.Variable(np.zeros(3, np.float32), name="w")], 0.9, kind)
        kinds.append([(v.path.partition("/")[2], tuple(v.shape), v.dtype) for v in optimizer.variables])
    assert kinds[0] == kinds[1]


JAX = """
import numpy as np, keras, jax
from training.loop.optimizer import AveragedAdam
layer = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
layer.compile(AveragedAdam(0.05, use_ema=True, ema_momentum=0.995), "mse", jit_compile=True)
expected = None
for t in range(30):
    layer.train_on_batch(np.ones((4, 3), np.float32), np.full((4, 2), 5.0, np.float32))
    value = np.array(layer.trainable_variables[0].value)
    factor = min(0.995, (1 + t) / (10 + t)) if t else 0.0
    expected = value if expected is None else factor * expected + (1 - factor) * value
np.testing.assert_allclose(layer.optimizer._model_variables_moving_average[0].value, expected, rtol=1e-4)
"""


def test_average_on_jax():
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-c", JAX],
        env={"KERAS_BACKEND": "jax", "PATH": "", "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-800:]
