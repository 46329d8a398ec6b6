"""The analysis `metric_agreement`: agreement with pycocoevalcap."""

import json

import pytest

from captioner.errors import CaptionerError
from tests.support.metric_inputs import needs_java, needs_official, random_captions


def karpathy_file(path, captions):
    images = [
        {"filename": f"{i}.jpg", "split": "test", "sentences": [{"raw": c} for c in image]}
        for i, image in enumerate(captions)
    ]
    path.write_text(json.dumps({"images": images}))
    return str(path)


@pytest.mark.slow
@needs_java
def test_metric_agreement_prints_a_table(tmp_path, capsys):
    needs_official()
    from training import analyze

    _, references = random_captions(images=8, shortest=3)
    captions = [[" ".join(c) + " ." for c in image] * 2 for image in references]
    assert analyze.main(["metric_agreement", "--captions", karpathy_file(tmp_path / "k.json", captions)]) == 0
    table = capsys.readouterr().out
    for name in ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D", "METEOR"):
        assert f"\n{name}" in table
    worst = float(table.split("largest difference on the same tokens:")[1].split()[0])
    assert worst < 1e-6


@pytest.mark.parametrize(
    ("captions", "split", "message"),
    [
        (None, "test", "No such file"),
        ("{", "test", "Karpathy"),
        ([["a dog", "a cat"]], "val", "it holds: test"),
        ([["a dog"]], "test", "two captions or more"),
        ([["a dog", "a cat"]], "test", "Java"),
    ],
)
def test_metric_agreement_fails_in_one_line(tmp_path, capsys, monkeypatch, captions, split, message):
    needs_official()
    from training import analyze

    monkeypatch.setenv("PATH", "/nowhere")
    path = tmp_path / "k.json"
    if isinstance(captions, str):
        path.write_text(captions)
    elif captions:
        karpathy_file(path, captions)
    assert (
        analyze.main(["metric_agreement", "--captions", str(path), "--split", split])
        == CaptionerError.exit_code
    )
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
