"""The gRPC services against the official stubs of TensorFlow Serving."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.support.serving_models import LinearVersion, StaticModels, write_linear_model

pytest.importorskip("starlette")
pytest.importorskip("grpc")
from serving.http.grpc_services import GrpcServer
from serving.runtime.admission import AdmissionControl
from serving.runtime.batching import BatchingVersion
from serving.runtime.metrics import Metrics
from serving.runtime.session import SessionVersion
from serving.runtime.versions import ModelFolder, version_folders
from tests.support.serving.waiting import wait_until


@dataclass
class Stubs:
    """The official client: stubs and message modules of tensorflow-serving-api."""

    prediction: Any
    model: Any
    predict_pb2: Any
    metadata_pb2: Any
    status_pb2: Any


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    """The official client of a server with two real SavedModels."""
    grpc = pytest.importorskip("grpc")
    pytest.importorskip("tensorflow_serving")
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    folder = tmp_path_factory.mktemp("models") / "hpt"
    write_linear_model(folder / "1", 0.5)
    write_linear_model(folder / "2", 0.25)
    models = ModelFolder("hpt", lambda: version_folders(folder), SessionVersion, None, {"stable": 1})
    assert models.refresh()
    admission = AdmissionControl(8, 2)
    server = GrpcServer(lambda: models, "127.0.0.1:0", admission, Metrics(admission), 1 << 20)
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield Stubs(
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
            predict_pb2,
            get_model_metadata_pb2,
            get_model_status_pb2,
        )
    server.stop(5)
    models.close()


def request_of(stubs, values=(4.0,), name="hpt", **inputs):
    import tensorflow as tf

    request = stubs.predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array(values, np.float32)))
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def test_predict_with_the_official_client(stubs):
    import tensorflow as tf

    response = stubs.prediction.Predict(request_of(stubs, [4, 8]), timeout=60)
    assert list(response.outputs["y"].float_val) == [3.0, 4.0]
    assert tf.make_ndarray(response.outputs["y"]).tolist() == [3.0, 4.0]
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("hpt", 2, "serving_default")
    request = request_of(stubs)
    request.model_spec.version_label = "stable"
    assert list(stubs.prediction.Predict(request, timeout=60).outputs["y"].float_val) == [4.0]
    request.model_spec.version.value = 1
    request.output_filter.append("y")
    assert list(stubs.prediction.Predict(request, timeout=60).outputs) == ["y"]


def test_states_and_signatures_with_the_official_client(stubs):
    status = stubs.status_pb2.GetModelStatusRequest()
    status.model_spec.name = "hpt"
    rows = stubs.model.GetModelStatus(status, timeout=60).model_version_status
    kind = stubs.status_pb2.ModelVersionStatus
    assert [(row.version, row.state) for row in rows][-2:] == [(2, kind.AVAILABLE), (1, kind.AVAILABLE)]
    metadata = stubs.metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "hpt"
    response = stubs.prediction.GetModelMetadata(metadata, timeout=60)
    signatures = stubs.metadata_pb2.SignatureDefMap()
    assert response.model_spec.version.value == 2 and response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["serving_default"].inputs["x"].name == "serving_default_x:0"


def invalid_calls(stubs):
    """(call, code, part of the message)."""
    predict = stubs.prediction.Predict
    yield predict, stubs.predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"
    yield predict, request_of(stubs, name="no"), "NOT_FOUND", "Servable not found for request: Latest(no)"
    for request in (stubs.predict_pb2.PredictRequest(), request_of(stubs, name="")):
        request.model_spec.signature_name = "serving_default"
        yield predict, request, "INVALID_ARGUMENT", "ModelSpec has no name specified."
    metadata = stubs.metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    yield stubs.prediction.GetModelMetadata, metadata, "INVALID_ARGUMENT", "Missing ModelSpec"
    metadata = stubs.metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.version_label = "stable"
    yield stubs.prediction.GetModelMetadata, metadata, "INVALID_ARGUMENT", "ModelSpec has no name specified."
    status = stubs.status_pb2.GetModelStatusRequest()
    yield stubs.model.GetModelStatus, status, "INVALID_ARGUMENT", "Missing ModelSpec"
    status = stubs.status_pb2.GetModelStatusRequest()
    status.model_spec.version.value = 1
    yield stubs.model.GetModelStatus, status, "NOT_FOUND", "Could not find version 1 of model "
    request = request_of(stubs)
    request.model_spec.signature_name = "no"
    yield predict, request, "FAILED_PRECONDITION", 'Serving signature key "no" not found.'
    request = request_of(stubs)
    request.model_spec.version.value = 9
    yield predict, request, "NOT_FOUND", "Specific(hpt, 9)"
    request = request_of(stubs)
    request.model_spec.version_label = "no"
    yield predict, request, "INVALID_ARGUMENT", "Unrecognized servable version label: no (labels: stable)"
    yield predict, request_of(stubs, z=1.0), "INVALID_ARGUMENT", "input size does not match signature: 2!=1"
    yield predict, request_of(stubs, x=b"text"), "INVALID_ARGUMENT", "to be float but string is provided"
    yield predict, request_of(stubs, x=np.uint8([1])), "INVALID_ARGUMENT", "to be float but uint8 is provided"
    request = request_of(stubs)
    request.output_filter.append("z")
    yield predict, request, "INVALID_ARGUMENT", "output tensor alias not found in signature: z"
    request = request_of(stubs)
    del request.inputs["x"].tensor_shape.dim[:]
    request.inputs["x"].tensor_shape.dim.add(size=3)
    request.inputs["x"].tensor_content = b"12345"
    yield predict, request, "INVALID_ARGUMENT", "tensor parsing error: x"
    request = request_of(stubs)
    request.inputs["x"].tensor_shape.dim[0].size = 1 << 40  # a value that would fill a terabyte
    yield predict, request, "INVALID_ARGUMENT", "tensor parsing error: x"
    yield predict, request_of(stubs, [1.0] * 400_000), "RESOURCE_EXHAUSTED", "larger than max"
    metadata = stubs.metadata_pb2.GetModelMetadataRequest(metadata_field=["Signature_Def"])
    metadata.model_spec.name = "hpt"
    yield (
        stubs.prediction.GetModelMetadata,
        metadata,
        "INVALID_ARGUMENT",
        "Metadata field Signature_Def is not supported",
    )
    status = stubs.status_pb2.GetModelStatusRequest()
    status.model_spec.name = "no"
    yield stubs.model.GetModelStatus, status, "NOT_FOUND", "Could not find any versions of model no"


def test_invalid_calls_get_the_servers_errors(stubs):
    import grpc

    for call, request, code, message in invalid_calls(stubs):
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=60)
        assert (caught.value.code().name, message in caught.value.details()) == (code, True), caught.value


def test_cancelled_call_is_not_run():
    import grpc
    import numpy as np

    from captioner.engines.remote.messages import PREDICT, message_classes
    from serving.protocol.tensor_proto import tensor_of

    entered, unblocked = threading.Semaphore(0), threading.Event()
    version = LinearVersion(1, 0.5, lambda: (entered.release(), unblocked.wait(30)))
    admission = AdmissionControl(8, 1)
    models = StaticModels("m", [BatchingVersion(version, admission)])
    server = GrpcServer(lambda: models, "127.0.0.1:0", admission, Metrics(admission), 1 << 20)
    server.start()
    request = message_classes().PredictRequest(model_spec=message_classes().ModelSpec(name="m"))
    request.inputs["x"].CopyFrom(tensor_of(np.ones(1, np.float32)))
    try:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            predict = channel.unary_unary(PREDICT)
            first = predict.future(request.SerializeToString(), timeout=60)
            assert entered.acquire(timeout=30)
            second = predict.future(request.SerializeToString(), timeout=60)
            wait_until(lambda: admission.inside == 2)
            second.cancel()
            time.sleep(0.2)
            unblocked.set()
            assert first.result() is not None
            wait_until(lambda: admission.inside == 0)
    finally:
        unblocked.set()
        server.stop(5)
    assert version.rows == [1]
