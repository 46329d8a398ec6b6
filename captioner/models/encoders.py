"""The encoders: pixels 0..255 to features [B, L, C], by any CNN that ends in a grid.

The table covers `keras.applications`, and EfficientNet-Lite. Each row takes `weights`: None (random), "imagenet"
(downloaded and kept in Keras' cache) or the path of a weights file made for the network without its top; and `layer`:
the name of the layer whose output is the grid, the last one when None, so that an earlier stage gives a finer grid.
Several names give features of several layers, concatenated on the coarsest grid, or with `join="fine"` on the finest.
`concat` concatenates the features of several encoders in the same way.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras

from captioner import checks
from captioner.errors import ModelError
from captioner.models import keras_config
from captioner.models.efficientnet_lite import SIZES, efficientnet_lite
from captioner.models.encoder import Encoder, Scaling
from captioner.models.encoder_weights import check_file, load_file, load_network
from captioner.models.lite_weights import load_imagenet
from captioner.registry import Spec, Table, parse_spec, unknown

_JOINS = ("coarse", "fine")

# Row: class in keras.applications, scaling ("none": the network scales its pixels itself).
_APPLICATIONS: dict[str, tuple[str, str]] = {
    "mobilenet": ("MobileNet", "tf"),
    "mobilenet_v2": ("MobileNetV2", "tf"),
    "mobilenet_v3_small": ("MobileNetV3Small", "none"),
    "mobilenet_v3_large": ("MobileNetV3Large", "none"),
    **{f"efficientnet_b{i}": (f"EfficientNetB{i}", "none") for i in range(8)},
    **{f"efficientnet_v2_b{i}": (f"EfficientNetV2B{i}", "none") for i in range(4)},
    **{f"efficientnet_v2_{s}": (f"EfficientNetV2{s.upper()}", "none") for s in "sml"},
    **{f"resnet{n}": (f"ResNet{n}", "caffe") for n in (50, 101, 152)},
    **{f"resnet{n}_v2": (f"ResNet{n}V2", "tf") for n in (50, 101, 152)},
    **{f"densenet{n}": (f"DenseNet{n}", "torch") for n in (121, 169, 201)},
    "inception_v3": ("InceptionV3", "tf"),
    "inception_resnet_v2": ("InceptionResNetV2", "tf"),
    "xception": ("Xception", "tf"),
    "nasnet_mobile": ("NASNetMobile", "tf"),
    **{f"vgg{n}": (f"VGG{n}", "caffe") for n in (16, 19)},
    **{f"convnext_{s}": (f"ConvNeXt{s.capitalize()}", "none") for s in ("tiny", "small", "base", "large")},
}


def _application(
    name: str,
    /,
    image_size: tuple[int, int],
    weights: str | None = None,
    layer: str | Sequence[str] | None = None,
    join: str = "coarse",
    **options: Any,
) -> Encoder:
    class_name, scaling = _APPLICATIONS[name]
    make = getattr(keras.applications, class_name)
    allowed = inspect.signature(make).parameters
    for key in options:
        if key not in allowed or key in ("include_top", "input_shape", "input_tensor", "name", "pooling"):
            known_options = [
                k for k in ("alpha", "depth_multiplier", "minimalistic", "dropout_rate") if k in allowed
            ]
            raise ModelError(
                unknown(f"option of encoder {name!r}:", key, ["weights", "layer", "join", *known_options])
            )
    return Encoder(_cut(load_network(name, make, image_size, weights, options), name, layer, join), scaling)


def _lite(
    size: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    layer: str | Sequence[str] | None = None,
    join: str = "coarse",
) -> Encoder:
    name = f"efficientnet_lite{size}"
    if weights not in (None, "imagenet"):
        check_file(name, weights, "None, 'imagenet' or the path of a file")
    network = efficientnet_lite(size, (*image_size, 3))
    if weights == "imagenet":
        load_imagenet(network, size)
    elif weights is not None:
        load_file(network, name, weights)
    return Encoder(_cut(network, name, layer, join))


def _cut(
    network: keras.Model, name: str, layer: str | Sequence[str] | None, join: str = "coarse"
) -> keras.Model:
    """The network up to a layer, all of it when None, or up to several whose grids are joined."""
    if layer is None:
        return network
    if not isinstance(layer, str | list | tuple):
        raise ModelError(
            f"expected layer of encoder {name!r} to be a name or a list of names, got {layer!r:.100}"
        )
    wanted = [layer] if isinstance(layer, str) else list(layer)
    names = [network_layer.name for network_layer in network.layers]
    for layer_name in wanted:
        if layer_name not in names:
            near = [n for n in names if n.endswith(("_relu", "_out", "_add", "_pool", "_concat", "_conv"))]
            raise ModelError(unknown(f"layer of encoder {name!r}:", str(layer_name), near or names))
    if not wanted:
        raise ModelError("layer=() is empty")
    grids = [network.get_layer(layer_name).output for layer_name in wanted]
    return keras.Model(network.input, _concatenated(grids, name, join), name=network.name)


def _concatenated(grids: list[Any], name: str, join: str) -> Any:
    """Concatenates grids along C: the finer ones averaged to the coarsest, or the coarser ones repeated."""
    if join not in _JOINS:
        raise ModelError(unknown(f"join of encoder {name!r}:", str(join), _JOINS))
    if len(grids) == 1:
        return grids[0]
    if not all(len(grid.shape) == 4 for grid in grids):
        raise ModelError(
            f"expected layers of encoder {name!r} that are grids, got {[g.shape for g in grids]}"
        )
    sizes = [tuple(grid.shape[1:3]) for grid in grids]
    size = min(sizes) if join == "coarse" else max(sizes)
    fitted = []
    for grid, grid_size in zip(grids, sizes, strict=True):
        finer, coarser = (grid_size, size) if join == "coarse" else (size, grid_size)
        factor = tuple(m // n for m, n in zip(finer, coarser, strict=True))
        if any(n * f != m for m, n, f in zip(finer, coarser, factor, strict=True)):
            raise ModelError(
                f"expected grids of encoder {name!r} that are multiples of one another, got {sizes}: "
                "choose another image size or other layers"
            )
        fit = keras.layers.AveragePooling2D if join == "coarse" else keras.layers.UpSampling2D
        fitted.append(grid if factor == (1, 1) else fit(factor)(grid))
    return keras.layers.Concatenate()(fitted)


def small_cnn(
    image_size: tuple[int, int], weights: str | None = None, width: int = 32, stages: int = 3
) -> Encoder:
    """Small CNN to train from scratch on simple images: `stages` strided 3x3 convolutions, then one more.

    Args:
        image_size: (height, width).
        weights: None or path of a weights file.
        width: int, default 32. Channels of the first stage, doubled at each next.
        stages: int, default 3. The grid is 2 ** stages times smaller than the image.
    """
    checks.integer(width, "width", 1, 4096)
    checks.integer(stages, "stages", 1, 10)
    pixels = keras.Input((*image_size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    for stage in range(stages + 1):
        stride = 2 if stage < stages else 1
        channels = width * 2 ** min(stage, stages - 1)
        x = keras.layers.Conv2D(channels, 3, strides=stride, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
    network = keras.Model(pixels, x, name="small_cnn")
    if weights is not None:
        check_file("small_cnn", weights, "None or the path of a file")
        load_file(network, "small_cnn", weights)
    return Encoder(network)


def concat(image_size: tuple[int, int], encoders: Sequence[str], join: str = "coarse") -> Encoder:
    """Several encoders of the same image, their features concatenated along C.

    Args:
        image_size: (height, width).
        encoders: specs of `ENCODERS`, each of another name: `["densenet169", "mobilenet_v2(alpha=0.5)"]`.
        join: "coarse" or "fine": the grid that encoders of different grids are brought to.

    Raises:
        ModelError: if they are fewer than two, of the same name, or their grids do not fit.

    Example:
        >>> both = concat((64, 64), ["small_cnn(width=8, stages=5)", "mobilenet(alpha=0.25)"])
        >>> both.grid, both.channels
        ((2, 2), 384)
    """
    if not isinstance(encoders, str | list | tuple):
        raise ModelError(f"expected concat(encoders=[...]) to list specs, got {encoders!r:.100}")
    specs = [parse_spec(encoder) for encoder in ([encoders] if isinstance(encoders, str) else encoders)]
    names = [spec.name for spec in specs]
    if len(set(names)) < max(2, len(names)):
        raise ModelError(
            f"expected concat(encoders=[...]) to name two encoders or more, each once, got {names}"
        )
    parts = [ENCODERS.build(spec, image_size=tuple(image_size)) for spec in specs]
    pixels = keras.Input((*image_size, 3))
    grids = [part.network(Scaling(part.scaling)(pixels)) for part in parts]
    network = keras.Model(pixels, _concatenated(grids, "concat", join), name="concat")
    return Encoder(network, parts=parts)


def _row(name: str) -> Any:
    build = partial(_application, name)
    build.__doc__ = f"{_APPLICATIONS[name][0]} of keras.applications."
    return build


def _lite_row(size: int) -> Any:
    build = partial(_lite, size)
    build.__doc__ = f"EfficientNet-Lite{size}, made to be quantised, for devices."
    return build


ENCODERS = Table(
    "encoder",
    {
        **{name: _row(name) for name in _APPLICATIONS},
        **{f"efficientnet_lite{size}": _lite_row(size) for size in SIZES},
        "small_cnn": small_cnn,
        "concat": concat,
    },
)


def build_encoder(
    encoder: str | Spec | keras.Model | Encoder, image_size: tuple[int, int]
) -> tuple[Encoder, Any]:
    """An encoder and the config that rebuilds it without its weights.

    Args:
        encoder: a spec of `ENCODERS`, any `keras.Model` from pixels 0..255 to a grid, or an `Encoder`.
        image_size: (height, width) for a spec; a model has its own.

    Returns:
        The `Encoder` and its config: a spec string, or a dict that holds a serialised Keras model.
    """
    if isinstance(encoder, dict):
        return Encoder(keras_config.network(encoder["keras"]), encoder["scaling"]), encoder
    if isinstance(encoder, keras.Model):
        encoder = Encoder(encoder)
    if isinstance(encoder, Encoder):
        return encoder, {"keras": encoder.network.to_json(), "scaling": encoder.scaling}
    spec = parse_spec(encoder)
    built = ENCODERS.build(spec, image_size=tuple(image_size))
    if not isinstance(built, Encoder):
        raise ModelError(f"expected encoder {spec.name!r} to give an Encoder, got {type(built).__name__}")
    return built, str(without_weights(spec))


def without_weights(encoder: str | Spec) -> Spec:
    """The spec of an encoder without the file that its weights come from, nor those of the encoders that it joins.

    Example:
        >>> str(without_weights("densenet169(weights='imagenet', layer='pool4_relu')"))
        "densenet169(layer='pool4_relu')"
    """
    spec = parse_spec(encoder)
    args = {key: value for key, value in spec.args.items() if key != "weights"}
    joined = args.get("encoders")
    if isinstance(joined, list | tuple):
        args["encoders"] = [str(without_weights(member)) for member in joined]
    return Spec(spec.name, args)


__all__ = ["ENCODERS", "Encoder", "build_encoder", "concat", "small_cnn", "without_weights"]
