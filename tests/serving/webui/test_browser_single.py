"""The page in a browser: a single photo, its caption, heatmaps and alt text."""

import re

import numpy as np
import PIL.Image
import skimage.data

from captioner.outputs.heatmap import heatmap
from captioner.types import Caption
from tests.support import odd_images
from tests.support.serving.page_browser import WATCH, captioned, expect, give, photo, stage


def test_a_dropped_photo_is_said_word_by_word_while_its_regions_light_up(open_page, server):
    page = open_page()
    page.evaluate(WATCH)
    data = photo()
    give(page, ("astronaut.jpg", data, "image/jpeg"))
    text = captioned(page)
    assert text == server.caption(data).json()["caption"]
    seen = page.evaluate("window.seen")
    count = page.locator("#caption button").count()
    first = {}
    for moment, words, lit, lighted in seen:
        if lit >= 0 and words == lit + 1 and lighted:
            first.setdefault(lit, moment)
    assert sorted(first) == list(range(count)) and count >= 4
    beats = np.diff([first[i] for i in range(count)])
    assert (beats > 150).all() and np.median(beats) < 1000
    assert page.locator("#photo").get_attribute("alt") == text
    assert page.locator("#photo-name").inner_text() == "astronaut.jpg"


def test_hovering_a_word_changes_the_heatmap(open_page):
    page = open_page(reduced_motion="reduce")
    give(page, ("a.jpg", photo(), "image/jpeg"))
    captioned(page)
    plain = stage(page)
    words = page.locator("#caption button")
    views = []
    for i in (0, 1):
        words.nth(i).hover()
        expect(page.locator("#word-details")).to_contain_text(
            f"“{words.nth(i).inner_text()}”: the model gave this word a probability of"
        )
        assert re.search(r"\d+ %\. It looked (mostly|all)", page.locator("#word-details").inner_text())
        views.append(stage(page))
    page.mouse.move(5, 5)
    assert np.abs(views[0] - plain).mean() > 5 and np.abs(views[0] - views[1]).mean() > 1
    assert np.abs(stage(page) - plain).mean() < 0.5
    words.nth(1).click()  # stays, also when the mouse has gone
    page.mouse.move(5, 5)
    assert words.nth(1).get_attribute("aria-pressed") == "true"
    assert np.abs(stage(page) - views[1]).mean() < 0.5


def test_the_map_is_the_one_of_captioner_heatmap_on_the_upright_image(open_page, server):
    page = open_page(reduced_motion="reduce")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # stored lying, to be turned by a quarter
    lying = PIL.Image.fromarray(np.ascontiguousarray(skimage.data.astronaut()[100:420, 100:300])).rotate(
        90, expand=True
    )
    data = odd_images.encoded(lying, "JPEG", exif=exif, quality=95)
    found = server.caption(data).json()
    caption = Caption(found["caption"], words=tuple(found["words"]), word_logp=tuple(found["word_logp"]),
                      attention=np.array(found["attention"], np.float32))  # fmt: skip
    drawn = heatmap(data, caption)
    assert drawn.image.size == (200, 320)
    give(page, ("turned.jpg", data, "image/jpeg"))
    captioned(page)
    panels = [np.asarray(panel, np.float32)[:320, :200] for panel in drawn.panels()]
    assert max(np.abs(panels[0] - panel).mean() for panel in panels) > 3  # or this would prove little
    for i, panel in enumerate(panels):
        page.locator("#caption button").nth(i).hover()
        view = stage(page)
        assert view.shape[:2] == (320, 200)
        inside = slice(16, -16)  # the corners are round
        assert np.abs(view - panel)[inside, inside].mean() < 1


