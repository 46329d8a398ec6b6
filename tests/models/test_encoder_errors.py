"""Wrong specs, weights and networks of encoders end in one line."""

import urllib.request

import keras
import pytest

from captioner.errors import CaptionerError, ModelError, SpecError
from captioner.models import ENCODERS, CaptionModel
from captioner.models.encoders import Encoder, build_encoder
from tests.support.models.small_models import TOKENIZER

DECODER = "lstm(units=8, embedding=8, value_dim=8, attention='additive(units=8)', dropout=0.0)"


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("mobilenett", SpecError, "did you mean 'mobilenet'"),
        ("mobilenet(layr='x')", ModelError, "did you mean 'layer'"),
        ("mobilenet(include_top=True)", ModelError, "include_top"),
        ("mobilenet(layer='conv_pw_1_rely')", ModelError, "did you mean 'conv_pw_1_relu'"),
        ("mobilenet(alpha=-2)", ModelError, "mobilenet"),
        (
            "mobilenet(layer=['conv_pw_1_relu', 'conv_pw_2_rely'])",
            ModelError,
            "did you mean 'conv_pw_2_relu'",
        ),
        (
            "mobilenet(layer=['conv_pw_1_relu', 'conv_pw_13_relu'], join='fin')",
            ModelError,
            "did you mean 'fine'",
        ),
        ("mobilenet(layer=[])", ModelError, "is empty"),
        ("mobilenet(weights='nowhere.h5')", ModelError, "'nowhere.h5', which does not exist"),
        ("efficientnet_lite4(weights='imagenet')", ModelError, "no package carries its weights"),
        ("efficientnet_lite0(layer='block3_addd')", ModelError, "did you mean 'block"),
        ("small_cnn(weights='nowhere.h5')", ModelError, "'nowhere.h5', which does not exist"),
        ("small_cnn(widht=4)", SpecError, "did you mean 'width'"),
        ("xception", ModelError, "71"),
        ("concat(encoders=['mobilenet'])", ModelError, "two encoders or more"),
        ("concat(encoders=['mobilenet', 'mobilenet'])", ModelError, "each once"),
        ("concat(encoders='mobilenet')", ModelError, "two encoders or more"),
        ("concat(encoders=['mobilenet', 'small_cn'])", SpecError, "did you mean 'small_cnn'"),
        ("concat(encoders=['mobilenet', 'small_cnn'], join='fin')", ModelError, "did you mean 'fine'"),
    ],
)
def test_a_wrong_encoder_is_one_line(spec, error, words):
    with pytest.raises(CaptionerError, match=words) as caught:
        CaptionModel(spec, DECODER, TOKENIZER, image_size=(32, 32))
    assert isinstance(caught.value, error)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mobilenet", "small_cnn"])
def test_wrong_weights_are_one_line(name, tmp_path):
    path = tmp_path / "other.weights.h5"
    pixels = keras.Input((8, 8, 3))
    keras.Model(pixels, keras.layers.Conv2D(3, 3)(pixels)).save_weights(path)
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(b"no weights at all")
    for file in (path, damaged):
        with pytest.raises(ModelError, match="another network's or a damaged file") as caught:
            ENCODERS.build(f"{name}(weights={str(file)!r})", image_size=(32, 32))
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_imagenet_offline_names_the_file(monkeypatch, tmp_path):
    # A proxy that nobody answers at closes the network where it is open.
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        ENCODERS.build("mobilenet_v2(weights='imagenet')", image_size=(96, 96))
    message = str(caught.value)
    assert "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5" in message
    assert "mobilenet_v2(weights='FILE')" in message and "\n" not in message


def test_an_encoder_must_end_in_a_grid():
    pixels = keras.Input((8, 8, 3))
    flat = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(pixels))
    with pytest.raises(ModelError, match="include_top=False"):
        CaptionModel(flat, DECODER, TOKENIZER)
    anysize = keras.Input((None, None, 3))
    with pytest.raises(ModelError, match="known size"):
        CaptionModel(keras.Model(anysize, keras.layers.Conv2D(4, 3)(anysize)), DECODER, TOKENIZER)
    with pytest.raises(ModelError, match="scaling"):
        Encoder(keras.Model(pixels, keras.layers.Conv2D(4, 3)(pixels)), scaling="torhc")


@pytest.mark.parametrize(
    "spec",
    [
        "small_cnn(weights=7)",
        "efficientnet_lite0(weights=[])",
        "mobilenet(weights=True)",
        "mobilenet(layer=1.5)",
        "efficientnet_lite0(layer=7)",
        "mobilenet(alpha=None)",
        "mobilenet_v2(alpha=1e400)",
        "mobilenet(name='x')",
        "mobilenet(input_tensor=7)",
        "concat(encoders=7)",
        "concat(encoders='small_cnn')",
        "concat()",
        "fractions:Fraction",
        "captioner.models.encoders:without_weights",
    ],
)
def test_wrong_options_are_one_line(spec):
    with pytest.raises(CaptionerError) as error:
        build_encoder(spec, (32, 32))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
