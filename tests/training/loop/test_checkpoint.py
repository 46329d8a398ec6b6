"""Checkpoints: round trips, failed writes, damaged files and states of other types."""

import errno
import os

import numpy as np
import pytest

from captioner.errors import DataError
from training.loop import checkpoint

FRESH = checkpoint.initial_state()


class Crash(BaseException):
    """Ends a run as a power cut does: nothing gets to tidy up after it."""


def arrays(seed=0):
    random = np.random.default_rng(seed)
    named = {"0:kernel": random.normal(size=(5, 3)).astype(np.float32), "1:seed": np.array([1, 2], np.uint32)}
    return {**named, "2:iteration": np.array(7, np.int64), "3:empty": np.zeros((0, 2), np.float16)}


def test_checkpoint_round_trip(tmp_path):
    state = {"epoch": 3, "best": None, "loss": 0.1, "text": "ü"}
    checkpoint.write(tmp_path / "new" / "a.npz", arrays(), state)
    values, back = checkpoint.read(tmp_path / "new" / "a.npz")
    assert back == state and list(values) == list(arrays())
    for name, value in arrays().items():
        assert values[name].dtype == value.dtype and np.array_equal(values[name], value)
    assert checkpoint.read(tmp_path / "none.npz") is None


@pytest.mark.parametrize("broken", ["fsync", "replace", "write"])
@pytest.mark.parametrize(
    "how", [OSError(errno.ENOSPC, "No space left on device"), Crash()], ids=["full", "crash"]
)
def test_failed_write_leaves_the_old_checkpoint(broken, how, tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    checkpoint.write(path, arrays(1), {"epoch": 1})

    def fail(*arguments, **more):
        raise how

    with monkeypatch.context() as patch:
        place, name = {"fsync": (os, "fsync"), "replace": (os, "replace"), "write": (np, "savez")}[broken]
        patch.setattr(place, name, fail)
        with pytest.raises(Crash if isinstance(how, Crash) else DataError) as error:
            checkpoint.write(path, arrays(2), {"epoch": 2})
    if not isinstance(how, Crash):
        assert "No space left" in str(error.value) and "\n" not in str(error.value)
        assert [p.name for p in tmp_path.iterdir()] == ["a.npz"], "no half file is left to fill the disk"
    values, state = checkpoint.read(path)
    assert state == {"epoch": 1} and np.array_equal(values["0:kernel"], arrays(1)["0:kernel"])
    checkpoint.write(path, arrays(2), {"epoch": 2})
    assert checkpoint.read(path)[1] == {"epoch": 2}


def test_damaged_checkpoint_is_never_read_wrong(tmp_path):
    path = tmp_path / "a.npz"
    checkpoint.write(path, arrays(), {"epoch": 1})
    good, random = path.read_bytes(), np.random.default_rng(0)
    damaged = [b"", b"PK\x03\x04", b"garbage", good[: len(good) // 2], good[:-7], good[100:]]
    for place in random.integers(0, len(good), 150):
        damaged.append(
            good[:place] + bytes([good[place] ^ (1 << int(random.integers(8)))]) + good[place + 1 :]
        )
    refusals = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            values, state = checkpoint.read(path)
        except DataError as error:
            assert str(path) in str(error) and "delete it" in str(error) and "\n" not in str(error)
            refusals += 1
        else:  # a byte that says nothing, such as a date in the archive
            assert state == {"epoch": 1}
            assert all(np.array_equal(values[name], value) for name, value in arrays().items())
    assert refusals > len(damaged) / 2


WRONG = [
    {"epoch": "3"}, {"epoch": -1}, {"metrics": []}, {"finished": 1}, {"best": "high"}, {"loss": True}, {"data": 1},
    {"chosen_by": 1}, {"best_metrics": 3.0},
]  # fmt: skip


def test_state_of_other_types_does_not_fit():
    good = {**FRESH, "best": None, "data": "fingerprint"}
    assert checkpoint.fits(good, FRESH)
    assert [change for change in WRONG if checkpoint.fits({**good, **change}, FRESH)] == []
    assert not any(checkpoint.fits(other, FRESH) for other in ({}, [], None, {"epoch": 1}))
