"""Versions: found, loaded, swapped and closed. No TensorFlow: a version is a file with a slope."""

import json
import threading

import numpy as np
import pytest

from serving.protocol.predict import Call, predict
from serving.protocol.status import ServingError
from serving.runtime.versions import ModelFolder, version_folders
from tests.support.serving.waiting import wait_until
from tests.support.serving_models import LinearVersion


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
    return LinearVersion(number, slope)


@pytest.fixture
def base(tmp_path):
    publish(tmp_path, 1, 0.5)
    return tmp_path


def folder(base, keep=1, labels=None):
    return ModelFolder("m", lambda: version_folders(base), load, keep, labels)


def ask(models, x=4.0, **call):
    """(version, result) of a prediction."""
    answer = predict(models, Call("m", {"x": np.array([x], np.float32)}, **call))
    return answer.version, float(answer.outputs["y"][0])


def states(models):
    return {state.version: state.state for state in models.states("m")}


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_version_folders(tmp_path):
    for name in ("1", "12", "007", "-3", "1.5", "x1", ".4", "٣", "9" * 19):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "5").mkdir()  # still being copied
    (tmp_path / "6").touch()
    assert list(version_folders(tmp_path)) == [12, 7, 1]


def test_new_version_replaces_the_old_one(base):
    models = folder(base)
    assert models.refresh() and ask(models) == (1, 4.0)
    publish(base, 2, 0.25)
    assert models.refresh() and ask(models) == (2, 3.0)
    assert states(models) == {2: "AVAILABLE", 1: "END"}
    with pytest.raises(ServingError, match=r"Specific\(m, 1\)"):
        ask(models, version=1)


def test_requests_finish_on_their_version(base):
    models = folder(base)
    models.refresh()
    with models.use("m") as old:
        publish(base, 2, 0.25)
        models.refresh()
        assert ask(models) == (2, 3.0)
        assert states(models) == {2: "AVAILABLE", 1: "UNLOADING"} and not old.closed
        assert old.run("serving_default", {"x": np.ones(1)}, ["y"], None)["y"] == 2.5
    assert old.closed and states(models)[1] == "END"


def test_corrupt_version_is_reported_once(base, capsys):
    models = folder(base)
    models.refresh()
    publish(base, 2, None)
    for _ in range(3):
        assert models.refresh() and ask(models) == (1, 4.0)
    (event,) = [event for event in events(capsys) if event["event"] == "version_failed"]
    assert event | {"time": 0} == {
        "time": 0, "level": "error", "event": "version_failed", "model": "m", "version": 2,
        "reason": "the file is damaged", "serving": [1],
    }  # fmt: skip
    state = models.states("m", 2)[0]
    assert (state.state, state.code, state.message) == ("END", "DATA_LOSS", "the file is damaged")


def test_corrupt_version_is_retried_after_a_change(base):
    models = folder(base)
    path = publish(base, 2, None)
    assert models.refresh() and ask(models)[0] == 1
    (path / "saved_model.pb").write_text("0.125")
    assert models.refresh() and ask(models) == (2, 2.5)


def test_deleted_version_falls_back(base):
    models = folder(base)
    path = publish(base, 2, 0.25)
    models.refresh()
    (path / "saved_model.pb").unlink()
    models.refresh()
    assert ask(models) == (1, 4.0) and states(models) == {2: "END", 1: "AVAILABLE"}


def test_served_version_outlives_its_files(base):
    models = folder(base)
    models.refresh()
    (base / "1" / "saved_model.pb").unlink()
    assert models.refresh() and ask(models) == (1, 4.0)


def test_unreadable_folder_is_reported_once(base, capsys):
    models = folder(base)
    models.refresh()
    base.rename(base.with_name("elsewhere"))
    assert models.refresh() and models.refresh() and ask(models) == (1, 4.0)
    assert [event["event"] for event in events(capsys)].count("folder_unreadable") == 1


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


def test_no_request_fails_during_swaps(base):
    """Eight clients, forty swaps by the watcher thread."""
    models = folder(base)
    models.refresh()
    stop, failures, served = threading.Event(), [], set()

    def client():
        while not stop.is_set():
            try:
                version, value = ask(models)
                served.add(version)
                assert value == pytest.approx(2 + 4 * (0.5 / version))
            except Exception as error:
                failures.append(error)

    clients = [threading.Thread(target=client) for _ in range(8)]
    for thread in clients:
        thread.start()
    models.watch(0.005)
    for number in range(2, 42):
        publish(base, number, 0.5 / number)
        wait_until(lambda number=number: states(models).get(number) == "AVAILABLE")
    stop.set()
    for thread in clients:
        thread.join()
    models.close()
    assert failures == [] and len(served) > 5
