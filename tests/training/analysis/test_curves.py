"""Learning curves: their numbers, and what is said of them."""

import math
import statistics

import pytest
from PIL import Image

from training.analysis import curves
from training.analysis.curves import Point


def points(values, start="adapted", bleu=10.0):
    """Runs from a dict of the number of images to the CIDEr-D of each seed."""
    return [
        Point(images, start, seed, {"CIDEr-D": value, "BLEU-4": bleu})
        for images, scores in values.items()
        for seed, value in enumerate(scores, start=1)
    ]


def curve(values):
    return curves.means(points(values), "adapted")


def test_means_over_seeds():
    runs = points({200: [30.0, 36.0, 33.0], 50: [20.0]}) + points({50: [1.0, 2.0]}, "scratch")
    means = curves.means(runs, "adapted")
    assert list(means) == [50, 200], "ascending"
    assert means[200] == pytest.approx((33.0, statistics.stdev([30, 36, 33]), 3))
    assert means[50][0] == 20 and math.isnan(means[50][1]) and means[50][2] == 1
    assert curves.means(runs, "scratch")[50][0] == 1.5
    assert curves.means(runs, "adapted", "BLEU-4")[200][0] == 10
    # CIDEr-D is undefined for few test images: such a run has no value.
    unknown = Point(50, "adapted", 2, {"CIDEr-D": None, "BLEU-4": 3.0})
    assert curves.means([*runs, unknown], "adapted")[50][2] == 1


def test_rows():
    row = curves.row(Point(50, "scratch", 3, {"CIDEr-D": 20.0, "ROUGE-L": 40.0}))
    assert row == {"images": 50, "start": "scratch", "seed": 3, "CIDEr-D": 20.0, "ROUGE-L": 40.0}


def test_what_more_images_are_worth():
    """On c = a + b log(n) the gain is exact; it is of the two largest sizes."""

    def law(images):
        return 4 + 7 * math.log(images)

    values = {images: [law(images)] for images in (50, 100, 300)}
    for more in (10, 300, 5000):
        assert curves.gain(curve(values), more) == pytest.approx(law(300 + more) - law(300))
    bent = {10: [0.0], **values}
    assert curves.gain(curve(bent), 100) == pytest.approx(law(400) - law(300))
    assert curves.gain(curve({100: [5.0], 200: [4.0]}), 200) == pytest.approx(-1.0)
    assert curves.gain(curve({100: [5.0]}), 200) is None and curves.gain({}, 10) is None


def test_from_where_more_images_bring_nothing():
    rising = {50: [10.0], 100: [20.0], 300: [30.0]}
    assert curves.saturation(curve(rising)) is None
    assert curves.saturation(curve({**rising, 1000: [31.9]})) == 300, "less than 2 points with a seed each"
    assert curves.saturation(curve({**rising, 1000: [32.1]})) is None
    assert curves.saturation(curve({50: [10.0], 100: [9.0], 300: [20.0]})) is None, "a dip is no end"
    assert curves.saturation(curve({50: [30.0], 100: [31.0], 300: [29.0]})) == 50
    # Two standard errors of a difference: deviations of 1 with two seeds each are sqrt(1 + 1).
    deviation = 2 * math.sqrt(1 / 2 + 1 / 2)
    for larger, end in ((deviation - 0.01, 50), (deviation + 0.01, None)):
        spread = 1 / math.sqrt(2)
        values = {50: [20 - spread, 20 + spread], 100: [20 + larger - spread, 20 + larger + spread]}
        assert curves.saturation(curve(values)) == end
    assert curves.saturation({}) is None and curves.saturation(curve({50: [1.0]})) is None


def test_the_summary():
    runs = points({50: [20.0, 22.0], 100: [30.0, 34.0]}) + points({50: [5.0, 5.0]}, "scratch", bleu=2.0)
    text = curves.summary(runs, captions_per_image=2.5)
    lines = text.splitlines()
    assert lines[0] == "| images | adapted, CIDEr-D | adapted, BLEU-4 | scratch, CIDEr-D | scratch, BLEU-4 |"
    assert lines[1].count("|") == lines[0].count("|")
    assert lines[2] == "| 50 | 21.0 ± 1.4 | 10.0 ± 0.0 | 5.0 ± 0.0 | 2.0 ± 0.0 |"
    assert lines[3] == "| 100 | 32.0 ± 2.8 | 10.0 ± 0.0 | - | - |"
    assert "mean and standard deviation of 2 runs" in text
    # 20 more images, 50 captions: 11 / log 2 * log 1.2.
    assert "adapted: another 50 captions (20 images) are worth +2.9 CIDEr-D." in lines
    assert not any(line.startswith("scratch:") for line in lines), "one size says nothing"
    assert "brought nothing" not in text
    flat = curves.summary(points({50: [20.0], 1000: [20.5]}), 1)
    assert "one run a size" in flat and "adapted: more than 50 images brought nothing" in flat
    # Constant captions have columns of their own, and no more of them can be had.
    constant = curves.summary(runs + points({50: [7.0], 100: [8.0]}, curves.CONSTANT), 1).splitlines()
    assert constant[0].endswith("| best constant caption, CIDEr-D | best constant caption, BLEU-4 |")
    assert [line.partition(":")[0] for line in constant].count(curves.CONSTANT) == 1


def test_the_summary_of_runs_without_a_value():
    text = curves.summary([Point(50, "adapted", 1, {"CIDEr-D": None, "BLEU-4": None})], 1)
    assert "| 50 | - | - |" in text


def test_the_drawing(tmp_path):
    pytest.importorskip("matplotlib")
    runs = points({50: [20.0, 22.0], 100: [30.0, 34.0]}) + points({50: [5.0]}, "scratch")
    curves.draw(runs + points({50: [7.0], 100: [8.0]}, curves.CONSTANT), tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as image:
        assert image.size == (910, 585)
        assert len(set(image.convert("RGB").getdata())) > 50
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]
