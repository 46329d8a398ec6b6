"""Versions: found, loaded, swapped, let go of; batching and bounds. No TensorFlow: a version is a file with a slope."""

import json
import threading
import time

import numpy as np
import pytest

from serving.protocol.predict import Call, caller_gone, predict
from serving.protocol.status import ServingError
from serving.runtime.batching import Gate, Queued
from serving.runtime.versions import Folder, version_folders
from tests.support.serving_models import Kinds, Line, half_plus_two


def publish(base, number, slope):
    """Writes a version aside and renames it into place; a slope of None makes one that does not load."""
    aside = base / f".{number}"
    aside.mkdir(parents=True)
    (aside / "saved_model.pb").write_text(json.dumps(slope))
    return aside.rename(base / str(number))


def load(path, number):
    slope = json.loads((path / "saved_model.pb").read_text())
    if slope is None:
        raise ServingError("DATA_LOSS", "the file\nis damaged")
    return Line(number, slope)


@pytest.fixture
def base(tmp_path):
    publish(tmp_path, 1, 0.5)
    return tmp_path


def folder(base, keep=1, labels=None):
    return Folder("m", lambda: version_folders(base), load, keep, labels)


def ask(models, x=4.0, **call):
    found = predict(models, Call("m", {"x": np.array([x], np.float32)}, **call))
    return found.version, float(found.outputs["y"][0])


def states(models):
    return {each.version: each.state for each in models.states("m")}


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_versions_are_folders_whose_names_are_numbers(tmp_path):
    for name in ("1", "12", "007", "-3", "1.5", "x1", ".4", "٣", "9" * 19):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "5").mkdir()  # still being copied
    (tmp_path / "6").touch()
    assert list(version_folders(tmp_path)) == [12, 7, 1]


def test_a_new_version_takes_over_and_the_old_one_ends(base):
    models = folder(base)
    assert models.refresh() and ask(models) == (1, 4.0)
    publish(base, 2, 0.25)
    assert models.refresh() and ask(models) == (2, 3.0)
    assert states(models) == {2: "AVAILABLE", 1: "END"}
    with pytest.raises(ServingError, match=r"Specific\(m, 1\)"):
        ask(models, version=1)


def test_requests_in_flight_finish_on_the_version_they_began_with(base):
    models = folder(base)
    models.refresh()
    with models.use("m") as old:
        publish(base, 2, 0.25)
        models.refresh()
        assert ask(models) == (2, 3.0)
        assert states(models) == {2: "AVAILABLE", 1: "UNLOADING"} and not old.closed
        assert old.run("serving_default", {"x": np.ones(1)}, ["y"], None)["y"] == 2.5
    assert old.closed and states(models)[1] == "END"


def test_a_corrupt_version_changes_nothing_and_is_reported_once(base, capsys):
    models = folder(base)
    models.refresh()
    publish(base, 2, None)
    for _ in range(3):
        assert models.refresh() and ask(models) == (1, 4.0)
    said = [each for each in events(capsys) if each["event"] == "version_failed"]
    assert len(said) == 1
    assert said[0] | {"time": 0} == {
        "time": 0, "level": "error", "event": "version_failed", "model": "m", "version": 2,
        "reason": "the file is damaged", "serving": [1],
    }  # fmt: skip
    state = models.states("m", 2)[0]
    assert (state.state, state.code, state.message) == ("END", "DATA_LOSS", "the file is damaged")


def test_a_corrupt_version_is_tried_again_when_its_files_change(base):
    models = folder(base)
    path = publish(base, 2, None)
    assert models.refresh() and ask(models)[0] == 1
    (path / "saved_model.pb").write_text("0.125")
    assert models.refresh() and ask(models) == (2, 2.5)


def test_deleting_the_newest_version_goes_back_to_the_one_before(base):
    models = folder(base)
    path = publish(base, 2, 0.25)
    models.refresh()
    (path / "saved_model.pb").unlink()
    models.refresh()
    assert ask(models) == (1, 4.0) and states(models) == {2: "END", 1: "AVAILABLE"}


def test_what_is_served_outlives_its_files(base):
    models = folder(base)
    models.refresh()
    (base / "1" / "saved_model.pb").unlink()
    assert models.refresh() and ask(models) == (1, 4.0)


