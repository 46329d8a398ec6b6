"""The command line: what it prints where, and its exit codes."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

from captioner import api
from captioner.cli import caption as caption_command
from captioner.cli import main
from captioner.cli import models as models_command
from captioner.cli.progress import progress_bar
from captioner.engines.fake import FakeEngine
from captioner.errors import EngineError


@pytest.fixture
def fake(monkeypatch):
    """Puts an engine without a model behind `captioner caption`."""
    engine = FakeEngine()
    monkeypatch.setattr(caption_command, "load", lambda source: api.Captioner(engine))
    return engine


@pytest.fixture
def folder(tmp_path):
    """A folder with b.png, a.jpg, c.GIF and a text file."""
    for name, colour in (("b.png", "red"), ("a.jpg", "blue"), ("c.GIF", "green")):
        PIL.Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_one_image_gives_a_sentence(fake, folder, capsys):
    assert main(["caption", str(folder / "a.jpg")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("a ") and out.count("\n") == 1 and err == ""
    assert fake.closed


@pytest.mark.parametrize("form", ["folder", "pattern", "names"])
def test_several_images_give_a_line_each_in_order(fake, folder, capsys, form):
    given = {
        "folder": [str(folder)],
        "pattern": [str(folder / "*.[jpG]*")],
        "names": [str(folder / name) for name in ("a.jpg", "b.png", "c.GIF")],
    }
    assert main(["caption", *given[form]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [Path(line.split(": ")[0]).name for line in lines] == ["a.jpg", "b.png", "c.GIF"]
    assert main(["caption", str(folder / "b.png")]) == 0
    assert lines[1].endswith(": " + capsys.readouterr().out.strip())


def test_names_keep_the_order_given(fake, folder, capsys):
    names = [str(folder / name) for name in ("c.GIF", "a.jpg", "c.GIF")]
    assert main(["caption", *names, "--batch-size", "2"]) == 0
    assert [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()] == names
    assert fake.calls == [0, 2, 1]


def test_json_is_one_object_a_line(fake, folder, capsys):
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


def test_a_bad_image_among_several_is_exit_code_1(fake, folder, capsys):
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
def test_what_cannot_be_done_is_one_line_and_exit_code_2(fake, tmp_path, capsys, arguments, words):
    assert main(["caption", *(a.format(empty=tmp_path) for a in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("captioner: ") and words in err


def test_an_engine_that_is_away(fake, folder, capsys):
    fake.fail = EngineError("server\nis away")
    assert main(["caption", str(folder)]) == 2
    assert capsys.readouterr().err == "captioner: server is away\n"


def test_ctrl_c_is_exit_code_130(fake, folder, capsys):
    fake.fail = KeyboardInterrupt()
    assert main(["caption", str(folder)]) == 130
    assert capsys.readouterr().err == "captioner: stopped\n"


def test_no_model_folder(capsys):
    assert main(["caption", "dog.jpg", "--model", "no/such"]) == 2
    assert capsys.readouterr().err == "captioner: no such model folder: no/such\n"
    assert main(["show", "grpc://host/dogs"]) == 2
    assert capsys.readouterr().err == "captioner: expected a model folder to show, got grpc://host/dogs\n"


@pytest.mark.parametrize("arguments", [[], ["describe"], ["caption"], ["caption", "a.jpg", "--bogus"]])
def test_wrong_arguments_are_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert "usage: captioner" in err and err.startswith("captioner: ") and err.count("\n") == 1


def test_help_names_what_the_tables_hold(capsys):
    from captioner.cli import COMMANDS
    from captioner.metrics import METRICS

    for arguments, names in [(["--help"], COMMANDS), (["evaluate", "--help"], METRICS.names())]:
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
        said = capsys.readouterr().out
        assert all(name in said for name in names)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stderr(monkeypatch):
    """Standard error in memory, with every display of a bar; called with whether it is a terminal."""
    monkeypatch.setattr("captioner.cli.progress.TERMINAL_SECONDS", 0)
    monkeypatch.setattr("captioner.cli.progress.LOG_SECONDS", 0)

    def replace(terminal):
        stream = Terminal() if terminal else io.StringIO()
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    return replace


def test_progress_is_one_line_of_a_terminal_that_is_gone_at_the_end(stderr):
    stream = stderr(terminal=True)
    with progress_bar(total=20) as bar:
        for _ in range(20):
            bar.update()
    said = stream.getvalue()
    assert re.search(r"10/20 \[00:00<00:\d\d, .+image/s\]", said) and "\n" not in said
    assert said.endswith("\r") and said.split("\r")[-2].strip() == ""


def test_progress_is_whole_lines_in_a_log_and_none_of_short_work(stderr, monkeypatch):
    stream = stderr(terminal=False)
    assert len(list(progress_bar(range(3)))) == 3
    lines = stream.getvalue().rstrip("\r").splitlines()
    assert lines and all("/3 [" in line for line in lines)
    monkeypatch.setattr("captioner.cli.progress.LOG_SECONDS", 60)
    stream = stderr(terminal=False)
    assert len(list(progress_bar(range(3)))) == 3
    assert stream.getvalue() == ""


# evaluate

PREDICTED = {"1.jpg": "a dog runs", "2.jpg": "two cats sleep"}
REFERENCES = {
    "1.jpg": ["A dog runs .", "The dog is running ."],
    "2.jpg": ["A cat sleeps .", "Two cats sleep ."],
}


def caption_files(folder: Path) -> dict[str, list[Path]]:
    """The same captions in every accepted form."""
    predicted = [{"image": k, "caption": v} for k, v in PREDICTED.items()]
    referred = [{"image": k, "caption": v} for k, texts in REFERENCES.items() for v in texts]
    forms = {
        "predictions": {
            "object.json": json.dumps(PREDICTED),
            "rows.json": json.dumps([{"image_id": r["image"], "caption": r["caption"]} for r in predicted]),
            "rows.jsonl": "\n".join(json.dumps({**r, "score": 1}) for r in predicted) + "\n\n",
            "rows.csv": "image,caption\n" + "".join(f'{r["image"]},"{r["caption"]}"\r\n' for r in predicted),
        },
        "references": {
            "object.json": json.dumps(REFERENCES),
            "coco.json": json.dumps(
                {"annotations": [{"image_id": r["image"], "caption": r["caption"]} for r in referred]}
            ),
            "lists.jsonl": "\n".join(json.dumps({"id": k, "captions": v}) for k, v in REFERENCES.items()),
            "rows.tsv": "\ufeffid\ttext\n" + "".join(f"{r['image']}\t{r['caption']}\n" for r in referred),
        },
    }
    found: dict[str, list[Path]] = {}
    for kind, files in forms.items():
        for name, text in files.items():
            path = folder / f"{kind}-{name}"
            path.write_text(text, encoding="utf-8")
            found.setdefault(kind, []).append(path)
    return found


def test_evaluate_takes_every_form(tmp_path, capsys):
    import captioner

    expected = captioner.evaluate(PREDICTED, REFERENCES, metrics=["rouge_l", "exact_match"])
    files = caption_files(tmp_path)
    for predictions in files["predictions"]:
        for references in files["references"]:
            code = main(
                ["evaluate", str(predictions), str(references), "--json"]
                + ["--metric", "rouge_l", "--metric", "exact_match"]
            )
            assert code == 0
            assert json.loads(capsys.readouterr().out) == pytest.approx(expected)


def test_evaluate_prints_a_table(tmp_path, capsys):
    files = caption_files(tmp_path)
    assert main(["evaluate", str(files["predictions"][0]), str(files["references"][0])]) == 0
    out, err = capsys.readouterr()
    figures = dict(line.rsplit(maxsplit=1) for line in out.splitlines())
    assert figures["BLEU-1"] == "100.00" and "CIDEr-D" in figures
    assert err.splitlines()[0].startswith("captioner: CIDEr-D of 2 images is rough")
    assert err.splitlines()[1:] == ["2 images"]


def test_what_caption_prints_can_be_evaluated(fake, folder, tmp_path, capsys):
    main(["caption", "--json", str(folder)])
    (tmp_path / "p.jsonl").write_text(capsys.readouterr().out)
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    (tmp_path / "r.json").write_text(json.dumps({row["image"]: [row["caption"]] for row in rows}))
    arguments = [str(tmp_path / "p.jsonl"), str(tmp_path / "r.json"), "--json", "--metric", "exact_match"]
    assert main(["evaluate", *arguments]) == 0
    assert json.loads(capsys.readouterr().out) == {"exact match": 100.0}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.txt", "x", "expected a captions file that ends in .json, .jsonl, .csv, .tsv, got "),
        ("p.json", "{", "expected JSON"),
        ("p.json", "7", "expected a JSON object or list, got int"),
        ("p.json", "[]", "expected rows with the columns image, caption and optionally split, found none"),
        ("p.json", '["a dog"]', "entry 1: expected an object with image and caption, got 'a dog'"),
        ("p.json", '{"1.jpg": 7}', "p.json: '1.jpg': image and caption are not both there as text, got 7"),
        ("p.jsonl", '{"image": "a"', "p.jsonl:1: not a line of JSON"),
        (
            "p.csv",
            "image,caption\n1.jpg,a dog\n",
            "p.csv:1: expected the columns image, caption and optionally split, got: image, caption",
        ),
        ("p.csv", "image,words\n1.jpg,a dog\n", "p.csv:1: expected the columns image, caption"),
        (
            "p.csv",
            "image,caption\n1.jpg,a dog\n1.jpg,a cat\n",
            "p.csv:3: expected one prediction for each image, got a second one for '1.jpg'",
        ),
        ("p.json", '{"9.jpg": "a dog"}', "9.jpg"),
        ("p.json", '[{"image": "1.jpg", "caption": "", "error": "truncated"}]', "errors, not captions"),
        ("p.csv", b"image,caption\n1.jpg,\xff\n", "p.csv:2: not UTF-8: the byte 0xff"),
    ],
)
def test_evaluate_says_what_is_wrong_with_a_file(tmp_path, capsys, name, text, words):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "r.json").write_text('{"1.jpg": ["a dog"]}')
    assert main(["evaluate", str(tmp_path / name), str(tmp_path / "r.json")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and words in err


def test_evaluate_without_files(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path / "no.json"), str(tmp_path / "no.csv")]) == 2
    assert "no.json: No such file or directory" in capsys.readouterr().err


# With a real model


def test_show(tiny_bundle, capsys):
    assert main(["show", str(tiny_bundle)]) == 0
    said = capsys.readouterr().out
    assert "image_size   32 x 32\n" in said
    for words in (
        "10 words and 4 special tokens: a, red",
        "lstm(units=12",
        "CIDEr-D      1.50",
        "Random weights.",
    ):
        assert words in said
    assert main(["show", str(tiny_bundle), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["model"]["max_length"] == 7 and facts["vocabulary"]["size"] == 14
    assert facts["parameters"]["encoder"] == 8 * (4 * 4 * 3 + 1) + 12 * (2 * 2 * 8 + 1)


def test_show_takes_the_default_model_and_prints_tables(tiny_bundle, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "saved_models" / "default"
    shutil.copytree(tiny_bundle, folder)
    scores = {"CIDEr-D": 58.834, "images": 5, "note": None}
    (folder / "metrics.json").write_text(
        json.dumps({"test": {"weights, run by Keras": scores, "model.tflite": {"CIDEr-D": 9.0}}})
    )
    monkeypatch.chdir(tmp_path)
    assert main(["show"]) == 0
    said = capsys.readouterr().out
    assert "\ntest         weights, run by Keras  model.tflite\n" in said
    assert "\nCIDEr-D                      58.83          9.00\n" in said
    assert "\nimages                           5             -\n" in said
    assert "\nencoder      a Keras Functional of 4 layers: InputLayer, Rescaling, Conv2D, Conv2D\n" in said
    assert "{" not in said
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert "models in saved_models:\n" in said and ", CIDEr-D 58.83\n" in said


def test_models_looks_where_the_default_model_is(tmp_path, capsys, monkeypatch):
    """Outside the clone, too, and says where it has looked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models_command, "_tables", dict)
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert f"no folder {tmp_path}/saved_models" in said
    beside = Path(api.__file__).parents[1] / "saved_models"
    if (beside / "default").is_dir():
        assert f"models in {beside}:\n  {beside}/default" in said
    assert main(["models", "--folder", "mine"]) == 0
    assert capsys.readouterr().out.startswith(f"models in mine:\n  none  no folder {tmp_path}/mine")


