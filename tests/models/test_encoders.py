"""The encoders: every row builds, gives its grid and scales pixels as Keras does."""

import json
import sys

import keras
import numpy as np
import pytest

import captioner
from captioner.models import ENCODERS, CaptionModel
from captioner.models.encoders import _APPLICATIONS, Encoder, build_encoder
from captioner.models.packing import pack
from tests.support.models.small_models import CAPTIONS, IMAGES, TOKENIZER
from training.loop.losses import CaptionLoss

DECODER = "lstm(units=8, embedding=8, value_dim=8, attention='additive(units=8)', dropout=0.0)"
QUICK = ["mobilenet", "mobilenet_v3_small", "vgg16", "efficientnet_lite0", "small_cnn"]
# The smallest images that some of them take, and the grid that these give.
SMALLEST = {"inception_v3": (75, 1), "inception_resnet_v2": (75, 1), "xception": (71, 3)}
CHANNELS = {
    "mobilenet": 1024, "mobilenet_v2": 1280, "mobilenet_v3_small": 576, "mobilenet_v3_large": 960, "vgg16": 512,
    "vgg19": 512, "densenet121": 1024, "densenet169": 1664, "densenet201": 1920, "resnet50": 2048,
    "inception_v3": 2048, "xception": 2048, "efficientnet_b0": 1280, "efficientnet_b7": 2560, "small_cnn": 128,
    **{f"efficientnet_lite{size}": 1280 for size in range(5)},
    "convnext_tiny": 768, "convnext_large": 1536, "nasnet_mobile": 1056, "efficientnet_v2_b0": 1280,
    "concat": 1024 + 512,
}  # fmt: skip


def row(name):
    return pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("name", [row(name) for name in ENCODERS])
def test_every_encoder_builds_and_gives_its_grid(name):
    keras.backend.clear_session()
    side, grid = SMALLEST.get(name, (64, 8 if name == "small_cnn" else 2))
    spec = "concat(encoders=['mobilenet', 'vgg16'])" if name == "concat" else name
    encoder = ENCODERS.build(spec, image_size=(side, side))
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    features = encoder(pixels)
    height, width = encoder.grid
    assert features.shape == (2, height * width, encoder.channels)
    assert encoder.channels == CHANNELS.get(name, encoder.channels)
    assert (height, width) == (grid, grid)
    assert encoder.image_size == (side, side)
    assert np.isfinite(features).all()
    assert np.abs(features[0] - features[1]).max() > 0


@pytest.mark.parametrize("name", list(_APPLICATIONS))
def test_pixels_are_scaled_as_keras_scales_them(name):
    """Through a network that does nothing: what comes out is what a real one would be fed."""
    class_name, scaling = _APPLICATIONS[name]
    pixels = keras.Input((4, 5, 3))
    encoder = Encoder(keras.Model(pixels, keras.layers.Activation("linear")(pixels)), scaling)
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    module = sys.modules[getattr(keras.applications, class_name).__module__]
    expected = np.asarray(module.preprocess_input(images.astype(np.float32)))
    for batch in (images, images.astype(np.float32)):
        np.testing.assert_allclose(encoder(batch), expected.reshape(2, 20, 3), atol=1e-5)


@pytest.mark.parametrize(("size", "millions"), [(0, 4.7), (1, 5.4), (2, 6.1), (3, 8.2), (4, 13.0)])
def test_efficientnet_lite_is_as_large_as_published(size, millions):
    """Weights with a top of 1,000 classes: github.com/tensorflow/tpu, models/official/efficientnet/lite."""
    network = ENCODERS.build(f"efficientnet_lite{size}", image_size=(224, 224)).network
    weights = sum(int(np.prod(w.shape)) for w in network.trainable_weights) + 1281 * 1000
    assert round(weights / 1e6, 1) == millions


def test_inner_layer_gives_finer_grid():
    coarse, fine = (
        ENCODERS.build(spec, image_size=(64, 96))
        for spec in ("mobilenet(alpha=0.25)", "mobilenet(alpha=0.25, layer='conv_pw_11_relu')")
    )
    assert (coarse.grid, coarse.channels) == ((2, 3), 256)
    assert (fine.grid, fine.channels) == ((4, 6), 128)


@pytest.mark.parametrize("join", ["coarse", "fine"])
def test_several_layers_share_a_grid(join):
    keras.utils.set_random_seed(1)
    names = ["conv_pw_11_relu", "conv_pw_13_relu"]
    spec = f"mobilenet(alpha=0.25, layer={names}, join={join!r})"
    encoder = ENCODERS.build(spec, image_size=(64, 96))
    assert (encoder.grid, encoder.channels) == ((2, 3) if join == "coarse" else (4, 6), 128 + 256)
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
    features = np.asarray(encoder(image)).reshape(*encoder.grid, -1)
    cnn = encoder.network
    parts = keras.Model(cnn.input, [cnn.get_layer(name).output for name in names])
    fine, coarse = (np.asarray(part)[0] for part in parts(image / 127.5 - 1))
    if join == "coarse":
        fine = fine.reshape(2, 2, 3, 2, 128).mean(axis=(1, 3))
    else:
        coarse = coarse.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_allclose(features, np.concatenate([fine, coarse], axis=-1), atol=1e-5)
    model = CaptionModel(spec, DECODER, TOKENIZER, image_size=(64, 96))
    again = CaptionModel.from_config(json.loads(json.dumps(model.get_config())), tokenizer=TOKENIZER)
    assert again.grid == model.grid


