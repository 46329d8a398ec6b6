"""Weights of encoders: downloaded by Keras, or from a file; whatever goes wrong is a `ModelError` of one line."""

from __future__ import annotations

import os
from typing import Any

import keras

from captioner.errors import ModelError


def load_network(
    name: str, make: Any, image_size: tuple[int, int], weights: str | None, options: dict
) -> keras.Model:
    """Builds a network of `keras.applications` with its weights; raises a `ModelError` of one line if it cannot."""
    if weights not in (None, "imagenet"):
        check_file(name, weights, "None, 'imagenet' or the path of a file")
    try:
        # Path weights are loaded apart from construction, to tell a wrong file from a wrong size.
        network = make(
            include_top=False,
            weights="imagenet" if weights == "imagenet" else None,
            input_shape=(*image_size, 3),
            **options,
        )
    except (ValueError, TypeError, OverflowError) as error:  # options that no network can be built with
        raise ModelError(f"encoder {name!r} cannot be built for {image_size}: {_first_line(error)}") from None
    except Exception as error:
        if weights != "imagenet":
            raise
        raise ModelError(
            f"the ImageNet weights of encoder {name!r} could not be downloaded ({_first_line(error)}); "
            f"get the file on another machine and pass its path: \"{name}(weights='FILE')\""
        ) from None
    if weights not in (None, "imagenet"):
        load_file(network, name, weights)
    return network


def check_file(name: str, weights: str, expected: str) -> None:
    """Raises a `ModelError` unless `weights` is the path of a file."""
    if not isinstance(weights, str | os.PathLike):
        raise ModelError(f"expected weights of encoder {name!r} to be {expected}, got {weights!r:.100}")
    if not os.path.isfile(weights):
        raise ModelError(
            f"expected weights of encoder {name!r} to be {expected}, got {weights!r}, which does not exist"
        )


def load_file(network: keras.Model, name: str, weights: str) -> None:
    """Loads the weights of an encoder from a file; raises a `ModelError` if they are another network's."""
    try:
        network.load_weights(weights)
    except Exception as error:
        raise ModelError(
            f"expected the weights of {name!r} without its top in {weights}, got another network's or a "
            f"damaged file ({_first_line(error)})"
        ) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
