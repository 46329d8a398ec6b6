"""The same model trained under JAX: equal losses step by step, and weights that go back and forth."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from captioner.models.packing import pack
from tests.support.models.small_models import SIZES, build, features_of
from training.loop.losses import CaptionLoss

ROOT = Path(__file__).parents[2]
SPECS = [
    f"lstm({SIZES}, attention='multi_head(units=8, heads=2)')",
    f"adaptive({SIZES}, cell='bidirectional', attention='scaled_dot(units=8)')",
]
STEPS = 4
# Short, for XLA compiles every step of the unrolled loop.
CAPTIONS, IMAGES, PROFILE = [[5, 6, 2], [8, 2], [19, 2], [3, 11, 2]], [0, 1, 0, 2], [4, 4, 3]


def train(spec, folder, backend):
    """Trains from the weights in `folder`; losses of every step. Run by both backends."""
    model = build(spec)
    model.load_weights(folder / "first.weights.h5")
    model.attention_penalty = 0.1
    model.compile(keras.optimizers.AdamW(1e-2, global_clipnorm=1.0), CaptionLoss(0.1))
    model.optimizer.build(model.trainable_variables)  # else TensorFlow traces the first step twice
    packed = pack(CAPTIONS, IMAGES, batch=3, group=2, profile=PROFILE)
    inputs = {"features": features_of(3), **packed.as_inputs()}
    losses = [float(model.train_on_batch(inputs, packed.targets, packed.weights)) for _ in range(STEPS)]
    model.save_weights(folder / f"{backend}.weights.h5")
    logits = keras.ops.convert_to_numpy(model(inputs))
    return model, inputs, losses, logits


def under_jax(folder, spec):
    """Trains a model in the child process, and prints the losses and what was imported."""
    import captioner.models
    import training.loop.losses

    folder = Path(folder)
    imported = "tensorflow" in sys.modules
    assert captioner.models and training.loop.losses
    _, _, losses, logits = train(spec, folder, "jax")
    np.save(folder / "jax.npy", logits)
    print(json.dumps({"backend": keras.backend.backend(), "tensorflow": imported, "losses": losses}))


@pytest.fixture(scope="module", params=SPECS)
def jax_run(request, tmp_path_factory):
    """The spec, the folder of its weights, and what the child process printed."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed: pip install 'captioner[dev]'")
    folder, spec = tmp_path_factory.mktemp("jax"), request.param
    build(spec, seed=7).save_weights(folder / "first.weights.h5")
    call = f"under_jax({str(folder)!r}, {spec!r})"
    child = subprocess.run(
        [sys.executable, "-c", f"from tests.models.test_jax import under_jax; {call}"],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-3000:]
    return spec, folder, json.loads(child.stdout.splitlines()[-1])


@pytest.mark.slow
def test_backends_train_the_same_model(jax_run):
    spec, folder, result = jax_run
    assert (result["backend"], result["tensorflow"]) == ("jax", False)
    model, inputs, losses, logits = train(spec, folder, "tensorflow")
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(result["losses"], losses, atol=1e-4)
    jax_logits = np.load(folder / "jax.npy")
    assert np.abs(logits - jax_logits).max() < 1e-2
    # Weights trained under JAX give the same logits under TensorFlow.
    model.load_weights(folder / "jax.weights.h5")
    np.testing.assert_allclose(model(inputs), jax_logits, atol=1e-5)
