"""The lock of a folder: one program at a time, released whatever ends its holder."""

import errno
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from captioner.errors import DataError
from training import train
from training.loop import lock, trainer
from training.recipes import RECIPES

HOLDER = """
import sys, time
from pathlib import Path
from training.loop import lock
with lock.exclusive(Path(sys.argv[1]), "another training", "give another --out"):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A function that starts a program which has the lock of a folder."""
    processes = []

    def hold(folder):
        folder.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder)],
            cwd=Path(train.__file__).parents[1],
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield hold
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_second_training_is_refused(more, holder, tmp_path, capsys):
    out = tmp_path / "run"
    out.mkdir()
    trainer.write_run(out, RECIPES.build("tiny"))
    process = holder(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert train.main(["tiny", "--out", str(out), *more]) == 2
    assert re.fullmatch(
        rf"train.py: another training \(process {process.pid} on .+, since 20..-..-.. ..:..:..\) is writing to "
        rf"{re.escape(str(out))}: wait for it, stop it, or give another --out\n",
        capsys.readouterr().err,
    )
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_lock_ends_with_its_process(holder, tmp_path):
    out = tmp_path / "run"
    process = holder(out)
    with pytest.raises(DataError, match="another training"), lock.exclusive(out, "another training", "-"):
        pass
    process.kill()
    process.wait()
    assert (out / "lock").is_file(), "nobody tidied up"
    with lock.exclusive(out, "another training", "-"):
        about = json.loads((out / "lock").read_text())
        assert about["process"] == os.getpid()
    assert not (out / "lock").exists()


def test_waiting_for_a_lock_is_printed(holder, tmp_path, capsys):
    process = holder(tmp_path / "cache")
    threading.Timer(0.5, process.kill).start()
    with lock.exclusive(tmp_path / "cache", "another program", "-", wait=True):
        pass
    out = capsys.readouterr().out
    assert out.startswith("waiting for another program (process ") and out.count("\n") == 1


def test_drive_without_locks_is_used(tmp_path, monkeypatch, capsys):
    def unknown(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unknown)
    with lock.exclusive(tmp_path, "another training", "-"):
        pass
    assert "has no locks" in capsys.readouterr().out
