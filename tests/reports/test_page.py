"""Pages of reports, parsed and compared with their JSON."""

import base64
import io

import numpy as np
import PIL.Image
import pytest

import captioner
from tests.support.report_inputs import random_captions, read_report, with_attention
from tests.support.report_pages import Page, charts, check_scores, check_self_contained


@pytest.mark.parametrize("models", [1, 2])
def test_scores_of_the_page_equal_the_json(tmp_path, photos, models):
    predictions, references = random_captions()
    predictions = {name: with_attention(text) for name, text in predictions.items()}
    # Another order must not matter.
    baseline = dict(reversed(random_captions(wrong=0.8)[0].items())) if models == 2 else None
    out = captioner.report(
        predictions, references, tmp_path / "r.html", baseline, photos, ("one", "other"), resamples=40
    )
    html, data = read_report(out)
    check_scores(html, data, ("times 100,",))
    check_self_contained(html)
    paths = {path for path, _ in html.shown}
    for i, row in enumerate(data["scores"]):
        for m in range(models):
            assert f"scores.{i}.models.{m}.value" in paths
            assert row["models"][m]["low"] is None or f"scores.{i}.models.{m}.high" in paths
        assert models == 1 or f"scores.{i}.difference.value" in paths
    scores = captioner.evaluate(predictions, references)
    assert {row["name"]: row["models"][0]["value"] for row in data["scores"]} == scores
    if models == 2:
        other = captioner.evaluate(baseline, references)
        assert {row["name"]: row["models"][1]["value"] for row in data["scores"]} == pytest.approx(other)
        by_image = {row["image"]: row["CIDEr-D"] for row in data["images"]}
        mean = np.mean([values[1] for values in by_image.values()])
        assert mean == pytest.approx(other["CIDEr-D"]) and list(by_image) == list(predictions)
        for example in (example for group in data["examples"] for example in group["images"]):
            assert example["models"][1]["caption"] == baseline[example["image"]]
    # Each image of each group: the image itself, and for the first model two kinds of maps.
    shown = sum(len(group["images"]) for group in data["examples"])
    jpegs = [s for s in html.attributes("src") if s.startswith("data:image/jpeg")]
    assert len(jpegs) == 3 * shown and data["not_shown"] == 0 and data["attention"][0] == data["wanted"]
    with PIL.Image.open(io.BytesIO(base64.b64decode(jpegs[0].split(",")[1]))) as image:
        assert image.size == (320, 240)
    assert ("no attention maps" in html.rest) == (models == 2)
    titles = " ".join(html.rest.split())
    for title in ("Best", "Median", "Worst", "Confused words", "Most frequent captions"):
        assert title in titles
    # A chart for each theme.
    assert len(charts(html)) == 2 * (2 if models == 1 else 3)
    assert all("Date" not in chart and "<?xml" not in chart for chart in charts(html))


def test_the_check_of_scores_can_fail(tmp_path):
    out = captioner.report(*random_captions(), tmp_path / "r.html", resamples=10)
    html, data = read_report(out)
    data["scores"][0]["models"][0]["value"] += 0.2
    with pytest.raises(AssertionError):
        check_scores(html, data, ("times 100,",))
    with pytest.raises(AssertionError, match="without a path"):
        check_scores(
            Page(html.text.replace("Missed</th>", "Missed 7</th>")), read_report(out)[1], ("times 100,",)
        )
    with pytest.raises(AssertionError):
        check_self_contained(Page(html.text.replace('src="data:', 'src="x:', 1)))


def test_reports_are_reproducible(tmp_path, photos):
    made = [captioner.report(*random_captions(), tmp_path / name / "r.html", images=photos) for name in "ab"]
    assert made[0].read_bytes() == made[1].read_bytes()
    assert made[0].with_suffix(".json").read_bytes() == made[1].with_suffix(".json").read_bytes()
    assert sorted(p.name for p in made[0].parent.iterdir()) == ["r.html", "r.json"]


def test_user_text_is_escaped(tmp_path):
    nasty = """<script>alert("1")</script> & 'x' $a_1$ ]]>"""
    predictions = {f"{nasty}{i}": f"{nasty} dog {i % 3}" for i in range(7)}
    references = {name: [f"A {nasty} .", "<b onload=x>cat</b>"] for name in predictions}
    baseline = {name: f"{text} & more" for name, text in predictions.items()}
    out = captioner.report(
        predictions, references, tmp_path / "r.html", baseline, {}, (nasty, "<i>"), resamples=10
    )
    html, data = read_report(out)
    check_self_contained(html)
    assert data["names"][0] == nasty
    assert "<script" not in html.text and "<b onload" not in html.text and "<i>" not in html.text
    shown = dict(html.shown)
    assert shown["names.0"] == nasty and shown["examples.0.images.0.image"].startswith(nasty)
    for chart in charts(html):
        assert "<script" not in chart


def test_a_browser_opens_it_offline(tmp_path, photos, chromium):
    predictions, references = random_captions()
    predictions = {name: with_attention(text) for name, text in predictions.items()}
    out = captioner.report(
        predictions, references, tmp_path / "r.html", random_captions(wrong=0.9)[0], photos, resamples=10
    )
    for scheme, width in (("light", 1200), ("dark", 360)):
        context = chromium.new_context(
            offline=True, color_scheme=scheme, viewport={"width": width, "height": 800}
        )
        tab, messages, requests = context.new_page(), [], []
        tab.on("console", lambda message, messages=messages: messages.append(message.text))
        tab.on("request", lambda request, requests=requests: requests.append(request.url))
        tab.goto(out.as_uri())
        tab.evaluate("for (const i of document.images) i.loading = 'eager'")
        tab.wait_for_function("[...document.images].every(i => i.complete)")
        assert tab.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, (
            "the page is wider than the screen"
        )
        assert not messages and [url for url in requests if not url.startswith("data:")] == [out.as_uri()]
        context.close()