def test_concat_scales_for_each_encoder(tmp_path):
    keras.utils.set_random_seed(1)
    files = {name: str(tmp_path / f"{name}.weights.h5") for name in ("mobilenet", "small_cnn")}
    bare = {"mobilenet": "mobilenet(alpha=0.25)", "small_cnn": "small_cnn(width=4, stages=5)"}
    alone = [ENCODERS.build(spec, image_size=(64, 96)) for spec in bare.values()]
    for one, file in zip(alone, files.values(), strict=True):
        one.network.save_weights(file)
    specs = [spec[:-1] + f", weights={files[name]!r})" for name, spec in bare.items()]
    model = CaptionModel(f"concat(encoders={specs!r})", DECODER, TOKENIZER, image_size=(64, 96))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    expected = np.concatenate([one(images) for one in alone], axis=-1)
    np.testing.assert_allclose(model.encode(images), expected, atol=1e-5)
    assert model.grid == (2, 3) and [part.channels for part in model.encoder.parts] == [256, 64]
    # The folder that it is saved in holds every weight once, and needs none of the files.
    config = model.get_config()
    assert not any(file in json.dumps(config) for file in files.values())
    with captioner.load(captioner.save(model, tmp_path / "model")) as again:
        np.testing.assert_allclose(again.engine.model.encode(images), expected, atol=1e-5)
    kept = (tmp_path / "model" / "model.weights.h5").stat().st_size
    assert kept < 1.5 * 4 * sum(int(np.prod(w.shape)) for w in model.weights)


def test_concat_of_different_grids(tmp_path):
    keras.utils.set_random_seed(1)
    specs = ["mobilenet(alpha=0.25)", "small_cnn(width=4, stages=3)"]
    for join, grid in (("coarse", (2, 2)), ("fine", (8, 8))):
        both = ENCODERS.build(f"concat(encoders={specs!r}, join={join!r})", image_size=(64, 64))
        assert (both.grid, both.channels) == (grid, 256 + 16)


def test_locations_are_row_major():
    pixels = keras.Input((64, 96, 3))
    encoder = Encoder(keras.Model(pixels, keras.layers.AveragePooling2D(16)(pixels)))
    image = np.zeros((1, 64, 96, 3))
    image[:, 34:46, 2:14] = 255
    lit = np.asarray(encoder(image))[0].sum(-1).reshape(encoder.grid)
    assert encoder.grid == (4, 6) and np.argwhere(lit).tolist() == [[2, 0]]


def test_any_keras_model_is_an_encoder(tmp_path):
    pixels = keras.Input((12, 16, 3))
    network = keras.Model(pixels, keras.layers.Conv2D(7, 3, strides=4, padding="same")(pixels))
    model = CaptionModel(network, DECODER, TOKENIZER)
    assert (model.grid, model.image_size, model.encoder.channels) == ((3, 4), (12, 16), 7)
    again = CaptionModel.from_config(json.loads(json.dumps(model.get_config())), tokenizer=TOKENIZER)
    model.save_weights(tmp_path / "w.weights.h5")
    again.load_weights(tmp_path / "w.weights.h5")
    images = np.random.default_rng(0).uniform(0, 255, (2, 12, 16, 3))
    np.testing.assert_array_equal(model.encode(images), again.encode(images))


def test_weights_from_a_file(tmp_path):
    one = ENCODERS.build("small_cnn(width=4)", image_size=(16, 16))
    path = tmp_path / "one.weights.h5"
    one.network.save_weights(path)
    two = ENCODERS.build(f"small_cnn(width=4, weights={str(path)!r})", image_size=(16, 16))
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3))
    np.testing.assert_array_equal(one(images), two(images))
    # The path is not part of what rebuilds the network: a model folder holds its own weights.
    _, config = build_encoder(f"small_cnn(width=4, weights={str(path)!r})", (16, 16))
    assert config == "small_cnn(width=4)"


def test_training_the_encoder_is_a_choice():
    keras.utils.set_random_seed(0)
    encoder = "small_cnn(width=4, stages=2)"
    images = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    packed = pack(CAPTIONS, IMAGES, batch=3, group=2)
    for train in (False, True):
        model = CaptionModel(encoder, DECODER, TOKENIZER, image_size=(8, 8), train_encoder=train)
        assert bool(model.encoder.trainable_variables) == train
        before = [w.numpy() for w in model.encoder.weights]
        model.compile(keras.optimizers.SGD(0.1), CaptionLoss(), run_eagerly=True)
        model.train_on_batch({"images": images, **packed.as_inputs()}, packed.targets, packed.weights)
        after = [w.numpy() for w in model.encoder.weights]
        changed = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
        # Frozen means frozen: batch statistics stay too.
        assert all(changed) if train else not any(changed)


def test_freeze_batch_norm():
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    packed = pack(CAPTIONS, IMAGES, batch=3, group=2)
    model = CaptionModel(
        "small_cnn(width=4, stages=2)", DECODER, TOKENIZER, image_size=(8, 8), train_encoder=True
    )
    model.freeze_batch_norm = True
    before = {w.path: w.numpy() for w in model.encoder.weights}
    model.compile(keras.optimizers.SGD(0.1), CaptionLoss(), run_eagerly=True)
    model.train_on_batch({"images": images, **packed.as_inputs()}, packed.targets, packed.weights)
    changed = {w.path for w in model.encoder.weights if not np.array_equal(before[w.path], w.numpy())}
    assert changed == {w.path for w in model.encoder.trainable_weights}
    assert any("moving" in path for path in before.keys() - changed)
