"""Overwriting a model folder: after an interruption there is the old model or the new one, all on disk."""

import errno
import itertools
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from captioner import bundle
from captioner.bundle import transaction
from captioner.errors import BundleError
from captioner.text import Tokenizer
from tests.support.models.model_folders import CONFIG, leftovers, model_name, write

# Audit events of file operations; `os.replace` is a rename as well.
WATCHED = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}


class Stopped(BaseException):
    """Simulates the end of the process: all later file operations fail."""


class Fault:
    """Raises at the k-th file operation below a folder; with `stop` at all later ones as well."""

    folder, left, stop, tripped = "", 0, False, False

    def arm(self, folder, left, stop):
        self.folder, self.left, self.stop, self.tripped = os.path.realpath(folder), left, stop, False

    def disarm(self):
        self.folder = ""

    def hook(self, event, args):
        if self.folder and event in WATCHED and any(str(arg).startswith(self.folder) for arg in args[:2]):
            self.operation()

    def operation(self):
        self.left -= 1
        if self.left == 0 or (self.tripped and self.stop):
            self.tripped = True
            raise Stopped if self.stop else OSError(errno.EIO, os.strerror(errno.EIO))


FAULT = Fault()


sys.addaudithook(FAULT.hook)


@pytest.fixture(autouse=True)
def flushing_is_an_operation_too(monkeypatch):
    """Counts calls of fsync as file operations, without doing them."""

    def fsync(handle):
        if FAULT.folder:
            FAULT.operation()

    monkeypatch.setattr(os, "fsync", fsync)
    yield
    FAULT.disarm()


@pytest.mark.parametrize("linked", [True, False], ids=["links", "copies"])
@pytest.mark.parametrize("stop", [False, True], ids=["disk", "killed"])
@pytest.mark.parametrize("before", ["old", None])
def test_the_writer_is_stopped_at_every_file_operation(tmp_path, monkeypatch, before, stop, linked):
    if not linked:

        def link(*_):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", link)
    seen = set()
    for k in itertools.count(1):
        folder = tmp_path / f"model-{k}"
        if before:
            write(folder, before)
            (folder / "notes.txt").write_text("mine")
        FAULT.arm(tmp_path, k, stop)
        try:
            write(folder, "new")
        except (BundleError, Stopped) as error:
            assert "\n" not in str(error)
        finally:
            tripped = FAULT.tripped
            FAULT.disarm()
        if not tripped:
            break
        if before is None and not (folder / bundle.MANIFEST).exists():
            name = None
            with pytest.raises(BundleError, match="no such model folder|has no captioner.json"):
                bundle.read(folder)
            assert stop or not folder.exists() or not leftovers(folder)
        else:
            name = model_name(folder)
            assert name in (before, "new")
        seen.add(name)
        # The next writer succeeds and leaves nothing of this one.
        write(folder, "next")
        assert model_name(folder) == "next" and not leftovers(folder)
        assert transaction.ENTRY not in json.loads((folder / bundle.MANIFEST).read_text())
        assert not before or (folder / "notes.txt").read_text() == "mine"
    assert k > 25 and seen == {before, "new"}


@pytest.mark.parametrize("linked", [True, False], ids=["links", "copies"])
@pytest.mark.parametrize("before", ["old", None])
def test_files_are_on_disk_before_the_manifest_names_them(tmp_path, monkeypatch, before, linked):
    """A power cut leaves of a file, and of the names in a folder, what was flushed."""
    if not linked:

        def link(*_):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", link)
    folder, replace, flushed, named = tmp_path / "m", os.replace, {}, []

    def fsync(handle):
        status = os.fstat(handle)
        flushed[status.st_ino] = status.st_mtime_ns
        if stat.S_ISDIR(status.st_mode):
            names = os.listdir(handle)
            flushed[status.st_ino] = {name: os.stat(name, dir_fd=handle).st_ino for name in names}

    def replace_when_flushed(source, target):
        if os.path.basename(target) == bundle.MANIFEST:
            place = transaction.current_files(folder, json.loads(Path(source).read_text()))
            names = {name for name in bundle.FILES if (place / name).exists()}
            assert {bundle.WEIGHTS, bundle.VOCABULARY, bundle.METRICS} < names
            entries = flushed.get(place.stat().st_ino, {})
            for name in names:
                status = (place / name).stat()
                assert flushed.get(status.st_ino) == status.st_mtime_ns, f"{name} is not on disk"
                assert entries.get(name) == status.st_ino, f"the name of {name} is not on disk"
            named.append(place.name)
        replace(source, target)

    if before:
        write(folder, before)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace_when_flushed)
    write(folder, "new")
    assert len(named) == 2 and named[0].startswith(".write-") and named[1] == "m"
    assert model_name(folder) == "new"


def test_after_a_stop_the_manifest_can_be_amended(tmp_path):
    """The files get their usual names first."""
    count = 0
    for k in range(1, 60):
        folder = tmp_path / f"m{k}"
        write(folder, "old")
        FAULT.arm(tmp_path, k, stop=True)
        try:
            write(folder, "new")
        except Stopped:
            pass
        finally:
            FAULT.disarm()
        name = model_name(folder)
        halfway = transaction.ENTRY in json.loads((folder / bundle.MANIFEST).read_text())
        count += halfway
        if k % 2:
            bundle.recover(folder)
            assert model_name(folder) == name and not leftovers(folder)
            assert transaction.ENTRY not in json.loads((folder / bundle.MANIFEST).read_text())
        bundle.amend(folder, lambda manifest: {**manifest, "exports": {"1": {"strategy": "greedy"}}})
        assert model_name(folder) == name and not leftovers(folder)
        manifest = json.loads((folder / bundle.MANIFEST).read_text())
        assert manifest["exports"] and transaction.ENTRY not in manifest
        assert (folder / "model.weights.h5").read_text() == name * 3
    assert count > 5


def test_damage_is_reported_at_once(tmp_path):
    folder = write(tmp_path / "m", "old")
    (folder / "model.weights.h5").write_text("other")
    with pytest.raises(BundleError, match="damaged .*checksum"):
        bundle.read(folder)


@pytest.mark.parametrize("place", ["..", "/etc", ".write-1", ".write-0000000g", "1", 7, None, ""])
def test_a_manifest_cannot_name_another_folder(tmp_path, place):
    folder = write(tmp_path / "m", "old")
    manifest = json.loads((folder / bundle.MANIFEST).read_text())
    (folder / bundle.MANIFEST).write_text(json.dumps({**manifest, transaction.ENTRY: place}))
    with pytest.raises(BundleError, match="manifest of .*files: expected"):
        bundle.read(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_invalid_metrics_are_refused_before_writing(tmp_path, value):
    def save(path):
        raise AssertionError("too late")

    with pytest.raises(BundleError, match="expected metrics.json to be what JSON can hold"):
        bundle.write(tmp_path / "m", CONFIG, Tokenizer(["a"]), save, metrics={"x": value})
    assert not (tmp_path / "m").exists()
