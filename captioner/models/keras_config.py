"""Networks as Keras writes them down: layers of Keras and registered ones by name, and no code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import keras

from captioner import metadata
from captioner.errors import ModelError

# Where the layers of a network, and what they are made with, come from. Keras' other parts read and write files.
_MODULES = re.compile(
    r"keras|keras\.(layers|initializers|regularizers|constraints|activations|dtype_policies|models)(\.\w+)*|"
    r"keras\.src\.(layers|initializers|regularizers|constraints|activations|dtype_policies|models|ops|applications)"
    r"(\.\w+)*|builtins"
)
# What holds code, or runs the file that it names.
_CODE = {"Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}
_CODE |= {
    "StringLookup",
    "IntegerLookup",
    "TextVectorization",
    "HashedCrossing",
    "load_model",
    "model_from_json",
}
_PLAIN = {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"}


def network(text: str) -> keras.Model:
    """The network of a config, which may come from anybody.

    Args:
        text: str. What `keras.Model.to_json` gave.

    Returns:
        `keras.Model` with random weights.

    Raises:
        ModelError: if it holds code, or a part that is neither Keras' own nor registered with it.
    """
    _check(text)
    try:
        return keras.models.model_from_json(text)
    except Exception as error:  # a config may be wrong in as many ways as Keras has layers
        # Keras wraps what went wrong in a layer into the whole config of each layer around it.
        reason = " ".join(str(error).rpartition("Exception encountered: ")[2].split())[:300]
        raise ModelError(f"Keras cannot build the encoder again: {type(error).__name__}: {reason}") from None


def check_rebuilding(model: Any) -> None:
    """Raises a `ModelError` if the encoder of a `CaptionModel` could not be built again when it is loaded."""
    encoder = model.get_config()["encoder"]
    if isinstance(encoder, str):
        return
    again = network(encoder["keras"])
    if [tuple(w.shape) for w in again.weights] != [tuple(w.shape) for w in model.encoder.network.weights]:
        raise ModelError(
            "the encoder has other weights when it is built again from its config: see that get_config() of its layers "
            "returns all arguments of their constructors"
        )


def _check(text: str) -> None:
    for part in _parts(metadata.parse(text.encode("utf-8"), "config of the encoder", ModelError)):
        name, module, registered = (part.get(k) for k in ("class_name", "module", "registered_name"))
        if not isinstance(name, str):
            raise ModelError(f"the encoder has a layer whose class_name is no text: {name!r:.60}")
        if name in _PLAIN:
            continue
        if name in _CODE:
            raise ModelError(
                f"the encoder has a {name} layer: it holds Python code or runs a file, which loading never does; write "
                "a subclass of keras.layers.Layer, decorated with keras.saving.register_keras_serializable()"
            )
        # Of a function Keras asks for the name in its config, and imports `module` when nobody has registered that.
        key = part.get("config") if name == "function" else registered
        if isinstance(key, str) and keras.saving.get_registered_object(key) is not None:
            continue
        if not isinstance(module, str) or not _MODULES.fullmatch(module):
            called = str(registered or name)
            raise ModelError(
                f"the encoder has the layer {called[:60]!r}, which Keras does not know: decorate its class with "
                "keras.saving.register_keras_serializable(), and to load the model import its module first, or pass "
                "trust=('my_pkg',)"
            )


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """Everything in a config that names a class or a function, at any depth."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
