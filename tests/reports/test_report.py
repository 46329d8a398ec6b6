"""Reports: images, options of the command line, and mistakes."""

import itertools
import json
import sys
from pathlib import Path

import pytest

import captioner
from captioner import atomic
from captioner.cli import main
from captioner.errors import DataError, MissingDependency, SpecError
from tests.support.report_inputs import random_captions, read_report
from tests.support.report_pages import check_scores


@pytest.mark.parametrize("form", ["folder", "paths", "mapping", "list"])
def test_images_from_folders_paths_and_mappings(tmp_path, photos, form):
    predictions, references = random_captions()
    images = photos
    if form == "paths":
        predictions, references = (
            {f"{photos}/{name}": value for name, value in texts.items()}
            for texts in (predictions, references)
        )
        images = None
    elif form == "mapping":
        images = {name: (photos / name).read_bytes() for name in predictions}
    elif form == "list":
        images = dict(enumerate(photos / name for name in predictions))
        predictions, references = list(predictions.values()), list(references.values())
    data = read_report(
        captioner.report(predictions, references, tmp_path / "r.html", images=images, resamples=10)
    )[1]
    assert data["not_shown"] == 0 and data["wanted"] == 12


def test_ids_without_endings_or_folders(tmp_path, photos):
    predictions, references = random_captions()
    names = [f"/elsewhere/{n}" if i % 2 else n.removesuffix(".png") for i, n in enumerate(predictions)]
    predictions = dict(zip(names, predictions.values(), strict=True))
    references = dict(zip(names, references.values(), strict=True))
    assert (
        read_report(captioner.report(predictions, references, tmp_path / "r.html", images=photos))[1][
            "not_shown"
        ]
        == 0
    )


def test_unreadable_images_are_listed(tmp_path, photos, capsys):
    predictions, references = random_captions()
    (photos / "1.png").unlink()
    (photos / "2.png").write_text("no image at all")
    (photos / "3.png").write_bytes((photos / "3.png").read_bytes()[:200])
    html, data = read_report(captioner.report(predictions, references, tmp_path / "r.html", images=photos))
    check_scores(html, data, ("times 100,",))
    assert (data["not_shown"], data["wanted"]) == (3, 12) and "could not be found or read" in html.rest
    problems = {p["image"]: p["problem"] for g in data["examples"] for p in g["images"] if p["problem"]}
    assert "no such image file" in problems["1.png"] and "got text" in problems["2.png"]
    assert "truncated PNG" in problems["3.png"]
    files = caption_files(tmp_path, predictions, references)
    assert main(["evaluate", *files, "--images", str(photos), "--html", str(tmp_path / "c.html")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("captioner: 3 of its 12 images cannot be read")


def caption_files(folder, predictions, references, name="p"):
    (folder / f"{name}.json").write_text(json.dumps(predictions))
    (folder / "refs.json").write_text(json.dumps(references))
    return [str(folder / f"{name}.json"), str(folder / "refs.json")]


@pytest.mark.parametrize("more", [[], ["--json"], ["--metric", "rouge_l"]])
def test_html_changes_no_printed_scores(tmp_path, capsys, more):
    files = caption_files(tmp_path, *random_captions())
    assert main(["evaluate", *files, *more]) == 0
    plain = capsys.readouterr().out
    assert (
        main(["evaluate", *files, *more, "--html", str(tmp_path / "r.html"), "--images", str(tmp_path)]) == 0
    )
    out, err = capsys.readouterr()
    if more[:1] == ["--metric"]:
        assert out.startswith(plain.splitlines()[0]) and "CIDEr-D" in out  # images are ordered by it
    else:
        assert out == plain
    assert f"report: {tmp_path / 'r.html'}, scores: {tmp_path / 'r.json'}" in err
    assert read_report(tmp_path / "r.html")[1]["names"] == ["p"]


def test_the_command_compares_two_files(tmp_path, capsys):
    files = caption_files(tmp_path, *random_captions())
    (tmp_path / "other").mkdir()
    other, _ = caption_files(tmp_path / "other", random_captions(wrong=0.9)[0], {})
    command = ["evaluate", *files, "--baseline", other, "--html", str(tmp_path / "r.html")]
    assert main(command) == 0
    assert read_report(tmp_path / "r.html")[1]["names"] == [tmp_path.name, "other"]
    capsys.readouterr()
    assert main(command) == 2
    assert "r.html is there already" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    # Predictions under the JSON's name are not a report's.
    assert main(["evaluate", *files, "--html", str(tmp_path / "p.html"), "--overwrite"]) == 2
    out, err = capsys.readouterr()
    assert "p.json is no JSON of a report, and would be lost" in err and json.loads(
        Path(files[0]).read_text()
    )
    for option in (["--baseline", other], ["--images", "x"], ["--overwrite"]):
        assert main(["evaluate", *files, *option]) == 2
        assert (
            capsys.readouterr().err
            == f"captioner: {option[0]} applies to the report: pass --html OUT.html too\n"
        )


def test_mistakes_are_one_line(tmp_path, monkeypatch):
    predictions, references = random_captions()

    def refused(error, words, **options):
        out = options.pop("out", tmp_path / "r.html")
        with pytest.raises(error, match=words) as caught:
            captioner.report(predictions, references, out, **{"resamples": 10} | options)
        assert "\n" not in str(caught.value) and not (tmp_path / "r.html").exists()

    refused(DataError, "end in .html, got .*r.htm", out=tmp_path / "r.htm")
    refused(DataError, "there is no such folder", images=tmp_path / "nowhere")
    refused(SpecError, "resamples expects a whole number of at least 2, got 1", resamples=1)
    refused(SpecError, "list of 2 names", baseline=predictions, names=["a"])
    refused(
        DataError,
        "^b: cannot evaluate: 1 predictions without references: 'x'",
        baseline=predictions | {"x": "a"},
    )
    refused(DataError, "^b: .* no prediction", baseline=dict(itertools.islice(predictions.items(), 3)))
    refused(SpecError, "unknown metric|no metric", metrics=["bluu"])
    (tmp_path / "file").write_text("")
    refused(DataError, "cannot write", out=tmp_path / "file" / "r.html")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    refused(MissingDependency, r"'jinja2'.*captioner\[report\]")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(MissingDependency, r"'matplotlib'.*captioner\[report\]")


def test_a_failure_leaves_the_old_report(tmp_path, monkeypatch):
    out = captioner.report(*random_captions(), tmp_path / "r.html", resamples=10)
    before = out.read_bytes()
    monkeypatch.setattr(atomic.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(DataError, match="disk full"):
        captioner.report(*random_captions(seed=1), out, overwrite=True, resamples=10)
    assert out.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["r.html", "r.json"]
