"""The page that training writes: from a run's folder made by hand, from a real run, and what goes wrong."""

import csv
import json
import re
from pathlib import Path

import PIL.Image
import pytest

from tests.support.report_pages import Page, charts, check_scores, check_self_contained
from tests.support.training.interrupted_runs import CHANGES
from training import analyze, train
from training.analysis import report
from training.loop.run_logger import RunLogger


def make_run(folder, epochs=4, reward_from=0, finished=True, source="folder(path='nowhere')", **config):
    """A run's folder by hand: scored every second epoch, best in the second, self-critical from an epoch on."""
    folder.mkdir(parents=True)
    settings = {
        "name": "tiny",
        "data": {"source": source, "min_count": 1},
        "seed": 3,
        "tests": ["test", "new"],
    }
    (folder / "run.json").write_text(json.dumps(settings | config))
    rows = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "loss": 5 / epoch, "learning rate": 0.0015 / epoch, "seconds": 61.5 * epoch}
        if reward_from and epoch >= reward_from:
            row |= {"loss": 0.1, "reward": epoch / 10}
        if epoch % 2 == 0:
            row |= {"BLEU-4": 10.0 + epoch, "CIDEr-D": 50.25 - epoch, "mean length": 9.5}
        rows.append(row)
    with (folder / "history.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    lines = [f"{e},{t},{10.0 ** (t - 4) * e:.6e}" for e in range(1, epochs + 1) for t in range(3)]
    (folder / "gradients.csv").write_text("\n".join(["epoch,step,norm", *lines]) + "\n")
    samples = ""
    for epoch, caption in ((2, "a dog"), (4, "a dog"), (6, "a brown dog"), (8, "a dog")):
        samples += (
            f"epoch {epoch}\n  a: b.jpg: {caption}  |  A brown dog : it sits .\n  c.jpg:   |  Nothing .\n"
        )
    (folder / "samples.txt").write_text(samples)
    if finished:
        test = {"BLEU-4": 12.34, "CIDEr-D": 51.5, "vocabulary": 300.0}
        (folder / "metrics.json").write_text(
            json.dumps({"validation": {"CIDEr-D": 48.25}, "epoch": 2, "test": test})
        )
    return folder


def read(path):
    text = path.read_text(encoding="utf-8")
    return Page(text), json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def test_report_of_one_run(tmp_path):
    run = make_run(tmp_path / "lstm", scst={"epochs": 2}, reward_from=3)
    assert analyze.main(["report", str(run)]) == 0
    page, data = read(run / "report.html")
    check_scores(page, data, ("times 100,",))
    check_self_contained(page)
    result = data["runs"][0]
    chosen = "best epoch 2 by CIDEr-D on the validation split"
    assert result["best"] == {"epoch": 2, "CIDEr-D": 48.25, "validation loss": None, "chosen": chosen}
    assert result["finished"]
    assert result["minutes"] == pytest.approx(4 * 61.5 / 60) and result["epochs"] == 4
    assert [row.get("loss") for row in result["history"]] == [5.0, 2.5, None, None]
    assert [row.get("self-critical loss") for row in result["history"]] == [None, None, 0.1, 0.1]
    assert [curve["epoch"] for curve in result["gradients"]] == [1, 2]
    assert result["gradients"][1]["norms"] == pytest.approx([2e-4, 2e-3, 2e-2])
    # Names may hold colons, captions and references whatever they like.
    assert data["samples"][0] == {
        "image": "a: b.jpg", "reference": "A brown dog : it sits .",
        "runs": [[
            {"epoch": 2, "caption": "a dog", "same": False}, {"epoch": 4, "caption": "a dog", "same": True},
            {"epoch": 6, "caption": "a brown dog", "same": False}, {"epoch": 8, "caption": "a dog", "same": False},
        ]],
    }  # fmt: skip
    assert [item["caption"] for item in data["samples"][1]["runs"][0]] == [""] * 4
    assert page.text.count('class="same"') == 1 + 3
    settings = {row["key"]: row["values"] for row in data["settings"]}
    assert settings["data.min_count"] == [1] and settings["tests"] == ["test, new"]
    shown = dict(page.shown)
    assert {shown[path] for path in shown if path.startswith("settings.")} >= {
        "data.source",
        "folder(path='nowhere')",
    }
    titles = re.findall(r"<b>(.*?)</b>", page.text)
    for title in (
        "Loss",
        "Loss of self-critical",
        "Reward",
        "CIDEr-D on",
        "BLEU-4 on",
        "Learning rate",
        "Gradient norm",
    ):
        assert any(item.startswith(title) for item in titles), title
    assert len(charts(page)) == 2 * 7
    # A run's own page is replaced as training goes on.
    assert analyze.main(["report", str(run)]) == 0


def test_report_of_several_runs(tmp_path, capsys):
    runs = [make_run(tmp_path / "lstm"), make_run(tmp_path / "gru", 6, finished=False, seed=4)]
    out = tmp_path / "both.html"
    assert analyze.main(["report", *map(str, runs), "--out", str(out)]) == 0
    page, data = read(out)
    check_scores(page, data, ("times 100,",))
    check_self_contained(page)
    assert data["names"] == ["lstm", "gru"] and [run["finished"] for run in data["runs"]] == [True, False]
    assert {row["key"] for row in data["settings"] if row["differs"]} == {"seed"}
    (test,) = (part for part in data["tests"] if part["split"] == "test")
    assert {row["name"]: row["values"] for row in test["metrics"]} == {
        "BLEU-4": [12.34, None], "CIDEr-D": [51.5, None], "vocabulary": [300.0, None],
    }  # fmt: skip
    assert [len(captions) for captions in data["samples"][0]["runs"]] == [4, 4]
    assert all("lstm" in chart and "gru" in chart for chart in charts(page))
    capsys.readouterr()
    assert analyze.main(["report", *map(str, runs), "--out", str(out)]) == 2
    assert "both.html is there already" in capsys.readouterr().err
    assert analyze.main(["report", *map(str, runs), "--out", str(out), "--overwrite"]) == 0
    assert analyze.main(["report", *map(str, runs)]) == 2
    assert capsys.readouterr().err == "analyze.py: expected --out FILE.html for a page of 2 runs\n"


def test_images_of_samples_are_shown(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    PIL.Image.new("RGB", (640, 480), "teal").save(photos / "c.jpg")
    page, _ = read(report.write([make_run(tmp_path / "run", source=f"folder(path={str(photos)!r})")]))
    check_self_contained(page)
    assert [s[:15] for s in page.attributes("src")].count("data:image/jpeg") == 1
    none, _ = read(report.write([make_run(tmp_path / "other")]))
    assert not [s for s in none.attributes("src") if s.startswith("data:image/jpeg")]


def test_report_of_a_new_run(tmp_path):
    run = make_run(tmp_path / "run", epochs=1, finished=False)
    for name in ("samples.txt", "gradients.csv"):
        (run / name).unlink()
    page, data = read(report.write([run]))
    check_scores(page, data)
    nothing = {"epoch": None, "CIDEr-D": None, "validation loss": None, "chosen": ""}
    assert data["runs"][0]["best"] == nothing and "No samples" in page.rest
    (run / "history.csv").write_text("epoch,loss,learning rate\n1,nan,0.1\n")
    assert read(report.write([run]))[1]["runs"][0]["history"][0]["loss"] is None


def test_user_text_is_escaped(tmp_path):
    nasty = "<script>x</script> & <b onload=1>'\""
    run = make_run(tmp_path / "run", note=nasty)
    (run / "samples.txt").write_text(f"epoch 1\n  {nasty}.jpg: a dog  |  {nasty}\n")
    page, data = read(report.write([run]))
    check_self_contained(page)
    assert "<script" not in page.text and "onload=1>" not in page.text
    assert data["samples"][0]["reference"] == nasty == dict(page.shown)["samples.0.reference"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("run.json", None, "whose run.json can be read"),
        ("run.json", "[]", "whose run.json can be read"),
        ("metrics.json", "{", "whose metrics.json can be read"),
        ("history.csv", None, "metrics of a run's epochs"),
        ("history.csv", "epoch,loss\n", "an epoch or more"),
        ("history.csv", "epoch,loss\none,two\n", "metrics of a run's epochs"),
        ("gradients.csv", "x\n1\n", "columns epoch, step, norm"),
        ("report.json", "{}", "no JSON of a report"),
    ],
)
def test_folder_without_run_is_one_line(tmp_path, capsys, name, content, words):
    run = make_run(tmp_path / "run")
    (run / name).unlink(missing_ok=True)
    if content is not None:
        (run / name).write_text(content)
    assert analyze.main(["report", str(run)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and words in err and not (run / "report.html").exists()


def test_failing_report_does_not_stop_training(tmp_path, capsys, monkeypatch):
    run = make_run(tmp_path / "run")

    def broken(data):
        raise RuntimeError("no\nink")

    monkeypatch.setattr(report, "_charts", broken)
    RunLogger(run).report()
    assert capsys.readouterr().out == "no report.html, training goes on: no ink\n"
    monkeypatch.undo()
    RunLogger(run).report()
    assert capsys.readouterr().out == "" and (run / "report.html").is_file()


def test_training_writes_its_report(tmp_path, monkeypatch, quick):
    """A real run: the page is there after the first scoring, and its figures are those of the run's files."""
    seen: list[dict] = []
    real = RunLogger.report

    def watched(self):
        real(self)
        seen.append(read(self.out / "report.html")[1])

    monkeypatch.setattr(RunLogger, "report", watched)
    changes = [
        word for change in [*CHANGES, "xe.epochs=2", "evaluation.tests=test"] for word in ("--set", change)
    ]
    assert train.main(["tiny", *changes, "--out", str(tmp_path / "run")]) == 0
    # After each of two epochs, and at the end with the figures of the test.
    assert [(d["runs"][0]["epochs"], d["runs"][0]["finished"]) for d in seen] == [
        (1, False),
        (2, False),
        (2, True),
    ]
    page, data = read(tmp_path / "run/report.html")
    check_scores(page, data, ("times 100,",))
    check_self_contained(page)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    figures = {row["name"]: row["values"][0] for row in data["tests"][-1]["metrics"]}
    assert data["tests"][-1]["split"] == "test" and figures == metrics["test"]
    with (tmp_path / "run/history.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [float(row["CIDEr-D"]) for row in rows] == [row["CIDEr-D"] for row in data["runs"][0]["history"]]
    # The drawn images of the samples are drawn again.
    assert len(data["samples"]) == 3
    assert sum(s.startswith("data:image/jpeg") for s in page.attributes("src")) == 3
    assert Path(tmp_path / "run/model").is_dir()
