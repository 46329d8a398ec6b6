"""Predictions and references in different files, matched by `captioner evaluate`."""

import json

import numpy as np
import pytest

import captioner
from captioner.caption_files import aligned, read_predictions, read_references
from captioner.cli import main
from tests.support.caption_tables import random_captions, table, written


def test_unprintable_names_are_read_back(tmp_path, capsys):
    # `captioner caption --json` escapes bytes of file names that are not UTF-8.
    rows = [
        {"image": name, "caption": f"a dog {i}"}
        for i, name in enumerate(["a\udc85.jpg", "../../x", "b\0c", "/e/f"])
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = [row["image"] for row in rows]
    assert list(read_predictions(tmp_path / "p.jsonl")) == names
    (tmp_path / "r.json").write_text(json.dumps({name: ["a dog"] for name in names}))
    assert main(["evaluate", str(tmp_path / "p.jsonl"), str(tmp_path / "r.json"), "--metric", "bleu"]) == 0
    capsys.readouterr()
    (tmp_path / "r.json").write_text(json.dumps({name: ["a dog"] for name in names[1:]}))
    assert main(["evaluate", str(tmp_path / "p.jsonl"), str(tmp_path / "r.json")]) == 2
    assert "1 predictions without references: 'a\\udc85.jpg'" in capsys.readouterr().err


def run(capsys, *options):
    code = main(["evaluate", *options])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err.splitlines()


def test_training_captions_as_references(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = random_captions(60)
    rows = [(i, c, "test" if int(i[:-4]) < 50 else "train") for i, cs in texts.items() for c in cs]
    references = written(tmp_path, "photos/captions.csv", table(rows, ",", ("image", "caption", "split")))
    of_test = {f"photos/{image}": cs[0] for image, cs in texts.items() if int(image[:-4]) < 50}
    captions = dict(zip(of_test, np.roll(list(of_test.values()), 1).tolist(), strict=True))
    expected = captioner.evaluate(captions, {name: texts[name[7:]] for name in captions})
    predictions = written(tmp_path, "p.json", captions)
    code, out, err = run(capsys, predictions, references, "--json")
    assert code == 0 and json.loads(out) == pytest.approx(expected)
    assert err == [
        "captioner: references: those of the split test alone, 50 of 60 images",
        "captioner: 50 images matched by path ('photos/0.jpg' with '0.jpg')",
    ]
    code, out, err = run(capsys, predictions, references, "--json", "--split", "test")
    assert code == 0 and json.loads(out) == pytest.approx(expected) and "50 of 60 images" in err[0]
    code, out, err = run(capsys, predictions, references, "--split", "train")
    assert code == 2 and "no prediction and no reference are of the same image" in err[-1]
    code, out, err = run(capsys, predictions, references, "--split", "val")
    assert code == 2 and "no image of the split 'val'" in err[-1] and "it has: test, train" in err[-1]
    # All splits if predictions are of several; missing images are listed.
    some = {**captions, "photos/55.jpg": "a dog"}
    code, out, err = run(capsys, written(tmp_path, "p.json", some), references)
    assert (
        code == 2
        and "9 images with references but no prediction: '50.jpg', '51.jpg', '52.jpg', ..." in err[-1]
    )
    assert err[-1].endswith("the others matched (51 by path)")


def test_coco_is_matched_by_number_and_name(tmp_path, capsys):
    texts = random_captions(3)
    coco = {"images": [{"id": 70 + i, "file_name": f"COCO_{name}"} for i, name in enumerate(texts)]}
    coco["annotations"] = [
        {"id": k, "image_id": 70 + i, "caption": c}
        for i, cs in enumerate(texts.values())
        for k, c in enumerate(cs)
    ]
    for images in (coco["images"], []):
        references = written(tmp_path, "captions.json", coco | {"images": images})
        rows = "".join(f"{70 + i}.0,{cs[1]}\n" for i, cs in enumerate(texts.values()))
        results = [
            written(
                tmp_path,
                "p.json",
                [{"image_id": 70 + i, "caption": c[1]} for i, c in enumerate(texts.values())],
            ),
            written(tmp_path, "floats.csv", "image_id,caption\n" + rows),
        ]
        if images:
            by_path = {f"some/where/COCO_{name}": cs[1] for name, cs in texts.items()}
            results.append(written(tmp_path, "paths.json", by_path))
        scores = []
        for predictions in results:
            code, out, err = run(capsys, predictions, references, "--json", "--metric", "rouge_l")
            assert code == 0, err
            scores.append(json.loads(out))
        assert scores.count({"ROUGE-L": pytest.approx(100)}) == len(results)


def test_unmatched_ids_of_both_sides_are_shown(tmp_path, capsys):
    references = written(tmp_path, "r.json", {"one.jpg": ["a dog"], "Beach.JPG": ["a beach"]})
    code, out, err = run(capsys, written(tmp_path, "p.json", {"x": "a", "y": "b"}), references)
    assert (code, out, len(err)) == (2, "", 1)
    assert "predictions have 'x', references 'one.jpg'" in err[0]
    code, out, err = run(
        capsys, written(tmp_path, "p.json", {"v/one.jpg": "a", "beach.jpg": "b"}), references
    )
    assert (code, out, len(err)) == (2, "", 1)
    assert "1 predictions without references: 'beach.jpg'; 1 images with references but" in err[0]
    assert (
        "(is 'beach.jpg' the same image as 'Beach.JPG'? rename one); the others matched (1 by base name)"
        in err[0]
    )


def test_a_baseline_may_spell_its_images_differently(tmp_path, capsys):
    pytest.importorskip("matplotlib"), pytest.importorskip("jinja2")
    texts = random_captions(5)
    references = written(tmp_path, "r.json", texts)
    first = written(tmp_path, "a.json", {f"x/{n}": cs[0] for n, cs in texts.items()})
    second = written(tmp_path, "b.json", {f"y/z/{n}": cs[1] for n, cs in reversed(texts.items())})
    page = tmp_path / "page.html"
    code, out, err = run(capsys, first, references, "--baseline", second, "--html", str(page))
    assert code == 0, err
    data = json.loads(page.with_suffix(".json").read_text())
    assert [row["image"] for row in data["images"]] == [f"x/{n}" for n in texts]
    both = next(row for row in data["scores"] if row["name"] == "ROUGE-L")["models"]
    assert [model["value"] for model in both] == pytest.approx([100.0, 100.0])


def test_other_column_names_are_noted(tmp_path, capsys):
    references = written(tmp_path, "r.csv", "caption,file_name,id\na dog,1.jpg,5\na cat,2.jpg,6\n")
    predictions = written(tmp_path, "p.json", {"1.jpg": "a dog", "2.jpg": "a cat"})
    code, out, err = run(capsys, predictions, references, "--metric", "bleu")
    assert (
        code == 0
        and err[0] == "captioner: references: images by the column 'file_name', captions by 'caption'"
    )


@pytest.mark.parametrize("html", [False, True])
def test_cider_of_one_image_is_undefined(tmp_path, capsys, html):
    if html:
        pytest.importorskip("matplotlib"), pytest.importorskip("jinja2")
    more = ["--html", str(tmp_path / "r.html"), "--overwrite"] if html else []
    predictions = written(tmp_path, "p.json", {"1.jpg": "a dog runs fast"})
    references = written(tmp_path, "r.jsonl", '{"image": "1.jpg", "caption": "a dog runs fast"}')
    code, out, err = run(capsys, predictions, references, *more)
    assert code == 0 and "CIDEr-D" not in out and "BLEU-4" in out
    messages = [line for line in err if "CIDEr-D" in line]
    assert (
        len(messages) == 1
        and "no CIDEr-D: it needs several images" in messages[0]
        and "got one" in messages[0]
    )
    code, out, err = run(capsys, predictions, references, "--json", *more)
    scores = json.loads(out)
    assert code == 0 and scores["CIDEr-D"] is None and scores["BLEU-4"] == pytest.approx(100)
    # With more images a score with a remark that it is rough; from 50 images on without.
    for count, words in ((2, "CIDEr-D of 2 images is rough"), (49, "49 images is rough"), (50, None)):
        texts = random_captions(count)
        predictions = written(tmp_path, "p.json", {n: cs[0] for n, cs in texts.items()})
        code, out, err = run(capsys, predictions, written(tmp_path, "refs.json", texts), *more)
        assert code == 0 and "CIDEr-D" in out
        assert [words in line for line in err if "rough" in line] == [True] * bool(words)
        code, out, err = run(
            capsys, predictions, tmp_path.joinpath("refs.json").as_posix(), "--metric", "rouge_l"
        )
        assert not [line for line in err if "CIDEr" in line]


def test_matches_are_counted_by_rule(tmp_path, capsys):
    references = written(tmp_path, "r.json", {"1.jpg": ["a dog"], "b/two.jpg": ["a cat"], "3": ["a bird"]})
    captions = {"1.jpg": "a dog", "c/two.jpg": "a cat", "3.0": "a bird"}
    matched = aligned(captions, read_references(references))
    assert matched.names == {"1.jpg": "1.jpg", "c/two.jpg": "b/two.jpg", "3.0": "3"}
    assert matched.references == {"1.jpg": ["a dog"], "c/two.jpg": ["a cat"], "3.0": ["a bird"]}
    code, out, err = run(capsys, written(tmp_path, "p.json", captions), references)
    assert code == 0 and err[:2] == [
        "captioner: 1 image matched by base name",
        "captioner: 1 image matched by number",
    ]
