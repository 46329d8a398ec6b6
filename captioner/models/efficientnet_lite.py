"""EfficientNet-Lite, which `keras.applications` lacks: EfficientNet made to be quantised, for devices.

Tan & Le 2019 (EfficientNet, arXiv 1905.11946, table 1) without squeeze-and-excitation and with ReLU6 instead of
swish; stem, head, and the depth of the first and last stage are the same in every size.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers

# Kernel, stride, expansion, channels and blocks of each stage, before scaling.
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# Factors of width and depth.
SIZES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2), 3: (1.2, 1.4), 4: (1.4, 1.8)}


def efficientnet_lite(size: int, input_shape: tuple[int, int, int]) -> keras.Model:
    """The network without its top, from pixels 0..255 to a grid a 32nd of the image's size.

    Args:
        size: int, 0 to 4.
        input_shape: (height, width, 3).

    Returns:
        `keras.Model`, 1280 channels.

    Example:
        >>> efficientnet_lite(0, (224, 224, 3)).output.shape
        (None, 7, 7, 1280)
    """
    width, depth = SIZES[size]
    pixels = keras.Input(input_shape)
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescale")(pixels)
    x = _convolved(x, "stem", layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False))
    number = 0
    for stage, (kernel, stride, expansion, channels, blocks) in enumerate(_STAGES):
        ends = stage in (0, len(_STAGES) - 1)
        for block in range(blocks if ends else math.ceil(blocks * depth)):
            x = _block(
                x,
                f"block{number}",
                kernel,
                stride if block == 0 else 1,
                expansion,
                _eighths(channels * width),
            )
            number += 1
    x = _convolved(x, "head", layers.Conv2D(1280, 1, padding="same", use_bias=False))
    return keras.Model(pixels, x, name=f"efficientnet_lite{size}")


def _eighths(channels: float) -> int:
    """The nearest multiple of 8, not more than a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _block(x: Any, name: str, kernel: int, stride: int, expansion: int, channels: int) -> Any:
    """Inverted residual block (Sandler et al. 2018, MobileNetV2, section 3.3)."""
    before, inner = x, x.shape[-1] * expansion
    if expansion != 1:
        x = _convolved(x, f"{name}_expand", layers.Conv2D(inner, 1, padding="same", use_bias=False))
    x = _convolved(
        x, f"{name}_depthwise", layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False)
    )
    x = _convolved(x, f"{name}_project", layers.Conv2D(channels, 1, padding="same", use_bias=False), False)
    same = stride == 1 and before.shape[-1] == channels
    return layers.Add(name=f"{name}_add")([before, x]) if same else x


def _convolved(x: Any, name: str, convolution: Any, bounded: bool = True) -> Any:
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(convolution(x))
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if bounded else x
