"""Our few messages and the official ones are the same on the wire, in both directions."""

import numpy as np
import pytest

from captioner.engines.remote import messages
from captioner.errors import EngineError


@pytest.fixture(scope="module")
def official():
    """The official stubs. They bring TensorFlow's protos; no graph is ever run."""
    pytest.importorskip("tensorflow_serving.apis")
    from types import SimpleNamespace

    from tensorflow.core.framework import tensor_pb2
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2,
        predict_pb2,
        prediction_service_pb2,
    )

    classes = {}
    for module in (
        tensor_pb2,
        meta_graph_pb2,
        predict_pb2,
        get_model_status_pb2,
        get_model_metadata_pb2,
    ):
        classes.update({name: getattr(module, name) for name in dir(module) if name[0].isupper()})
    services = {}
    for module in (prediction_service_pb2, model_service_pb2):
        services.update(module.DESCRIPTOR.services_by_name)
    return SimpleNamespace(**classes, services=services)


def filled(message, depth=0):
    """A message with every field set that ours knows, to values that differ."""
    for number, field in enumerate(sorted(message.DESCRIPTOR.fields, key=lambda f: f.number)):
        target = getattr(message, field.name)
        value = {"int32": 3, "int64": -(1 << 40), "bool": True, "float": 1.5, "double": -2.5}.get(kind(field))
        value = {"string": f"wört{number}", "bytes": b"\xff\x00" + bytes([number])}.get(kind(field), value)
        if field.message_type and field.message_type.GetOptions().map_entry:
            for key in ("one", "zwö"):
                filled(target[key], depth + 1)
        elif field.message_type and repeated(field):
            for _ in range(2):
                filled(target.add(), depth + 1)
        elif field.message_type:
            filled(target, depth + 1)
        elif repeated(field):
            target.extend([value, value])
        else:
            setattr(message, field.name, value)
    return message


def repeated(field):
    return (
        isinstance(getattr(field, "is_repeated", None), bool)
        and field.is_repeated
        or (not hasattr(field, "is_repeated") and field.label == field.LABEL_REPEATED)
    )


def kind(field):
    return {1: "double", 2: "float", 3: "int64", 5: "int32", 8: "bool", 9: "string", 12: "bytes"}.get(
        field.type
    )


NAMES = {
    "Tensor": "TensorProto",
    "PredictRequest": "PredictRequest",
    "PredictResponse": "PredictResponse",
    "GetModelStatusRequest": "GetModelStatusRequest",
    "GetModelStatusResponse": "GetModelStatusResponse",
    "GetModelMetadataRequest": "GetModelMetadataRequest",
    "GetModelMetadataResponse": "GetModelMetadataResponse",
    "SignatureDefMap": "SignatureDefMap",
}


@pytest.mark.parametrize("ours, theirs", NAMES.items())
def test_every_field_arrives_there_and_comes_back(ours, theirs, official):
    mine = filled(getattr(messages.message_classes(), ours)())
    # The last field of a oneof wins, so one of the two kinds of version is all that can come back.
    if hasattr(mine, "model_spec"):
        mine.model_spec.ClearField("version")
    sent = mine.SerializeToString(deterministic=True)
    received = getattr(official, theirs).FromString(sent)
    assert not unknown_fields(received)
    again = received.SerializeToString(deterministic=True)
    assert type(mine).FromString(again) == mine
    assert len(again) == len(sent)


def unknown_fields(message):
    """Whether the official message held a field that it does not know, at any depth."""
    from google.protobuf import unknown_fields as reading

    if len(reading.UnknownFieldSet(message)):
        return True
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            values = value.values() if field.message_type.fields_by_name["value"].message_type else []
        else:
            values = value if repeated(field) else [value]
        if any(unknown_fields(inner) for inner in values):
            return True
    return False


@pytest.mark.parametrize("ours, theirs", NAMES.items())
def test_fields_have_the_official_names_and_numbers(ours, theirs, official):
    mine, other = getattr(messages.message_classes(), ours).DESCRIPTOR, getattr(official, theirs).DESCRIPTOR
    for field in mine.fields:
        assert other.fields_by_name[field.name].number == field.number


def test_a_version_by_number_arrives(official):
    spec = messages.message_classes().ModelSpec(
        name="dogs", version=messages.message_classes().Int64Value(value=7)
    )
    request = messages.message_classes().PredictRequest(model_spec=spec)
    received = official.PredictRequest.FromString(request.SerializeToString()).model_spec
    assert (received.name, received.version.value, received.WhichOneof("version_choice")) == (
        "dogs",
        7,
        "version",
    )


def test_service_paths_are_the_official_ones(official):
    for path in (messages.PREDICT, messages.GET_METADATA, messages.GET_STATUS):
        _, service, method = path.split("/")
        descriptor = official.services[service.rpartition(".")[2]]
        assert descriptor.full_name == service and method in descriptor.methods_by_name