def test_settings_number_of_captions_and_their_maps(open_page):
    page = open_page(reduced_motion="reduce")
    give(page, ("a.jpg", photo(), "image/jpeg"))
    captioned(page)
    assert page.locator("#width").is_hidden()
    page.select_option("#strategy", "beam")
    expect(page.locator("#width")).to_have_value("3")
    page.fill("#n-best", "4")
    page.keyboard.press("Tab")
    expect(page.locator("#problem")).to_contain_text("N_best expects at most width=3, got 4")
    assert page.locator("#retry").is_hidden()
    page.fill("#width", "4")
    page.keyboard.press("Tab")
    others = page.locator("#alternative-list button")
    expect(others).to_have_count(4)
    expect(page.locator("#problem")).to_be_hidden()
    assert others.nth(0).get_attribute("aria-pressed") == "true"
    texts = [text for text in others.locator("span:first-child").all_inner_texts()[1:] if text != "(nothing)"]
    text = texts[-1]
    others.filter(has_text=re.compile(f"^{text}score")).click()
    expect(page.locator("#caption")).to_have_text(text)
    assert page.locator("#alt").input_value().lower().rstrip(".").endswith(text.lower())
    page.fill("#max-length", "130")
    with page.expect_response("**/page/caption*"):
        page.keyboard.press("Tab")
    page.wait_for_timeout(200)
    assert page.locator("#alt").input_value().lower().rstrip(".").endswith(text.lower())
    expect(page.locator("#caption")).to_have_text(text)
    page.select_option("#strategy", "greedy")
    expect(page.locator("#alternatives")).to_be_hidden()
    expect(page.locator("#width")).to_be_hidden()
    page.select_option("#strategy", "constrained")
    page.fill("#must-include", "dog, grass")
    page.keyboard.press("Tab")
    expect(page.locator("#caption")).to_contain_text("dog")
    expect(page.locator("#caption")).to_contain_text("grass")


def test_the_alt_text_is_marked_bounded_and_copied(open_page):
    page = open_page(reduced_motion="reduce")
    give(page, ("a.jpg", photo(), "image/jpeg"))
    captioned(page)
    expect(page.locator("#alt-flag")).to_contain_text("Check this one")
    expect(page.locator("#alt-confidence")).to_contain_text(re.compile(r"\d+ %, (unsure|probably wrong)"))
    long = page.locator("#alt").input_value()
    page.locator("#copy").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == long
    page.fill("#max-length", "24")
    page.keyboard.press("Tab")
    expect(page.locator("#alt")).not_to_have_value(long)
    assert 0 < len(page.locator("#alt").input_value()) <= 24
    page.fill("#max-length", "3")
    page.keyboard.press("Tab")
    expect(page.locator("#problem")).to_contain_text("from 20 to 1000 characters")


def test_a_model_that_does_not_attend_says_why_there_is_no_map(open_page, served):
    page = open_page(reduced_motion="reduce")
    page.select_option("#model", str(served[1]))
    page.select_option("#strategy", "beam")
    give(page, ("a.jpg", photo(), "image/jpeg"))
    captioned(page)
    expect(page.locator("#no-heatmap")).to_contain_text("this model has no attention")
    plain = stage(page)
    page.locator("#caption button").first.hover()
    expect(page.locator("#word-details")).to_contain_text("the model gave this word")
    expect(page.locator("#no-heatmap")).to_be_visible()
    assert np.abs(stage(page) - plain).mean() < 0.5


def test_less_motion_says_all_at_once(open_page):
    page = open_page(reduced_motion="reduce")
    page.evaluate(WATCH)
    give(page, ("a.jpg", photo(), "image/jpeg"), kind="paste")
    captioned(page)
    seen = page.evaluate("window.seen")
    assert {words for _, words, _, _ in seen} == {page.locator("#caption button").count()}
    assert not any(lighted for *_, lighted in seen)


def test_the_alt_text_of_one_photo_can_be_edited_and_restored(open_page):
    page = open_page(reduced_motion="reduce")
    give(page, ("a.jpg", photo(), "image/jpeg"))
    captioned(page)
    model = page.locator("#alt").input_value()
    assert "Perhaps" not in model
    expect(page.locator("#alt-edited")).to_be_hidden()
    page.fill("#alt", "Mine.")
    expect(page.locator("#alt-edited")).to_contain_text("Edited.")
    page.locator("#copy").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == "Mine."
    page.click("#alt-restore")
    expect(page.locator("#alt")).to_have_value(model)
    expect(page.locator("#alt-edited")).to_be_hidden()