def test_models_lists_folders_and_every_row_of_every_table(tiny_bundle, capsys):
    from captioner.decoding import RULES, STRATEGIES
    from captioner.models import ATTENTIONS, CELLS, DECODERS, ENCODERS
    from captioner.rerank import RERANKERS

    assert main(["models", "--folder", str(tiny_bundle.parent)]) == 0
    said = capsys.readouterr().out
    assert f"{tiny_bundle}  " in said and "CIDEr-D 1.5" in said
    rows = {line.split()[0] for line in said.splitlines() if line.startswith("  ")}
    for table in (ENCODERS, DECODERS, CELLS, ATTENTIONS, STRATEGIES, RULES, RERANKERS):
        assert set(table.names()) <= rows


def test_the_real_thing_says_the_sentence_and_nothing_else(tiny_bundle, folder):
    """In a process of its own, as a user starts it: TensorFlow's chatter must not reach the terminal."""
    environment = {k: v for k, v in os.environ.items() if k not in ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")}
    done = subprocess.run(
        [sys.executable, "-m", "captioner", "caption", str(folder / "a.jpg"), "--model", str(tiny_bundle)]
        + ["--strategy", "greedy(min_length=2)"],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.returncode == 0 and len(done.stdout.split()) >= 2


def test_quiet_evaluation_says_nothing_beside_the_figures(tmp_path, capsys):
    files = caption_files(tmp_path)
    options = ["--quiet", "--html", str(tmp_path / "r.html")]
    assert main(["evaluate", str(files["predictions"][0]), str(files["references"][0]), *options]) == 0
    out, err = capsys.readouterr()
    assert "BLEU-1" in out and err == ""


def test_trust_is_asked_for_in_words_of_the_command_line(tiny_bundle, folder, tmp_path, capsys):
    """A model that names code of somebody's runs with --trust and not without."""
    mine = tmp_path / "mine"
    shutil.copytree(tiny_bundle, mine)
    manifest = json.loads((mine / "captioner.json").read_text())
    manifest["model"]["decoder"] = (
        "captioner.models.decoders:SoftAttention(units=12, embedding=10, value_dim=8)"
    )
    (mine / "captioner.json").write_text(json.dumps(manifest))
    for command in (["caption", str(folder / "a.jpg"), "--model", str(mine)], ["export", str(mine), "-q"]):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert "add --trust captioner" in err and "trust=(" not in err and err.count("\n") == 1
    trusting = ["--model", str(mine), "--trust", "captioner"]
    assert main(["caption", str(folder / "a.jpg"), *trusting]) == 0, capsys.readouterr().err
    assert "names Python code" not in capsys.readouterr().err


def test_output_that_nobody_reads_to_the_end(tiny_bundle):
    command = f"{sys.executable} -m captioner show {tiny_bundle} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
