"""Checks of a call against the signature of a model."""

import numpy as np
import pytest

from serving.protocol.predict import Call, predict
from serving.protocol.status import ServingError
from tests.support.serving_models import half_plus_two


def test_invalid_calls():
    models = half_plus_two()

    def error_of(inputs, **call):
        with pytest.raises(ServingError) as caught:
            predict(models, Call("hpt", inputs, **call))
        return caught.value.code, caught.value.message

    x = np.ones(1, np.float32)
    assert error_of({"x": x}, signature="no") == (
        "FAILED_PRECONDITION",
        'Serving signature key "no" not found.',
    )
    assert (
        error_of({})[1].startswith("input size does not match signature: 0!=1") and "{x}" in error_of({})[1]
    )
    assert error_of({"q": x}) == (
        "INVALID_ARGUMENT",
        "input tensor alias not found in signature: q. Inputs expected to be in the set {x}.",
    )
    assert error_of({"x": np.array([b"a"], object)})[1] == "Expects arg[0] to be float but string is provided"
    assert error_of({"x": x}, outputs=["z"])[1].startswith(
        "output tensor alias not found in signature: z Outputs"
    )
    assert error_of({"x": x}, outputs=["y", "y"])[1] == "duplicate output tensor alias: y"
