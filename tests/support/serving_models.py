"""Models without TensorFlow for tests of the server, and a real SavedModel."""

from __future__ import annotations

import contextlib

import numpy as np

from serving.protocol.json_tensors import Spec
from serving.protocol.predict import Models, Signature, State, Version, not_found
from serving.protocol.status import ServingError, invalid


class LinearVersion(Version):
    """y = slope * x + 2 in NumPy; `on_run` is called in every run. An x of 13 is an error."""

    def __init__(self, number, slope, on_run=None):
        self.number, self.slope, self.on_run, self.rows, self.closed = number, slope, on_run, [], False
        spec = Spec("float", (-1,))
        self.signatures = {"serving_default": Signature({"x": spec}, {"y": spec})}

    def run(self, signature, inputs, outputs, timeout):
        assert not self.closed, "a version was run after it was closed"
        if self.on_run is not None:
            self.on_run()
        self.rows.append(len(inputs["x"]))
        if (inputs["x"] == 13).any():
            raise ServingError("INVALID_ARGUMENT", "13 is unlucky")
        return {"y": (self.slope * inputs["x"] + 2).astype(np.float32)}

    def close(self):
        self.closed = True


class EchoVersion(Version):
    """Returns its inputs, in several types; the signature `many` has several inputs."""

    number = 7
    signatures = {
        name: Signature({"v": Spec(dtype)}, {"v": Spec(dtype)})
        for name, dtype in {
            "float": "float", "double": "double", "int32": "int32", "uint8": "uint8", "int64": "int64",
            "uint32": "uint32", "bool": "bool", "string": "string", "odd": "complex64",
        }.items()
    } | {
        "bytes": Signature({"v": Spec("string")}, {"v_bytes": Spec("string")}),
        "many": Signature({"a": Spec("float"), "b": Spec("string")}, {"a": Spec("float"), "b": Spec("string")}),
        "half": Signature({"v": Spec("float")}, {"h": Spec("half")}),
        "none": Signature({}, {"v": Spec("float")}),
        "scalar": Signature({"v": Spec("float")}, {"s": Spec("float")}),
        "uneven": Signature({"v": Spec("float")}, {"a": Spec("float"), "b": Spec("float")}),
    }  # fmt: skip

    def run(self, signature, inputs, outputs, timeout):
        if signature == "half":
            return {"h": inputs["v"].astype(np.float16)}
        if signature == "scalar":
            return {"s": np.float32(inputs["v"].sum())}
        if signature == "uneven":
            return {"a": inputs["v"], "b": inputs["v"][:1]}
        if signature == "bytes":
            return {"v_bytes": inputs["v"]}
        return dict(inputs)


class StaticModels(Models):
    """A fixed set of versions."""

    def __init__(self, name, versions, labels=None):
        self.name, self.labels = name, labels or {}
        self.versions = {version.number: version for version in versions}

    @contextlib.contextmanager
    def use(self, name, version=None, label=None):
        if label is not None:
            if label not in self.labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            version = self.labels[label]
        if name != self.name or version not in (None, *self.versions):
            raise not_found(name, version)
        yield self.versions[max(self.versions) if version is None else version]

    def states(self, name, version=None):
        if name != self.name:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}")
        states = [State(n, "AVAILABLE") for n in sorted(self.versions, reverse=True) if version in (None, n)]
        if not states:
            raise ServingError("NOT_FOUND", f"Could not find version {version} of model {name}")
        return states


def half_plus_two():
    """The model of the recorded answers: version 1 is 0.5x+2, version 2 is 0.25x+2, `stable` is version 1."""
    return StaticModels("hpt", [LinearVersion(1, 0.5), LinearVersion(2, 0.25)], {"stable": 1})


def write_linear_model(folder, slope):
    """Saves y = slope * x + 2 as a real SavedModel."""
    import tensorflow as tf

    module = tf.Module()
    module.slope, module.bias = tf.Variable(slope), tf.Variable(2.0)
    spec = tf.TensorSpec([None], tf.float32, name="x")
    run = tf.function(
        lambda x: {"y": module.slope * x + module.bias}, input_signature=[spec], autograph=False
    )
    tf.saved_model.save(module, str(folder), signatures={"serving_default": run})
    return folder
