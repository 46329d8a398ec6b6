"""Atomic writes: after any interruption there is the old file or the new one, and no leftover."""

import errno
import os

import pytest

from captioner import atomic
from captioner.errors import BundleError, DataError


def test_a_file_is_replaced_atomically(tmp_path):
    path = tmp_path / "sub" / "a.json"
    atomic.write_json(path, {"a": 1})
    atomic.write_json(path, {"a": "é"})
    assert path.read_text(encoding="utf-8") == '{\n  "a": "é"\n}\n'
    assert os.listdir(path.parent) == ["a.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(BundleError, match=r"^cannot write .*a.txt: No space left on device$"):
        atomic.write_text(path, "new", error=BundleError)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic.replacing(path) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_fsync_comes_before_the_rename(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    atomic.write_text(tmp_path / "a.txt", "text")
    assert calls == ["fsync", "replace", "fsync"]  # the file, then its new name


def test_json_holds_no_nan(tmp_path):
    with pytest.raises(ValueError):
        atomic.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_a_folder_in_the_way_is_one_line(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="^cannot write "):
        atomic.write_text(tmp_path / "a", "text")


def test_long_names_in_any_script_can_be_written(tmp_path):
    """File systems limit names in bytes: 80 characters of three bytes are allowed."""
    path = tmp_path / ("犬" * 80)
    atomic.write_text(path, "x")
    assert path.read_text() == "x" and len(os.listdir(tmp_path)) == 1