def test_states_and_types_are_the_official_ones(official):
    from tensorflow.core.framework import types_pb2

    for number, name in messages.TYPE_NAMES.items():
        assert types_pb2.DataType.Name(number) == name
    for number, name in messages.STATES.items():
        assert official.ModelVersionStatus.State.Name(number) == name


ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.float64([1.5]),
    np.int32([[1], [-2]]),
    np.int64([1 << 40]),
    np.bool_([True, False]),
    np.array([[b"a", b""], [b"\xff", b"long" * 99]], object),
    np.zeros((2, 0, 3), np.float32),
    np.float32(7),
]


@pytest.mark.parametrize("values", ARRAYS, ids=lambda a: f"{a.dtype}{list(a.shape)}")
def test_tensors_of_tensorflow_become_the_same_arrays(values, official):
    """`tensor_content` by hand, the value fields by TensorFlow's own rules."""
    fields = {"f4": "float_val", "f8": "double_val", "i4": "int_val", "i8": "int64_val", "b1": "bool_val"}
    tensor = official.TensorProto(dtype=[n for n, _, d, _ in messages.TYPES if d == values.dtype][0])
    for size in values.shape:
        tensor.tensor_shape.dim.add().size = size
    by_value = official.TensorProto.FromString(tensor.SerializeToString())
    getattr(by_value, fields.get(values.dtype.str[1:], "string_val")).extend(values.ravel().tolist())
    if values.dtype != object:
        tensor.tensor_content = values.tobytes()
    else:
        flat = values.ravel().tolist()
        tensor.tensor_content = b"".join(map(varint, map(len, flat))) + b"".join(flat)
        import tensorflow as tf

        assert tf.io.parse_tensor(tensor.SerializeToString(), tf.string).numpy().tolist() == values.tolist()
    for message in (tensor, by_value):
        decoded = messages.array(messages.message_classes().Tensor.FromString(message.SerializeToString()))
        assert decoded.dtype == values.dtype and decoded.shape == values.shape
        assert np.array_equal(decoded, values)


def varint(number):
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def tensor(shape, dtype=1, **values):
    sizes = [messages.message_classes().Dim(size=size) for size in shape]
    return messages.message_classes().Tensor(
        dtype=dtype, tensor_shape=messages.message_classes().TensorShape(dim=sizes), **values
    )


def test_a_short_field_repeats_its_last_value():
    assert messages.array(tensor([2, 2], float_val=[1, 2])).tolist() == [[1, 2], [2, 2]]
    assert messages.array(tensor([3], float_val=[])).tolist() == [0, 0, 0]
    assert messages.array(tensor([3], 7, string_val=[b"x"])).tolist() == [b"x"] * 3
    assert messages.array(tensor([2], 7)).tolist() == [b"", b""]
    # The same string each time, and not a copy: a message of 13 kB may claim a million of them.
    long = b"x" * 13_000 + b"\0\0"
    strings = messages.array(tensor([200_000], 7, string_val=[b"y", long])).tolist()
    assert strings[:3] == [b"y", long, long] and all(string is strings[2] for string in strings[2:])
    assert messages.array(tensor([0], float_val=[])).tolist() == []


@pytest.mark.parametrize(
    "wrong",
    [
        tensor([2], 0),
        tensor([2], 14, float_val=[1]),
        tensor([2], float_val=[1, 2, 3]),
        tensor([0], float_val=[1]),
        tensor([-1], float_val=[1]),
        tensor([1 << 20, 1 << 20], float_val=[0]),
        tensor([2], tensor_content=b"1234567"),
        tensor([2], 7, tensor_content=b"\x01\x05a"),
        tensor([2], 7, tensor_content=b"\xff"),
        tensor([1], 7, tensor_content=b"\xff" * 40),
    ],
    ids=lambda t: " ".join(str(t).split())[:60],
)
def test_values_and_shape_must_agree(wrong):
    with pytest.raises(EngineError) as caught:
        messages.array(wrong)
    assert "\n" not in str(caught.value)


def test_signatures_are_read_from_metadata(official):
    full = official.SignatureDefMap()
    side = full.signature_def["explain"]
    side.inputs["image_bytes"].dtype = 7
    side.inputs["image_bytes"].tensor_shape.dim.add().size = -1
    side.outputs["words"].dtype = 7
    side.outputs["words"].tensor_shape.unknown_rank = True
    answer = official.GetModelMetadataResponse()
    answer.metadata["signature_def"].Pack(full)
    mine = messages.message_classes().GetModelMetadataResponse.FromString(answer.SerializeToString())
    signature_map = messages.message_classes().SignatureDefMap.FromString(
        mine.metadata["signature_def"].value
    )
    assert messages.signatures(signature_map) == {
        "explain": {"inputs": ["image_bytes"], "outputs": ["words"]}
    }


def test_both_kinds_of_message_live_in_one_process(official):
    assert messages.message_classes().PredictRequest is messages.message_classes().PredictRequest
    assert (
        messages.message_classes().PredictRequest.DESCRIPTOR.full_name == "captioner.serving.PredictRequest"
    )
    assert official.PredictRequest.DESCRIPTOR.full_name == "tensorflow.serving.PredictRequest"
