"""`captioner evaluate`: its files, output and mistakes."""

import json
from pathlib import Path

import pytest

from captioner.cli import main

PREDICTED = {"1.jpg": "a dog runs", "2.jpg": "two cats sleep"}


REFERENCES = {
    "1.jpg": ["A dog runs .", "The dog is running ."],
    "2.jpg": ["A cat sleeps .", "Two cats sleep ."],
}


def caption_files(folder: Path) -> dict[str, list[Path]]:
    """The same captions in all accepted formats."""
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
    files_of: dict[str, list[Path]] = {}
    for kind, files in forms.items():
        for name, text in files.items():
            path = folder / f"{kind}-{name}"
            path.write_text(text, encoding="utf-8")
            files_of.setdefault(kind, []).append(path)
    return files_of


def test_every_format_is_accepted(tmp_path, capsys):
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


def test_scores_are_a_table(tmp_path, capsys):
    files = caption_files(tmp_path)
    assert main(["evaluate", str(files["predictions"][0]), str(files["references"][0])]) == 0
    out, err = capsys.readouterr()
    scores = dict(line.rsplit(maxsplit=1) for line in out.splitlines())
    assert scores["BLEU-1"] == "100.00" and "CIDEr-D" in scores
    assert err.splitlines()[0].startswith("captioner: CIDEr-D of 2 images is rough")
    assert err.splitlines()[1:] == ["2 images"]


def test_output_of_caption_can_be_evaluated(fake_engine, folder, tmp_path, capsys):
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
            "photo,caption\n1.jpg,a dog\n",
            "p.csv:1: expected the columns image, caption and optionally split, got: photo, caption",
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
def test_faults_of_files_are_one_line(tmp_path, capsys, name, text, words):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "r.json").write_text('{"1.jpg": ["a dog"]}')
    assert main(["evaluate", str(tmp_path / name), str(tmp_path / "r.json")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and words in err


def test_missing_files(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path / "no.json"), str(tmp_path / "no.csv")]) == 2
    assert "no.json: No such file or directory" in capsys.readouterr().err


def test_quiet_prints_scores_only(tmp_path, capsys):
    files = caption_files(tmp_path)
    options = ["--quiet", "--html", str(tmp_path / "r.html")]
    assert main(["evaluate", str(files["predictions"][0]), str(files["references"][0]), *options]) == 0
    out, err = capsys.readouterr()
    assert "BLEU-1" in out and err == ""
