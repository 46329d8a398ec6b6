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


def under_jax(folder):
    """Trains every model in the child process, and prints the losses and what was imported."""
    import captioner.models
    import training.loop.losses

    folder = Path(folder)
    imported = "tensorflow" in sys.modules
    result = {"backend": keras.backend.backend(), "tensorflow": imported, "losses": []}
    assert captioner.models and training.loop.losses
    for number, spec in enumerate(SPECS):
        _, _, losses, logits = train(spec, folder / str(number), "jax")
        np.save(folder / str(number) / "jax.npy", logits)
        result["losses"].append(losses)
    print(json.dumps(result))


@pytest.fixture(scope="module")
def jax_run(tmp_path_factory):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed: pip install 'captioner[dev]'")
    folder = tmp_path_factory.mktemp("jax")
    for number, spec in enumerate(SPECS):
        (folder / str(number)).mkdir()
        build(spec, seed=7).save_weights(folder / str(number) / "first.weights.h5")
    child = subprocess.run(
        [sys.executable, "-c", f"from tests.models.test_jax import under_jax; under_jax({str(folder)!r})"],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-3000:]
    return folder, json.loads(child.stdout.splitlines()[-1])


def test_jax_needs_no_tensorflow(jax_run):
    _, result = jax_run
    assert (result["backend"], result["tensorflow"]) == ("jax", False)


@pytest.mark.parametrize("number", range(len(SPECS)))
def test_backends_train_the_same_model(jax_run, number):
    folder, result = jax_run
    model, inputs, losses, logits = train(SPECS[number], folder / str(number), "tensorflow")
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(result["losses"][number], losses, atol=1e-4)
    jax_logits = np.load(folder / str(number) / "jax.npy")
    assert np.abs(logits - jax_logits).max() < 1e-2
    # Weights trained under JAX give the same logits under TensorFlow.
    model.load_weights(folder / str(number) / "jax.weights.h5")
    np.testing.assert_allclose(model(inputs), jax_logits, atol=1e-5)
