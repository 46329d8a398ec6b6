"""Image files named by folders and patterns, and the notes on skipped ones."""

import os
import time

import pytest

from captioner.cli.image_files import ImageFiles, image_files
from captioner.image import loading
from tests.support.images.image_trees import draw


@pytest.fixture
def tree(tmp_path):
    """A folder with images, links, hidden and unreadable files."""
    top = tmp_path / "photos"
    draw(
        top / "b.JPG", top / "a.png", top / "2020" / "c.png", top / "2020" / "deep" / "d.gif", top / ".h.png"
    )
    (top / "._a.png").write_bytes(b"\0\5\x16\7")
    (top / "x.jxl").write_bytes(b"\xff\x0a")
    (top / "notes.txt").write_text("no image")
    (top / "gone.jpg").symlink_to(top / "nowhere.jpg")
    (top / "self.jpg").symlink_to(top / "self.jpg")
    (top / "2020" / "loop").symlink_to(top)
    draw(top / ".cache" / "e.png")
    os.mkfifo(top / "pipe.png")
    return top


def names(files, folder):
    return [os.path.relpath(path, folder) for path in files.paths]


def test_skipped_files_of_a_folder_are_noted(tree):
    files = image_files([str(tree)])
    assert names(files, tree) == ["a.png", "b.JPG"] and not files.errors
    skipped = {reason: [os.path.relpath(p, tree) for p in paths] for reason, paths in files.skipped.items()}
    assert skipped == {
        "hidden image": [".h.png"],
        "macOS": ["._a.png"],
        "JPEG XL": ["x.jxl"],
        "broken link": ["gone.jpg", "self.jpg"],
        "no file": ["pipe.png"],
        "sub-folder": ["2020"],
    }
    notes = files.notes()
    assert f"1 sub-folder not searched ({tree}/2020): add --recursive" in notes
    assert f"2 broken links skipped ({tree}/gone.jpg ...): repair or delete them" in notes
    assert f"1 JPEG XL file skipped ({tree}/x.jxl): save it as JPEG or PNG" in notes


def test_recursive_search_follows_no_links(tree):
    files = image_files([str(tree)], recursive=True)
    assert names(files, tree) == ["2020/c.png", "2020/deep/d.gif", "a.png", "b.JPG"]
    assert files.skipped["linked folder"] == [f"{tree}/2020/loop"]
    assert files.skipped["hidden folder"] == [f"{tree}/.cache"] and "sub-folder" not in files.skipped


def test_a_named_link_to_a_folder_is_followed(tree, tmp_path):
    (tmp_path / "link").symlink_to(tree / "2020")
    assert names(image_files([str(tmp_path / "link")]), tmp_path) == ["link/c.png"]


@pytest.mark.parametrize("ending", list(loading.UNREADABLE_SUFFIXES))
def test_unreadable_formats_are_noted(tmp_path, ending):
    draw(tmp_path / "a.png")
    (tmp_path / f"b{ending.upper()}").write_bytes(b"?")
    (note,) = image_files([str(tmp_path)]).notes()
    assert loading.UNREADABLE_SUFFIXES[ending] in note and "save it as JPEG or PNG" in note


def test_a_folder_without_images_is_an_error(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.jxl").write_bytes(b"?")
    (error,) = image_files([str(tmp_path)]).errors
    assert error.startswith(f"no image in the folder {tmp_path}: expected files ending in .jpg")
    assert "1 JPEG XL file skipped" in error and "1 sub-folder not searched" in error


def test_an_unreadable_folder_is_an_error(tmp_path, monkeypatch):
    draw(tmp_path / "a" / "1.png", tmp_path / "b" / "2.png")
    scandir = os.scandir

    def closed(path="."):
        if os.path.basename(path) == "a":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    files = image_files([str(tmp_path)], recursive=True)
    assert names(files, tmp_path) == ["b/2.png"]
    assert files.errors == [f"cannot read the folder {tmp_path}/a: Permission denied"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["a.png"]),
        ("**/*.png", ["2020/c.png", "a.png"]),
        ("**/**/*.png", ["2020/c.png", "a.png"]),
        ("*/*.png", ["2020/c.png"]),
        ("[ab].*", ["a.png", "b.JPG"]),
        ("2020/**/*.gif", ["2020/deep/d.gif"]),
        ("2020/**", ["2020/c.png", "2020/deep/d.gif"]),
        (".h*", [".h.png"]),
    ],
)
@pytest.mark.parametrize("form", ["absolute", "relative", "dotted"])
def test_patterns(tree, monkeypatch, pattern, expected, form):
    (tree / "pipe.png").unlink()
    monkeypatch.chdir(tree)
    prefix = {"absolute": f"{tree}/", "relative": "", "dotted": "./"}[form]
    files = image_files([prefix + pattern])
    assert files.paths == [prefix + name for name in expected] and not files.errors


def test_circular_links_are_not_followed(tmp_path):
    for i in range(6):
        folder = tmp_path / f"d{i}"
        draw(folder / "x.png")
        for j in range(6):
            (folder / f"to{j}").symlink_to(tmp_path / f"d{j}")
    start = time.monotonic()
    for arguments, recursive in (([f"{tmp_path}/**/*.png"], False), ([str(tmp_path)], True)):
        assert len(image_files(arguments, recursive).paths) == 6
    assert time.monotonic() - start < 5


def test_folders_matched_by_a_pattern_are_noted(tree):
    files = image_files([f"{tree}/20*"])
    assert files.errors == [f"no file matches {tree}/20*"] and files.skipped["matched folder"] == [
        f"{tree}/2020"
    ]


def test_existing_names_are_no_patterns(tmp_path):
    draw(tmp_path / "a[1].png")
    assert image_files([f"{tmp_path}/a[1].png"]).paths == [f"{tmp_path}/a[1].png"]


def test_notes_count_paths():
    files = ImageFiles()
    for path in ("a", "b"):
        files.skip("macOS", path)
    assert files.notes() == ["2 ._ files of macOS skipped (a ...): they hold no image"]
