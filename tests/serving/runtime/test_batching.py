"""Batching: which requests share a run, deadlines, disconnects and errors."""

import threading
import time

import numpy as np
import pytest

from serving.protocol.predict import client_disconnected
from serving.protocol.status import ServingError
from serving.runtime.admission import AdmissionControl
from serving.runtime.batching import BatchingVersion
from tests.support.serving.waiting import wait_until
from tests.support.serving_models import EchoVersion, LinearVersion


def batching(version, admission, size=0, window=0.0, **options):
    return BatchingVersion(version, admission, max_batch_size=size, batching_window=window, **options)


def run(version, values, timeout=None):
    return version.run("serving_default", {"x": np.array(values, np.float32)}, ["y"], timeout)["y"].tolist()


def run_concurrently(version, requests, timeout=None):
    """The results, or errors, of concurrent requests, in order."""
    results = [None] * len(requests)

    def run_one(index):
        try:
            results[index] = run(version, requests[index], timeout)
        except ServingError as error:
            results[index] = error

    threads = [threading.Thread(target=run_one, args=(index,)) for index in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_same_results_in_fewer_runs():
    model = LinearVersion(1, 0.5)
    version = batching(model, AdmissionControl(64, 2), size=8, window=0.2)
    requests = [[i / 2] * (1 + i % 3) for i in range(20)]
    assert run_concurrently(version, requests) == [[0.5 * v + 2 for v in values] for values in requests]
    assert len(model.rows) < len(requests) and max(model.rows) <= 8 and sum(model.rows) == 39


def test_full_batch_does_not_wait():
    version = batching(LinearVersion(1, 0.5), AdmissionControl(64, 2), size=4, window=30.0)
    start = time.monotonic()
    assert run_concurrently(version, [[1.0]] * 4) == [[2.5]] * 4
    assert time.monotonic() - start < 10


def test_invalid_request_fails_alone():
    version = batching(LinearVersion(1, 0.5), AdmissionControl(64, 2), size=4, window=5.0)
    results = run_concurrently(version, [[1.0], [13.0], [2.0], [3.0]])
    assert results[0] == [2.5] and results[2:] == [[3.0], [3.5]]
    assert isinstance(results[1], ServingError) and results[1].message == "13 is unlucky"


def test_different_requests_are_not_batched():
    model = LinearVersion(1, 0.5)
    version = batching(model, AdmissionControl(64, 4), size=4, window=0.05)
    assert run_concurrently(version, [[1.0], [[1.0, 2.0]], []]) == [[2.5], [[2.5, 3.0]], []]
    assert sorted(model.rows) == [0, 1, 1]


def test_fixed_first_axis_is_not_batched():
    # The shapes of its signatures are unknown.
    version = batching(EchoVersion(), AdmissionControl(64, 4), size=4, window=30.0)
    start = time.monotonic()
    assert version.run("float", {"v": np.ones(1, np.float32)}, ["v"], None)["v"] == [1.0]
    assert time.monotonic() - start < 10


class BusyServer:
    """A server whose only worker is occupied by another request until `free`."""

    def __init__(self, batch=0, wait=0.01):
        self.model, self.admission = LinearVersion(1, 0.5), AdmissionControl(8, 1)
        self._free = threading.Event()
        self.version = batching(self.model, self.admission, batch, wait)
        self._threads, occupied = [], threading.Event()
        slow = batching(LinearVersion(1, 0.5, lambda: (occupied.set(), self._free.wait(60))), self.admission)
        self._start(lambda: run(slow, [1.0]))
        assert occupied.wait(20)

    def _start(self, work):
        thread = threading.Thread(target=work)
        thread.start()
        self._threads.append(thread)
        return thread

    def ask(self, value, timeout=None):
        """A list that will hold the result or the error code, and the seconds until then."""
        outcome, start = [], time.monotonic()

        def run_one():
            try:
                outcome.append(run(self.version, [value], timeout)[0])
            except ServingError as error:
                outcome.append(error.code)
            outcome.append(time.monotonic() - start)

        self._start(run_one)
        return outcome

    def free(self):
        self._free.set()
        for thread in self._threads:
            thread.join(20)


@pytest.mark.parametrize("batch", [0, 4])
def test_deadline_while_waiting_for_a_worker(batch):
    busy = BusyServer(batch)
    with pytest.raises(ServingError) as caught:
        run(busy.version, [1.0], timeout=0.1)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    busy.free()
    assert busy.model.rows == []


@pytest.mark.parametrize("urgent", [0, 1, 2])
def test_every_request_keeps_its_deadline(urgent):
    """Whether the urgent request began the batch or joined it."""
    busy = BusyServer(batch=8)
    outcomes = []
    for index in range(3):
        outcomes.append(busy.ask(float(index), timeout=0.2 if index == urgent else 20))
        wait_until(lambda count=index + 1: sum(len(b.requests) for b in busy.version._open.values()) == count)
    wait_until(lambda: len(outcomes[urgent]) == 2)
    assert outcomes[urgent][0] == "DEADLINE_EXCEEDED" and outcomes[urgent][1] < 5
    others = [index for index in range(3) if index != urgent]
    assert not any(outcomes[index] for index in others)
    busy.free()
    assert [outcomes[index][0] for index in others] == [2 + 0.5 * index for index in others]
    assert busy.model.rows == [2]  # nothing was run for the expired request


def test_joining_request_extends_the_wait():
    busy = BusyServer(batch=8)
    urgent = busy.ask(1.0, timeout=0.5)
    time.sleep(0.2)  # by now the batch waits for a worker, until the deadline of its only request
    patient = busy.ask(2.0, timeout=20)
    wait_until(lambda: len(urgent) == 2)
    time.sleep(0.2)
    assert urgent[0] == "DEADLINE_EXCEEDED" and not patient
    busy.free()
    assert patient[0] == 3.0 and busy.model.rows == [1]


def test_batch_of_expired_requests_is_not_run():
    busy = BusyServer(batch=8)
    outcomes = [busy.ask(1.0, timeout=0.1) for _ in range(2)]
    wait_until(lambda: all(outcomes))
    assert [outcome[0] for outcome in outcomes] == ["DEADLINE_EXCEEDED"] * 2
    wait_until(lambda: busy.version._open == {})  # no thread waits for a worker on their behalf
    late = busy.ask(3.0, timeout=20)  # must not depend on the closed batch
    busy.free()
    assert late[0] == 3.5 and busy.model.rows == [1] and busy.version._open == {}


def test_deadline_during_the_run():
    """A request that expires while its batch runs does not delay the others."""
    running, resume = threading.Event(), threading.Event()
    model = LinearVersion(1, 0.5, lambda: (running.set(), resume.wait(20)))
    version = batching(model, AdmissionControl(8, 1), size=2, window=20.0)
    results = []
    patient = threading.Thread(target=lambda: results.append(run(version, [1.0], 20)))
    patient.start()
    wait_until(lambda: version._open)
    with pytest.raises(ServingError, match="deadline passed before its batch was done"):
        run(version, [2.0], timeout=0.2)  # it fills the batch
    assert running.is_set() and not results
    version.close()  # the model folder closes the version; the run continues
    assert not model.closed
    resume.set()
    patient.join(20)
    wait_until(lambda: model.closed)
    assert results == [[2.5]] and model.rows == [2]


@pytest.mark.parametrize("batch", [0, 8])
def test_disconnected_request_is_not_run(batch):
    busy, disconnected = BusyServer(batch, wait=0.3), threading.Event()

    def cancelled():
        client_disconnected.set(disconnected.is_set)  # for this thread
        with pytest.raises(ServingError, match="the client disconnected") as caught:
            run(busy.version, [13.0], 20)
        assert caught.value.code == "CANCELLED"
        finished.append(True)

    finished, other = [], None
    thread = threading.Thread(target=cancelled)
    thread.start()
    if batch:
        wait_until(lambda: busy.version._open)
        other = busy.ask(2.0, 20)
        wait_until(lambda: sum(b.rows for b in busy.version._open.values()) == 2)
    disconnected.set()
    busy.free()
    thread.join(20)
    assert finished == [True]
    if batch:
        assert other[0] == 3.0
    assert busy.model.rows == ([1] if batch else [])


def test_too_many_rows_are_rejected():
    model = LinearVersion(1, 0.5)
    version = batching(model, AdmissionControl(8, 1), size=8, window=0.0)
    with pytest.raises(
        ServingError, match="^Task size 9 is larger than maximum input batch size 8"
    ) as caught:
        run(version, [1.0] * 9)
    assert caught.value.code == "INVALID_ARGUMENT" and model.rows == []
    assert len(run(version, [1.0] * 8)) == 8
    assert len(run(batching(model, AdmissionControl(8, 1)), [1.0] * 9)) == 9
    # Without batching `max_rows` is the limit, for inputs of any shape.
    bounded = batching(EchoVersion(), AdmissionControl(8, 1), max_rows=100)
    for count in (100, 101):
        inputs = {"a": np.ones(count, np.float32), "b": np.array([b""] * 2, object)}
        try:
            bounded.run("many", inputs, ["a"], None)
        except ServingError as error:
            assert count == 101 and "larger than maximum input batch size 100" in error.message
        else:
            assert count == 100


@pytest.mark.parametrize("batch", [0, 8])
def test_any_timeout_is_accepted(batch):
    version = batching(LinearVersion(1, 0.5), AdmissionControl(8, 1), batch)
    for timeout in (1e9, 1e18, float("inf")):
        assert run(version, [1.0], timeout) == [2.5]


def test_bug_fails_one_request_without_details(capsys):
    class BuggyVersion(LinearVersion):
        def run(self, signature, inputs, outputs, timeout):
            if (inputs["x"] == 7).any():
                raise ZeroDivisionError("secret")
            return super().run(signature, inputs, outputs, timeout)

    results = run_concurrently(
        batching(BuggyVersion(1, 0.5), AdmissionControl(8, 1), size=3, window=20.0),
        [[1.0], [7.0], [2.0]],
    )
    assert results[0] == [2.5] and results[2] == [3.0]
    assert results[1].code == "INTERNAL" and "secret" not in results[1].message
    assert "ZeroDivisionError: secret" in capsys.readouterr().err
