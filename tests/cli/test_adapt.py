"""`captioner adapt`: the options and the mistakes of training/adapt.py, under the name of the command."""

import subprocess
import sys

import pytest

from captioner import programs
from captioner.cli import main
from tests.support.training.photo_folders import photos, source
from training import adapt
from training.recipes import RECIPES
from training.recipes.changes import with_changes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return photos(tmp_path / "photos")


def test_the_plan(folder, small_bundle, capsys):
    words = [str(folder), "--model", str(small_bundle), "--set", source(folder), "--plan"]
    assert main(["adapt", *words]) == 0
    lines = capsys.readouterr().out
    assert with_changes(RECIPES.build("own"), lines.splitlines()).data.hold_out == 2
    assert adapt.main(words) == 0 and capsys.readouterr().out == lines
    assert [path.name for path in folder.parent.iterdir()] == ["photos"]


def test_mistakes_are_one_line(folder, small_bundle, capsys):
    for words, says in (
        ([str(folder / "none")], "expected a folder of images and captions"),
        ([str(folder), "--set", source(folder), "--model", str(folder)], "photos"),
        ([str(folder), "--set", source(folder), "--model", str(small_bundle), "--set", "sed=3"], "'seed'"),
    ):
        assert main(["adapt", *words]) == 2
        message = capsys.readouterr().err
        assert message.startswith("captioner: ") and message.count("\n") == 1 and says in message


def test_the_help_has_the_options(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["adapt", "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for option in ("PHOTOS", "--captions", "--model", "--scratch", "--out", "--set", "--plan", "--overwrite"):
        assert option in text


def test_without_a_clone_it_names_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(programs, "_REPOSITORY", tmp_path)
    assert main(["adapt", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "training needs a clone of the repository" in message


def test_a_clone_is_found_from_any_folder(folder, small_bundle):
    """The installed command does not have the repository on its import path."""
    code = (
        "import sys; sys.path = [p for p in sys.path if p]\n"
        "from captioner.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["adapt", str(folder), "--set", source(folder), "--model", str(small_bundle), "--plan"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0 and "data.hold_out=2" in done.stdout, done.stderr
