"""`captioner caption`: its output and exit codes."""

import json
from pathlib import Path

import pytest

from captioner.cli import main
from captioner.errors import EngineError


def test_one_image_gives_a_sentence(fake_engine, folder, capsys):
    assert main(["caption", str(folder / "a.jpg")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("a ") and out.count("\n") == 1 and err == ""
    assert fake_engine.closed


@pytest.mark.parametrize("form", ["folder", "pattern", "names"])
def test_several_images_give_lines_in_order(fake_engine, folder, capsys, form):
    arguments = {
        "folder": [str(folder)],
        "pattern": [str(folder / "*.[jpG]*")],
        "names": [str(folder / name) for name in ("a.jpg", "b.png", "c.GIF")],
    }
    assert main(["caption", *arguments[form]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [Path(line.split(": ")[0]).name for line in lines] == ["a.jpg", "b.png", "c.GIF"]
    assert main(["caption", str(folder / "b.png")]) == 0
    assert lines[1].endswith(": " + capsys.readouterr().out.strip())


def test_names_keep_their_order(fake_engine, folder, capsys):
    names = [str(folder / name) for name in ("c.GIF", "a.jpg", "c.GIF")]
    assert main(["caption", *names, "--batch-size", "2"]) == 0
    assert [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()] == names
    assert fake_engine.calls == [0, 2, 1]


def test_json_is_one_object_a_line(fake_engine, folder, capsys):
    missing = str(folder / "missing.jpg")
    assert main(["caption", "--json", str(folder), missing, "--strategy", "greedy"]) == 1
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [Path(row["image"]).name for row in rows] == ["a.jpg", "b.png", "c.GIF", "missing.jpg"]
    assert set(rows[0]) >= {
        "image",
        "caption",
        "score",
        "logp",
        "words",
        "word_logp",
        "alternatives",
        "error",
    }
    assert rows[0]["error"] is None and rows[0]["caption"] == " ".join(rows[0]["words"])
    assert rows[3]["caption"] == "" and rows[3]["error"].endswith("no such image file")
    assert err.splitlines() == [
        f"captioner: {missing}: no such image file",
        "captioner: 3 of 4 images captioned, 1 failed",
    ]


def test_an_unreadable_image_is_exit_code_1(fake_engine, folder, capsys):
    assert main(["caption", str(folder / "notes.txt"), str(folder / "a.jpg")]) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and "a.jpg: a " in out
    assert err.startswith("captioner: ") and "notes.txt" in err
    assert err.endswith("\ncaptioner: 1 of 2 images captioned, 1 failed\n") and err.count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.jpg"], "missing.jpg: no such image file"),
        (["*.nothing"], "no file matches *.nothing"),
        (["{empty}"], "no image in the folder"),
        (["{empty}", "--strategy", "beam("], "no image in the folder"),
        (["missing.jpg", "other.jpg", "--strategy", "beam("], "expected a spec"),
        (
            ["missing.jpg", "other.jpg", "--batch-size", "0"],
            "--batch-size expects a whole number of at least 1, got 0",
        ),
    ],
)
def test_fatal_errors_are_exit_code_2(fake_engine, tmp_path, capsys, arguments, words):
    assert main(["caption", *(a.format(empty=tmp_path) for a in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("captioner: ") and words in err


def test_an_unreachable_engine(fake_engine, folder, capsys):
    fake_engine.fail = EngineError("server\nis away")
    assert main(["caption", str(folder)]) == 2
    assert capsys.readouterr().err == "captioner: server is away\n"


def test_ctrl_c_is_exit_code_130(fake_engine, folder, capsys):
    fake_engine.fail = KeyboardInterrupt()
    assert main(["caption", str(folder)]) == 130
    assert capsys.readouterr().err == "captioner: stopped\n"
