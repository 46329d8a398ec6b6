"""Admission control: the limit of requests inside the server."""

import pytest

from serving.protocol.status import ServingError
from serving.runtime.admission import AdmissionControl


def test_full_server_refuses_and_recovers():
    admission = AdmissionControl(limit=2, workers=1)
    with admission.admit():
        with (
            admission.admit(),
            pytest.raises(ServingError, match="2 requests are waiting or running") as caught,
        ):
            admission.admit().__enter__()
        assert caught.value.code == "RESOURCE_EXHAUSTED" and admission.inside == 1
        with admission.admit():
            pass
