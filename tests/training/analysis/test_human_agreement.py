"""The program that compares metrics with people's ratings: what it counts, and what it says of wrong files."""

import gzip
import json

import pytest

from training import analyze
from training.analysis import human_agreement

CAPTIONS = {
    "dog.jpg": ["a dog runs on the grass", "a brown dog runs outside"],
    "cat.jpg": ["a cat sleeps on a sofa", "the cat is asleep"],
    "sea.jpg": ["waves hit the beach", "a dog runs outside on the beach"],
}
RATINGS = [
    ("dog.jpg", "dog.jpg#0", (4, 4, 4)),  # one of its own: not judged
    ("dog.jpg", "sea.jpg#1", (3, 3, 4)),
    ("dog.jpg", "cat.jpg#0", (1, 1, 2)),
    ("dog.jpg", "sea.jpg#0", (1, 1, 1)),
    ("cat.jpg", "dog.jpg#1", (1, 2, 1)),
    ("gone.jpg", "dog.jpg#1", (1, 1, 1)),  # no such image
]


@pytest.fixture
def files(tmp_path):
    images = [
        {"filename": n, "split": "test", "sentences": [{"raw": c} for c in texts]}
        for n, texts in CAPTIONS.items()
    ]
    (tmp_path / "captions.json").write_text(json.dumps({"images": images}))
    lines = ["\t".join([image, caption, *map(str, rated)]) for image, caption, rated in RATINGS]
    (tmp_path / "ratings.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return ["--captions", str(tmp_path / "captions.json"), "--ratings", str(tmp_path / "ratings.txt.gz")]


def test_pairs_are_rated_pairs_of_other_captions(files):
    ratings = human_agreement.read_ratings(human_agreement.Path(files[3]))
    candidates, references, rated = human_agreement.pairs(CAPTIONS, ratings)
    assert len(candidates) == 4 and rated[0] == [3, 3, 4]
    assert candidates[0] == ["a", "dog", "runs", "outside", "on", "the", "beach"]
    assert references[0] == [caption.split(" ") for caption in CAPTIONS["dog.jpg"]]


def test_the_program_prints_a_figure_for_each_metric(files, capsys):
    assert analyze.main(["human_agreement", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 of 6 pairs, 12 ratings; tau-c x100"
    figures = {line.split()[0]: float(line.split()[1]) for line in lines[1:]}
    assert set(figures) == {"BLEU-1", "ROUGE-L", "CIDEr-D"} and figures["CIDEr-D"] > 30


def test_agreement_is_tau_c():
    # By hand: 5 concordant pairs of 6, one tied in the ratings; m = 3 values, n = 4: 2 * 5 / (16 * 2 / 3).
    assert human_agreement.agreement([1.0, 2.0, 3.0, 4.0], [[1], [2], [2], [3]]) == pytest.approx(0.9375)
    assert human_agreement.agreement([4.0, 3.0, 2.0, 1.0], [[1], [2], [2], [3]]) == pytest.approx(-0.9375)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("captions.json", "{}", "expected a Karpathy JSON: "),
        ("captions.json", None, "cannot read the captions file"),
        ("ratings.txt.gz", "dog.jpg cat.jpg#0 1", "in line 1"),
        ("ratings.txt.gz", "dog.jpg\tcat.jpg#0\tgood", "in line 1"),
        ("ratings.txt.gz", "a.jpg\tb.jpg#0\t1", "none of the rated pairs"),
    ],
)
def test_a_wrong_file_is_one_line(files, tmp_path, capsys, name, text, says):
    data = b"" if text is None else text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    if text is None:
        (tmp_path / name).unlink()
    assert analyze.main(["human_agreement", *files]) == 2
    error = capsys.readouterr().err
    assert error.startswith("analyze.py: ") and says in error and error.count("\n") == 1
