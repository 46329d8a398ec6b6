"""Requests to the REST interface as a function, on models without TensorFlow."""

import json

from serving.http.rest import answer
from tests.support.serving_models import EchoVersion, StaticModels, half_plus_two

HPT = half_plus_two()

ECHO = StaticModels("echo", [EchoVersion()])

PREDICT = "/v1/models/hpt:predict"


def ask(body, target=PREDICT, models=HPT, method="POST"):
    """(status, JSON value) of a request."""
    data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    reply = answer(models, method, target, data)
    return reply.status, json.loads(reply.body.decode("utf-8", "surrogateescape"))


def echo(signature, values, form="inputs"):
    """(values or error, status) of a model that returns its inputs."""
    status, answer = ask({"signature_name": signature, form: values}, "/v1/models/echo:predict", ECHO)
    return answer.get("outputs", answer.get("predictions", answer.get("error"))), status