def test_a_folder_that_cannot_be_read_is_reported_once(base, capsys):
    models = folder(base)
    models.refresh()
    base.rename(base.with_name("elsewhere"))
    assert models.refresh() and models.refresh() and ask(models) == (1, 4.0)
    assert [each["event"] for each in events(capsys)].count("folder_unreadable") == 1


def test_several_versions_and_labels(base):
    for number, slope in ((2, 0.25), (3, 1.0)):
        publish(base, number, slope)
    models = folder(base, keep=2, labels={"stable": 1})
    models.refresh()
    assert states(models) == {3: "AVAILABLE", 2: "AVAILABLE", 1: "AVAILABLE"}
    assert ask(models) == (3, 6.0) and ask(models, version=2) == (2, 3.0)
    assert ask(models, label="stable") == (1, 4.0)
    with pytest.raises(ServingError, match="Unrecognized servable version label: canary"):
        ask(models, label="canary")
    publish(base, 4, 2.0)
    models.refresh()
    assert states(models) == {4: "AVAILABLE", 3: "AVAILABLE", 2: "END", 1: "AVAILABLE"}


def test_all_versions(base):
    publish(base, 2, 0.25)
    models = folder(base, keep=None)
    models.refresh()
    assert set(states(models).values()) == {"AVAILABLE"} and len(states(models)) == 2


def test_nothing_to_serve(base):
    (base / "1" / "saved_model.pb").write_text("null")
    models = folder(base)
    assert not models.refresh()
    with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(m\)"):
        ask(models)


def test_no_request_fails_while_versions_come_and_go(base):
    """Eight clients, forty swaps by the watcher's own thread."""
    models = folder(base)
    models.refresh()
    over, failures, served = threading.Event(), [], set()

    def client():
        while not over.is_set():
            try:
                version, value = ask(models)
                served.add(version)
                assert value == pytest.approx(2 + 4 * (0.5 / version))
            except Exception as error:
                failures.append(error)

    clients = [threading.Thread(target=client) for _ in range(8)]
    for each in clients:
        each.start()
    models.watch(0.005)
    for number in range(2, 42):
        publish(base, number, 0.5 / number)
        until(lambda number=number: states(models).get(number) == "AVAILABLE")
    over.set()
    for each in clients:
        each.join()
    models.close()
    assert failures == [] and len(served) > 5


