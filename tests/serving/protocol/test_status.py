"""Status codes and their HTTP equivalents."""

import pytest

from serving.protocol.status import CODES, ServingError, code_of


def test_http_statuses_of_codes():
    statuses = {
        "OK": 200,
        "INVALID_ARGUMENT": 400,
        "FAILED_PRECONDITION": 400,
        "OUT_OF_RANGE": 400,
        "NOT_FOUND": 404,
    }
    statuses |= {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "ALREADY_EXISTS": 409, "ABORTED": 409}
    statuses |= {"RESOURCE_EXHAUSTED": 429, "CANCELLED": 499, "UNIMPLEMENTED": 501, "UNAVAILABLE": 503}
    statuses |= {"DEADLINE_EXCEEDED": 504, "UNKNOWN": 500, "INTERNAL": 500, "DATA_LOSS": 500}
    assert {code: ServingError(code, "").http for code in CODES} == statuses


def test_codes_equal_those_of_grpc():
    grpc = pytest.importorskip("grpc")
    assert {code.name: code.value[0] for code in grpc.StatusCode} == CODES
    assert code_of(14) == "UNAVAILABLE"
