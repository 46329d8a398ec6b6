"""The page in a browser, with models that write Arabic and Chinese: direction and language of captions."""

import pytest

import captioner
from captioner.caption_files import read_predictions
from tests.support.captions_of_languages import ARABIC_WORDS, CHINESE_WORDS
from tests.support.serving.page_browser import (
    accessibility_violations,
    add_files,
    download,
    expect,
    payloads,
    photo,
    wait_for_caption,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The page with an Arabic model, exported and served, and a Chinese one that it loads."""
    from tests.support.models.tiny_model import build_tiny_model
    from tests.support.serving.page_server import STRATEGY, PageServer

    folder = tmp_path_factory.mktemp("languages")
    # With seed 3 the second would have empty captions without a minimum length.
    for code, vocabulary, seed in (("ar", ARABIC_WORDS, 3), ("zh", CHINESE_WORDS, 6)):
        model = build_tiny_model(words=vocabulary, seed=seed)
        model.language = code
        captioner.save(model, folder / code)
    captioner.export(folder / "ar", ["saved_model(batch_sizes=(1,))"], strategy=STRATEGY)
    server = PageServer(folder / "ar", [str(folder / "zh")])
    yield server
    server.close()


def lefts(locator):
    """Left edges in pixels of the elements on the first line."""
    boxes = [locator.nth(i).bounding_box() for i in range(locator.count())]
    return [box["x"] for box in boxes if abs(box["y"] - boxes[0]["y"]) < 5]


def direction(locator):
    return locator.evaluate("(node) => getComputedStyle(node).direction")


def test_arabic_captions_flow_from_right_to_left(open_page, server):
    page = open_page(reduced_motion="reduce")
    data = photo()
    add_files(page, ("a.jpg", data, "image/jpeg"))
    text = wait_for_caption(page)
    answer = server.caption(data).json()
    assert answer["caption"] == text and answer["language"] == "ar" and len(answer["words"]) >= 4
    caption, words = page.locator("#caption"), page.locator("#caption button")
    assert caption.get_attribute("lang") == "ar" and direction(caption) == "rtl"
    edges = lefts(words)
    assert len(edges) >= 3 and edges == sorted(edges, reverse=True)
    # The first word is at the right edge of its paragraph.
    box, first = caption.bounding_box(), words.first.bounding_box()
    assert box["x"] + box["width"] - (first["x"] + first["width"]) < 10
    words.nth(1).hover()
    details = page.locator("#word-details")
    expect(details).to_contain_text(f"“{answer['words'][1]}”: the model gave this word")
    assert direction(details) == "ltr" and details.locator("bdi").get_attribute("lang") == "ar"
    alt, other = page.locator("#alt"), page.locator("#alternative-list span[dir=auto]").first
    assert alt.input_value() == text + "." and direction(alt) == "rtl" and alt.get_attribute("lang") == "ar"
    assert direction(other) == "rtl" and other.get_attribute("lang") == "ar"
    assert page.locator("#photo").get_attribute("lang") == "ar"
    assert direction(page.locator("#result h2")) == "ltr"
    assert not accessibility_violations(page)


def test_arabic_words_are_focused_in_reading_order(open_page):
    page = open_page(reduced_motion="reduce")
    add_files(page, ("a.jpg", photo(), "image/jpeg"))
    wait_for_caption(page)
    words = page.locator("#caption button")
    words.first.focus()
    page.keyboard.press("Tab")
    assert words.nth(1).evaluate("(node) => node === document.activeElement")
    expect(words.nth(1)).to_have_class("highlighted")


@pytest.mark.slow
def test_chinese_captions_flow_from_left_to_right(open_page):
    page = open_page(reduced_motion="reduce")
    page.select_option("#model", "zh")
    add_files(page, ("a.jpg", photo(), "image/jpeg"))
    text = wait_for_caption(page)
    caption = page.locator("#caption")
    assert set(text) <= set(CHINESE_WORDS) and caption.inner_text() == text  # without spaces
    assert caption.get_attribute("lang") == "zh" and direction(caption) == "ltr"
    edges = lefts(page.locator("#caption button"))
    assert edges == sorted(edges)
    assert page.locator("#alt").input_value() == text + "。"


def test_the_table_and_its_file_hold_arabic_captions(open_page, tmp_path):
    page = open_page()
    page.set_input_files("#files", payloads(2))
    fields = page.locator("#rows td.alt textarea")
    expect(fields).to_have_count(2)
    captions = page.locator("#rows td.caption div")
    for i in range(2):
        assert captions.nth(i).get_attribute("lang") == fields.nth(i).get_attribute("lang") == "ar"
        assert direction(captions.nth(i)) == direction(fields.nth(i)) == "rtl"
    expect(page.locator("#save-csv")).to_be_enabled()
    predictions = read_predictions(download(page, "csv", tmp_path))
    assert [caption.text for caption in predictions.values()] == captions.all_inner_texts()