def until(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def run(version, values, timeout=None):
    return version.run("serving_default", {"x": np.array(values, np.float32)}, ["y"], timeout)["y"].tolist()


def together(version, requests, timeout=None):
    """Runs requests at the same time; the answers, or errors, in order."""
    found = [None] * len(requests)

    def one(place):
        try:
            found[place] = run(version, requests[place], timeout)
        except ServingError as error:
            found[place] = error

    threads = [threading.Thread(target=one, args=(place,)) for place in range(len(requests))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return found


def test_batching_gives_the_same_answers_in_fewer_runs():
    line = Line(1, 0.5)
    version = Queued(line, Gate(64, 2), batch=8, wait=0.2)
    requests = [[i / 2] * (1 + i % 3) for i in range(20)]
    assert together(version, requests) == [[0.5 * v + 2 for v in values] for values in requests]
    assert len(line.rows) < len(requests) and max(line.rows) <= 8 and sum(line.rows) == 39


def test_a_full_batch_does_not_wait():
    version = Queued(Line(1, 0.5), Gate(64, 2), batch=4, wait=30.0)
    start = time.monotonic()
    assert together(version, [[1.0]] * 4) == [[2.5]] * 4
    assert time.monotonic() - start < 10


def test_one_bad_request_costs_the_others_in_its_batch_nothing():
    version = Queued(Line(1, 0.5), Gate(64, 2), batch=4, wait=5.0)
    found = together(version, [[1.0], [13.0], [2.0], [3.0]])
    assert found[0] == [2.5] and found[2:] == [[3.0], [3.5]]
    assert isinstance(found[1], ServingError) and found[1].message == "13 is unlucky"


def test_requests_that_differ_are_not_put_together():
    line = Line(1, 0.5)
    version = Queued(line, Gate(64, 4), batch=4, wait=0.05)
    assert together(version, [[1.0], [[1.0, 2.0]], []]) == [[2.5], [[2.5, 3.0]], []]
    assert sorted(line.rows) == [0, 1, 1]


def test_signatures_without_an_open_first_axis_are_not_batched():
    version = Queued(Kinds(), Gate(64, 4), batch=4, wait=30.0)  # their shapes are not known
    start = time.monotonic()
    assert version.run("float", {"v": np.ones(1, np.float32)}, ["v"], None)["v"] == [1.0]
    assert time.monotonic() - start < 10


def test_a_full_server_refuses_and_recovers():
    gate = Gate(limit=2, workers=1)
    with gate.enter():
        with gate.enter(), pytest.raises(ServingError, match="2 requests are waiting or running") as caught:
            gate.enter().__enter__()
        assert caught.value.code == "RESOURCE_EXHAUSTED" and gate.inside == 1
        with gate.enter():
            pass


class Busy:
    """A server with one worker, which is held up by a request of its own until `free`."""

    def __init__(self, batch=0, wait=0.01):
        self.line, self.gate, self._free = Line(1, 0.5), Gate(8, 1), threading.Event()
        self.version = Queued(self.line, self.gate, batch, wait)
        self._threads, busy = [], threading.Event()
        slow = Queued(Line(1, 0.5, lambda: (busy.set(), self._free.wait(60))), self.gate)
        self._start(lambda: run(slow, [1.0]))
        assert busy.wait(20)

    def _start(self, work):
        thread = threading.Thread(target=work)
        thread.start()
        self._threads.append(thread)
        return thread

    def ask(self, value, timeout=None):
        """A list that will hold the answer or the error, and the seconds until then."""
        found, start = [], time.monotonic()

        def one():
            try:
                found.append(run(self.version, [value], timeout)[0])
            except ServingError as error:
                found.append(error.code)
            found.append(time.monotonic() - start)

        self._start(one)
        return found

    def free(self):
        self._free.set()
        for thread in self._threads:
            thread.join(20)


@pytest.mark.parametrize("batch", [0, 4])
def test_time_is_up_while_waiting_for_a_turn(batch):
    busy = Busy(batch)
    with pytest.raises(ServingError) as caught:
        run(busy.version, [1.0], timeout=0.1)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    busy.free()
    assert busy.line.rows == []


@pytest.mark.parametrize("hasty", [0, 1, 2])
def test_every_request_of_a_batch_waits_for_its_own_time(hasty):
    """Whichever of them is in a hurry: the one that began the batch, or one that joined it."""
    busy = Busy(batch=8)
    asked = []
    for place in range(3):
        asked.append(busy.ask(float(place), timeout=0.2 if place == hasty else 20))
        until(lambda count=place + 1: sum(len(b.requests) for b in busy.version._open.values()) == count)
    until(lambda: len(asked[hasty]) == 2)
    assert asked[hasty][0] == "DEADLINE_EXCEEDED" and asked[hasty][1] < 5
    assert all(not found for place, found in enumerate(asked) if place != hasty)
    busy.free()
    assert [found[0] for place, found in enumerate(asked) if place != hasty] == [
        2 + 0.5 * place for place in range(3) if place != hasty
    ]
    assert busy.line.rows == [2]  # nothing was run for the one that had left


def test_whoever_joins_a_waiting_batch_is_not_bound_by_its_time():
    busy = Busy(batch=8)
    hasty = busy.ask(1.0, timeout=0.5)
    time.sleep(0.2)  # by now the batch waits for a turn, for as long as the one in it does
    patient = busy.ask(2.0, timeout=20)
    until(lambda: len(hasty) == 2)
    time.sleep(0.2)
    assert hasty[0] == "DEADLINE_EXCEEDED" and not patient
    busy.free()
    assert patient[0] == 3.0 and busy.line.rows == [1]


def test_a_batch_that_everybody_has_left_is_not_run():
    busy = Busy(batch=8)
    asked = [busy.ask(1.0, timeout=0.1) for _ in range(2)]
    until(lambda: all(asked))
    assert [found[0] for found in asked] == ["DEADLINE_EXCEEDED"] * 2
    until(lambda: busy.version._open == {})  # and nobody waits for a turn on their behalf
    late = busy.ask(3.0, timeout=20)  # must not hang on what the others left behind
    busy.free()
    assert late[0] == 3.5 and busy.line.rows == [1] and busy.version._open == {}


def test_one_whose_time_runs_out_in_the_run_does_not_hold_the_others_up():
    running, go_on = threading.Event(), threading.Event()
    line = Line(1, 0.5, lambda: (running.set(), go_on.wait(20)))
    version = Queued(line, Gate(8, 1), batch=2, wait=20.0)
    found = []
    patient = threading.Thread(target=lambda: found.append(run(version, [1.0], 20)))
    patient.start()
    until(lambda: version._open)
    with pytest.raises(ServingError, match="time was up"):
        run(version, [2.0], timeout=0.2)  # it fills the batch
    assert running.is_set() and not found
    version.close()  # the folder lets go of the version; the run goes on
    assert not line.closed
    go_on.set()
    patient.join(20)
    until(lambda: line.closed)
    assert found == [[2.5]] and line.rows == [2]


@pytest.mark.parametrize("batch", [0, 8])
def test_what_nobody_waits_for_is_not_run(batch):
    busy, gone = Busy(batch, wait=0.3), threading.Event()

    def cancelled():
        caller_gone.set(gone.is_set)  # for this thread
        with pytest.raises(ServingError, match="the client has gone") as caught:
            run(busy.version, [13.0], 20)
        assert caught.value.code == "CANCELLED"
        ended.append(True)

    ended, asked = [], None
    thread = threading.Thread(target=cancelled)
    thread.start()
    if batch:
        until(lambda: busy.version._open)
        asked = busy.ask(2.0, 20)
        until(lambda: sum(b.rows for b in busy.version._open.values()) == 2)
    gone.set()
    busy.free()
    thread.join(20)
    assert ended == [True]
    if batch:
        assert asked[0] == 3.0
    assert busy.line.rows == ([1] if batch else [])


def test_more_rows_than_a_batch_holds_are_refused_in_the_servers_words():
    line = Line(1, 0.5)
    version = Queued(line, Gate(8, 1), batch=8, wait=0.0)
    with pytest.raises(
        ServingError, match="^Task size 9 is larger than maximum input batch size 8"
    ) as caught:
        run(version, [1.0] * 9)
    assert caught.value.code == "INVALID_ARGUMENT" and line.rows == []
    assert len(run(version, [1.0] * 8)) == 8
    assert len(run(Queued(line, Gate(8, 1)), [1.0] * 9)) == 9
    # Without batching the limit is one of our own, for inputs of any shape.
    bounded = Queued(Kinds(), Gate(8, 1), most=100)
    for count in (100, 101):
        inputs = {"a": np.ones(count, np.float32), "b": np.array([b""] * 2, object)}
        try:
            bounded.run("many", inputs, ["a"], None)
        except ServingError as error:
            assert count == 101 and "larger than maximum input batch size 100" in error.message
        else:
            assert count == 100


@pytest.mark.parametrize("batch", [0, 8])
def test_clients_may_give_any_time(batch):
    version = Queued(Line(1, 0.5), Gate(8, 1), batch)
    for timeout in (1e9, 1e18, float("inf")):
        assert run(version, [1.0], timeout) == [2.5]


def test_a_bug_in_a_batch_costs_one_request_and_shows_nothing(capsys):
    class Odd(Line):
        def run(self, signature, inputs, outputs, timeout):
            if (inputs["x"] == 7).any():
                raise ZeroDivisionError("secret")
            return super().run(signature, inputs, outputs, timeout)

    found = together(Queued(Odd(1, 0.5), Gate(8, 1), batch=3, wait=20.0), [[1.0], [7.0], [2.0]])
    assert found[0] == [2.5] and found[2] == [3.0]
    assert found[1].code == "INTERNAL" and "secret" not in found[1].message
    assert "ZeroDivisionError: secret" in capsys.readouterr().err


def test_calls_are_checked_before_they_run():
    models = half_plus_two()

    def said(inputs, **call):
        with pytest.raises(ServingError) as caught:
            predict(models, Call("hpt", inputs, **call))
        return caught.value.code, caught.value.message

    x = np.ones(1, np.float32)
    assert said({"x": x}, signature="no") == ("FAILED_PRECONDITION", 'Serving signature key "no" not found.')
    assert said({})[1].startswith("input size does not match signature: 0!=1") and "{x}" in said({})[1]
    assert said({"q": x}) == (
        "INVALID_ARGUMENT",
        "input tensor alias not found in signature: q. Inputs expected to be in the set {x}.",
    )
    assert said({"x": np.array([b"a"], object)})[1] == "Expects arg[0] to be float but string is provided"
    assert said({"x": x}, outputs=["z"])[1].startswith(
        "output tensor alias not found in signature: z Outputs"
    )
    assert said({"x": x}, outputs=["y", "y"])[1] == "duplicate output tensor alias: y"
