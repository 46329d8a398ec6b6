"""Overwriting a model folder: after interruptions and for concurrent readers there is the old model or the new one."""

import errno
import itertools
import json
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from captioner import bundle
from captioner.bundle import transaction
from captioner.errors import BundleError
from captioner.text import Tokenizer

CONFIG = {"encoder": "small_cnn", "decoder": "lstm", "max_length": 20, "image_size": [32, 32]}
CALIBRATION = {"bias": 1.0, "weights": {"mean_logp": 2.0, "least_logp": 0.0, "words": 0.0}}
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


def write(folder, name, size=3):
    """Writes a bundle with `name` in all its files; "old" and "new" have different optional files."""

    def save(path):
        with open(path, "w") as file:
            file.write(name * size)

    optional = {"card": f"# {name}"}
    if name == "new":
        optional = {"confidence": CALIBRATION, "save_reranker_parameters": {"cider_regression": save}}
    return bundle.write(
        folder, CONFIG, Tokenizer([name]), save, metrics={"name": name}, overwrite=True, **optional
    )


def model_name(folder, size=3):
    """The name in all files of the bundle, which must agree."""

    def name_of(model):
        name = model.tokenizer.word(4)
        assert model.weights.read_text() == name * size and model.metrics == {"name": name}
        assert model.card == ("" if name == "new" else f"# {name}")
        assert bool(model.confidence) == (name == "new") == bool(model.reranker_parameters)
        for path in model.reranker_parameters.values():
            assert path.read_text() == name * size
        return name

    return bundle.opened(folder, name_of)


def leftovers(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


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


def test_readers_see_the_old_model_or_the_new(tmp_path):
    folder = write(tmp_path / "m", "old", size=50_000)
    over, problems, names = threading.Event(), [], []

    def look():
        while not over.is_set():
            try:
                names.append(model_name(folder, size=50_000))
            except BaseException as error:
                problems.append(error)
                return

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(30):
        write(folder, "new" if turn % 2 == 0 else "old", size=50_000)
    over.set()
    for reader in readers:
        reader.join()
    assert not problems and set(names) == {"old", "new"} and len(names) > 5


def test_writers_into_one_folder_do_not_mix(tmp_path):
    folder = tmp_path / "m"
    problems = []

    def put(name):
        for _ in range(10):
            try:
                write(folder, name, size=20_000)
            except BaseException as error:
                problems.append(error)

    writers = [threading.Thread(target=put, args=(name,)) for name in ("old", "new", "third")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert (
        not problems and model_name(folder, size=20_000) in ("old", "new", "third") and not leftovers(folder)
    )


def test_two_who_do_not_overwrite(tmp_path):
    """The second writer finds the model of the first one at its commit."""
    folder = tmp_path / "m"

    def slow(path):
        with open(path, "w") as file:
            file.write("late")
        write(folder, "old")

    with pytest.raises(BundleError, match="already holds a model"):
        bundle.write(folder, CONFIG, Tokenizer(["late"]), slow)
    assert model_name(folder) == "old" and not leftovers(folder)


def test_a_writer_at_work_is_no_leftover(tmp_path):
    folder = tmp_path / "m"

    def slow(path):
        with open(path, "w") as file:
            file.write("late")
        write(folder, "old")  # cleans what crashed writers left
        assert os.path.exists(path)

    bundle.write(folder, CONFIG, Tokenizer(["late"]), slow, overwrite=True)
    assert bundle.read(folder).tokenizer.word(4) == "late"


def test_a_folder_that_others_hold(tmp_path):
    folder = write(tmp_path / "m", "old")
    with transaction.locked(folder) as held:
        assert held
        with (
            pytest.raises(BundleError, match="another program is writing"),
            transaction.locked(folder, wait=0),
        ):
            pass
        assert model_name(folder) == "old"  # readers need no lock
    with transaction.locked(folder, shared=True), transaction.locked(folder, shared=True, wait=0) as held:
        assert held


def test_a_model_that_always_changes_is_an_error(tmp_path):
    folder = write(tmp_path / "m", "old")
    turns = itertools.count()

    def use(model):
        os.utime(folder / bundle.MANIFEST, ns=(1, next(turns)))

    with pytest.raises(BundleError, match="again and again"):
        bundle.opened(folder, use)


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
