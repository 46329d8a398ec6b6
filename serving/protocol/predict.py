"""Prediction, independent of the interface: requests, models, and the checks between them.

REST and gRPC convert a request to a `Call` and pass it to `predict`. `Models` is implemented by a folder of SavedModels
(`serving.runtime.versions`), or by anything else, such as a function in a test.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from captioner.signature import SERVING_DEFAULT
from serving.protocol.json_tensors import Spec
from serving.protocol.status import ServingError, invalid

# Whether the client has disconnected, as the interface that received the request knows. Set for its thread.
client_disconnected: ContextVar[Callable[[], bool] | None] = ContextVar("client_disconnected", default=None)


@dataclass(frozen=True)
class Signature:
    """A signature of a model: names and types of its inputs and outputs."""

    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]


@dataclass(frozen=True)
class State:
    """The lifecycle state of a version: START, LOADING, AVAILABLE, UNLOADING or END, and the error that led to it."""

    version: int
    state: str
    code: str = "OK"
    message: str = ""


@dataclass(frozen=True)
class Call:
    """A prediction request.

    Attributes:
        name: str. The model's.
        inputs: mapping of str to array.
        version: int, or None for the newest.
        label: str, or None. A name for a version.
        signature: str, "" for the default one.
        outputs: sequence of str. The outputs to compute; all if empty.
        timeout: float. Seconds, None for no limit.
    """

    name: str
    inputs: Mapping[str, np.ndarray]
    version: int | None = None
    label: str | None = None
    signature: str = ""
    outputs: Sequence[str] = ()
    timeout: float | None = None


class Version(abc.ABC):
    """A version of a model that can be run."""

    number: int
    signatures: Mapping[str, Signature]
    metadata: Any = None  # {str: SignatureDef} of the SavedModel, where it has one

    @abc.abstractmethod
    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], timeout: float | None
    ) -> dict[str, np.ndarray]:
        """Runs a signature and returns the outputs that are named.

        Raises:
            ServingError: with the code and message of what failed.
        """

    def close(self) -> None:  # noqa: B027  (some versions hold no resources)
        """Releases its resources."""


class Models(abc.ABC):
    """The models of a server."""

    @abc.abstractmethod
    def use(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> contextlib.AbstractContextManager[Version]:
        """Acquires a version, which stays loaded until the context ends.

        Raises:
            ServingError: NOT_FOUND if there is none, INVALID_ARGUMENT if the label is not known.
        """

    @abc.abstractmethod
    def states(self, name: str, version: int | None = None) -> list[State]:
        """The states of all versions, newest first, or of one.

        Raises:
            ServingError: NOT_FOUND.
        """


@dataclass
class Answer:
    """The outputs of a prediction, and the version that computed them."""

    version: int
    signature: str
    outputs: dict[str, np.ndarray] = field(default_factory=dict)


def not_found(name: str, version: int | None = None) -> ServingError:
    """The error for a model, or a version of it, that is not served."""
    which = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return ServingError("NOT_FOUND", f"Servable not found for request: {which}")


def predict(models: Models, call: Call) -> Answer:
    """Answers a call.

    Args:
        models: `Models`.
        call: `Call`.

    Returns:
        `Answer`.

    Raises:
        ServingError: if the call does not fit the model, or the model fails.
    """
    with models.use(call.name, call.version, call.label) as version:
        return predict_on(version, call)


def predict_on(version: Version, call: Call) -> Answer:
    """Answers a call with a version that is already acquired; see `predict`."""
    key = call.signature or SERVING_DEFAULT
    if key not in version.signatures:
        raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{key}" not found.')
    signature = version.signatures[key]
    _check_inputs(signature, call.inputs)
    _check_outputs(signature, call.outputs)
    outputs = list(call.outputs) or sorted(signature.outputs)
    return Answer(version.number, key, version.run(key, call.inputs, outputs, call.timeout))


def _check_inputs(signature: Signature, inputs: Mapping[str, np.ndarray]) -> None:
    sent, known = set(inputs), set(signature.inputs)
    if len(sent) != len(known):
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(known)} len({{{_joined(sent)}}}) != "
            f"len({{{_joined(known)}}}). Sent extra: {{{_joined(sent - known)}}}. Missing but required: "
            f"{{{_joined(known - sent)}}}."
        )
    for index, name in enumerate(sorted(sent)):
        if name not in known:
            raise invalid(
                f"input tensor alias not found in signature: {name}. Inputs expected to be in the set "
                f"{{{_joined(known)}}}."
            )
        spec, array = signature.inputs[name], inputs[name]
        if array.dtype != spec.numpy:
            raise invalid(f"Expects arg[{index}] to be {spec.dtype} but {dtype_name(array)} is provided")


def _check_outputs(signature: Signature, outputs: Sequence[str]) -> None:
    for index, name in enumerate(outputs):
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{{{_joined(signature.outputs)}}}."
            )
        if name in outputs[:index]:
            raise invalid(f"duplicate output tensor alias: {name}")


def dtype_name(array: np.ndarray) -> str:
    """TensorFlow's name of an array's type."""
    names = {"float32": "float", "float64": "double", "float16": "half", "object": "string"}
    return names.get(array.dtype.name, array.dtype.name)


def _joined(names: Any) -> str:
    return ",".join(sorted(names))
