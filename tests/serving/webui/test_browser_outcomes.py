"""The page with a model that knows which photos are unlike those it was trained on."""

import csv
import json

import pytest

pytest.importorskip("grpc")
pytest.importorskip("starlette")
pytest.importorskip("playwright.sync_api")

import captioner
from captioner.caption_files import read_predictions
from captioner.types import OUTCOMES
from tests.support.models.outcomes import IMAGES, build_judging_model
from tests.support.models.shared_exports import made_once
from tests.support.serving.page_browser import (
    accessibility_violations,
    add_files,
    download,
    expect,
    payload,
    wait_for_caption,
)
from tests.support.serving.page_server import PageServer

DECLINED = "no caption: unlike anything this model was trained on"


def save_model(folder):
    saved = captioner.save(build_judging_model(), folder / "judging")
    captioner.export(saved, ["saved_model(batch_sizes=(1,))"])


@pytest.fixture(scope="module")
def server(served, tmp_path_factory):
    """Replaces the server of other modules; `open_page` opens its page."""
    folder = made_once(tmp_path_factory, "page_outcomes", save_model) / "judging"
    server = PageServer(folder, [str(served[1])], body=8 << 20)
    yield server
    server.close()


@pytest.fixture(scope="module")
def answers(server):
    """An image and its answer for each outcome."""
    answers = [(image, server.caption(image).json()) for image in IMAGES]
    return {outcome: next(a for a in answers if a[1]["outcome"] == outcome) for outcome in OUTCOMES}


def test_answers_are_the_captions(server, answers):
    with captioner.load(server.folder) as model:
        for outcome, (image, answer) in answers.items():
            caption = model.caption(image)
            assert (answer["text"], answer["caption"]) == (caption.text, caption.caption)
            assert answer["ood_score"] == pytest.approx(caption.ood_score, rel=1e-4)
            assert answer["alt_text"]["flagged"] == (outcome != "caption")
            assert not any("outcome" in other for other in answer["alternatives"])
            # The strategy of a visitor is run by the model folder.
            assert server.caption(image, strategy="greedy").json()["outcome"] == outcome
    assert answers["declined"][1]["text"] == DECLINED
    assert answers["declined"][1]["alt_text"]["text"].startswith("No caption: ")


def test_other_models_answer_as_before(server, served, answers):
    answer = server.caption(answers["declined"][0], model=str(served[1])).json()
    assert not {"text", "outcome", "ood_score"} & set(answer)


def test_a_declined_photo_shows_no_caption_unless_asked(open_page, answers):
    page = open_page(reduced_motion="reduce")
    image, answer = answers["declined"]
    add_files(page, ("a.png", image, "image/png"))
    expect(page.locator("#outcome-text")).to_have_text(DECLINED)
    expect(page.locator("#status")).to_have_text(DECLINED)
    expect(page.locator("#caption")).to_be_hidden()
    assert page.locator("#photo").get_attribute("alt") == DECLINED
    assert page.locator("#alt").input_value() == answer["alt_text"]["text"]
    expect(page.locator("#alt-flag")).to_be_visible()
    assert accessibility_violations(page) == []
    page.click("#outcome-show")
    expect(page.locator("#caption")).to_have_text(answer["caption"])
    expect(page.locator("#outcome-show")).to_be_hidden()
    # The next photo has a caption again, with reservations or without.
    for outcome in ("hedged", "caption"):
        add_files(page, ("b.png", answers[outcome][0], "image/png"))
        expect(page.locator("#caption")).to_have_text(answers[outcome][1]["caption"])
        expect(page.locator("#outcome")).to_be_visible(visible=outcome == "hedged")
        expect(page.locator("#outcome-show")).to_be_hidden()
    assert wait_for_caption(page) == answers["caption"][1]["text"]


def test_the_table_and_its_files(open_page, answers, tmp_path):
    page = open_page(reduced_motion="reduce")
    page.set_input_files("#files", [payload(f"{n}.png", a[0], "image/png") for n, a in answers.items()])
    expect(page.locator("#batch-text")).to_contain_text("3 of 3 photos, done")
    texts = page.locator("#rows td.caption").all_inner_texts()
    assert texts == [answers[outcome][1]["text"] for outcome in ("caption", "declined", "hedged")]
    flags = page.locator("#rows td.confidence").all_inner_texts()
    assert flags == ["not known", "⚠ declined", "⚠ hedged"]
    rows = list(csv.DictReader(download(page, "csv", tmp_path).read_text("utf-8-sig").splitlines()))
    lines = [json.loads(line) for line in download(page, "jsonl", tmp_path).read_text().splitlines()]
    for row, line in zip(rows, lines, strict=True):
        answer = answers[row["outcome"]][1]
        assert row["image"] == line["image"] == f"{line['outcome']}.png"
        for name in ("caption", "text"):
            assert row[name] == line[name] == answer[name]
        assert float(row["ood_score"]) == line["ood_score"] == answer["ood_score"]
    for name in ("captions.csv", "captions.jsonl"):
        captions = read_predictions(tmp_path / name)
        assert {c.text for c in captions.values()} == {a[1]["caption"] for a in answers.values()}
