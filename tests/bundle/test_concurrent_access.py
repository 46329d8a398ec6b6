"""Several programs at one model folder: readers see the old model or the new one, and writers take turns."""

import itertools
import os
import threading

import pytest

from captioner import bundle
from captioner.bundle import transaction
from captioner.errors import BundleError
from captioner.text import Tokenizer
from tests.support.models.model_folders import CONFIG, leftovers, model_name, write


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
