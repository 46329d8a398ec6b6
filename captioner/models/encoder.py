"""`Encoder`: pixels 0..255 to features [B, L, C], by a CNN that ends in a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from captioner.errors import ModelError
from captioner.registry import unknown

# How a network expects its pixels, scaled from 0..255: mean and deviation per channel, and whether channels are BGR.
_SCALINGS: dict[str, tuple[tuple[float, ...], tuple[float, ...], bool]] = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), False),
    "tf": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5), False),
    "torch": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False),
    "caffe": ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), True),
}


@keras.saving.register_keras_serializable("captioner")
class Scaling(keras.layers.Layer):
    """Scales pixels 0..255 to what a network expects.

    Args:
        scaling: see `Encoder`.
    """

    def __init__(self, scaling: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.scaling = scaling

    def call(self, images: Any) -> Any:
        """Scaled pixels [B, H, W, 3] of pixels 0..255, whole numbers of any type."""
        mean, deviation, flip = _SCALINGS[self.scaling]
        pixels = ops.cast(images, self.compute_dtype)
        pixels = ops.flip(pixels, axis=-1) if flip else pixels
        if self.scaling == "none":
            return pixels
        return (pixels - ops.convert_to_tensor(mean, pixels.dtype)) / ops.convert_to_tensor(
            deviation, pixels.dtype
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {**super().get_config(), "scaling": self.scaling}


class Encoder(keras.layers.Layer):
    """A CNN made into an encoder: scales pixels, runs the network, flattens its grid to L locations.

    Args:
        network: keras.Model from pixels [B, H, W, 3] to a grid [B, h, w, C].
        scaling: str, default "none". How the network expects its pixels: "none" (0..255 unchanged), "tf" (-1..1),
            "torch" (ImageNet mean and deviation) or "caffe" (BGR, ImageNet mean).
        parts: sequence of Encoder, default none. Encoders whose features this one concatenates along C.

    Raises:
        ModelError: if the network does not end in a grid of known size.

    Example:
        >>> import keras
        >>> pixels = keras.Input((32, 32, 3))
        >>> network = keras.Model(pixels, keras.layers.Conv2D(8, 4, strides=8)(pixels))
        >>> Encoder(network).grid
        (4, 4)
    """

    def __init__(
        self, network: keras.Model, scaling: str = "none", parts: Sequence[Encoder] = (), **kwargs: Any
    ):
        super().__init__(name="encoder", **kwargs)
        shape = tuple(network.output.shape) if not isinstance(network.output, list | dict) else ()
        if len(shape) != 4 or None in shape[1:]:
            raise ModelError(
                f"expected an encoder that ends in a grid [B, h, w, C] of known size, got output shape {shape}; "
                "leave out pooling and the classifier (include_top=False) and give the network an input size"
            )
        if scaling not in _SCALINGS:
            raise ModelError(unknown("scaling", scaling, _SCALINGS))
        self.network, self.scaling = network, scaling
        self._scale = Scaling(scaling)
        self._parts = lambda: tuple(parts)  # hidden from Keras, which would save their weights a second time
        self.grid, self.channels = (int(shape[1]), int(shape[2])), int(shape[3])
        self.image_size = (int(network.input.shape[1]), int(network.input.shape[2]))

    def call(self, images: Any, training: bool = False) -> Any:
        """Features [B, L, C] of pixels 0..255 [B, H, W, 3], whole numbers of any type."""
        grid = self.network(self._scale(images), training=training)
        return ops.reshape(grid, (-1, self.grid[0] * self.grid[1], self.channels))

    @property
    def parts(self) -> tuple[Encoder, ...]:
        """The encoders whose features this one concatenates, none for most."""
        return self._parts()


__all__ = ["Encoder", "Scaling"]
