"""The page in a browser: a single photo, its caption, heatmaps and alt text."""

import re

import numpy as np
import PIL.Image
import skimage.data

from captioner.outputs.heatmap import heatmap
from captioner.types import Caption
from tests.support.images import odd_images
from tests.support.serving.page_browser import OBSERVE, add_files, expect, photo, screenshot, wait_for_caption


def test_caption_is_played_word_by_word(open_page, server):
    page = open_page()
    page.evaluate(OBSERVE)
    data = photo()
    add_files(page, ("astronaut.jpg", data, "image/jpeg"))
    text = wait_for_caption(page)
    assert text == server.caption(data).json()["caption"]
    records = page.evaluate("window.records")
    count = page.locator("#caption button").count()
    first = {}
    for moment, words, index, heatmap_shown in records:
        if index >= 0 and words == index + 1 and heatmap_shown:
            first.setdefault(index, moment)
    assert sorted(first) == list(range(count)) and count >= 4
    delays = np.diff([first[i] for i in range(count)])
    assert (delays > 150).all() and np.median(delays) < 1000
    assert page.locator("#photo").get_attribute("alt") == text
    assert page.locator("#photo-name").inner_text() == "astronaut.jpg"


def test_hovering_a_word_changes_the_heatmap(open_page):
    page = open_page(reduced_motion="reduce")
    add_files(page, ("a.jpg", photo(), "image/jpeg"))
    wait_for_caption(page)
    plain = screenshot(page)
    words = page.locator("#caption button")
    views = []
    for i in (0, 1):
        words.nth(i).hover()
        expect(page.locator("#word-details")).to_contain_text(
            f"“{words.nth(i).inner_text()}”: the model gave this word a probability of"
        )
        assert re.search(r"\d+ %\. It looked (mostly|all)", page.locator("#word-details").inner_text())
        views.append(screenshot(page))
    page.mouse.move(5, 5)
    assert np.abs(views[0] - plain).mean() > 5 and np.abs(views[0] - views[1]).mean() > 1
    assert np.abs(screenshot(page) - plain).mean() < 0.5
    words.nth(1).click()  # pinned, also when the mouse has left
    page.mouse.move(5, 5)
    assert words.nth(1).get_attribute("aria-pressed") == "true"
    assert np.abs(screenshot(page) - views[1]).mean() < 0.5


def test_heatmap_equals_captioner_heatmap(open_page, server):
    page = open_page(reduced_motion="reduce")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # stored rotated by 90 degrees
    rotated = PIL.Image.fromarray(np.ascontiguousarray(skimage.data.astronaut()[100:420, 100:300])).rotate(
        90, expand=True
    )
    data = odd_images.encoded(rotated, "JPEG", exif=exif, quality=95)
    answer = server.caption(data).json()
    attention = np.array(answer["attention"], np.float32)
    words, word_logp = tuple(answer["words"]), tuple(answer["word_logp"])
    caption = Caption(answer["caption"], words=words, word_logp=word_logp, attention=attention)
    drawn = heatmap(data, caption)
    assert drawn.image.size == (200, 320)
    add_files(page, ("turned.jpg", data, "image/jpeg"))
    wait_for_caption(page)
    panels = [np.asarray(panel, np.float32)[:320, :200] for panel in drawn.panels()]
    assert max(np.abs(panels[0] - panel).mean() for panel in panels) > 3  # the heatmaps differ
    for i, panel in enumerate(panels):
        page.locator("#caption button").nth(i).hover()
        view = screenshot(page)
        assert view.shape[:2] == (320, 200)
        inside = slice(16, -16)  # the corners are rounded
        assert np.abs(view - panel)[inside, inside].mean() < 1


def test_settings_and_alternatives(open_page):
    page = open_page(reduced_motion="reduce")
    add_files(page, ("a.jpg", photo(), "image/jpeg"))
    wait_for_caption(page)
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


def test_alt_text_is_flagged_limited_and_copied(open_page):
    page = open_page(reduced_motion="reduce")
    add_files(page, ("a.jpg", photo(), "image/jpeg"))
    wait_for_caption(page)
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


def test_model_without_attention_has_no_heatmap(open_page, served):
    page = open_page(reduced_motion="reduce")
    page.select_option("#model", str(served[1]))
    page.select_option("#strategy", "beam")
    add_files(page, ("a.jpg", photo(), "image/jpeg"))
    wait_for_caption(page)
    expect(page.locator("#no-heatmap")).to_contain_text("this model has no attention")
    plain = screenshot(page)
    page.locator("#caption button").first.hover()
    expect(page.locator("#word-details")).to_contain_text("the model gave this word")
    expect(page.locator("#no-heatmap")).to_be_visible()
    assert np.abs(screenshot(page) - plain).mean() < 0.5


def test_reduced_motion_shows_all_words(open_page):
    page = open_page(reduced_motion="reduce")
    page.evaluate(OBSERVE)
    add_files(page, ("a.jpg", photo(), "image/jpeg"), kind="paste")
    wait_for_caption(page)
    records = page.evaluate("window.records")
    assert {words for _, words, _, _ in records} == {page.locator("#caption button").count()}
    assert not any(heatmap_shown for *_, heatmap_shown in records)


def test_alt_text_is_edited_and_restored(open_page):
    page = open_page(reduced_motion="reduce")
    add_files(page, ("a.jpg", photo(), "image/jpeg"))
    wait_for_caption(page)
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
