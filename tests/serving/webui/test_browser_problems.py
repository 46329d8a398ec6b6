"""The page in a browser: errors, camera, keyboard and accessibility."""

import json
import re
import time

import numpy as np
import pytest

from tests.support.serving.page_browser import (
    NARROW,
    OBSERVE,
    WIDE,
    accessibility_violations,
    add_files,
    expect,
    payload,
    payloads,
    photo,
    screenshot,
    wait_for_caption,
)
from tests.support.serving.page_server import HEIC, LARGE, PDF


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("IMG_1.HEIC", HEIC, "save it as JPEG or PNG"),
        ("letter.pdf", PDF, "save it as JPEG or PNG"),
        ("empty.jpg", b"", "got an empty file"),
        ("large.png", LARGE, "10000 x 6000 pixels are more than 50 megapixels"),
        ("heavy.jpg", bytes(9 << 20), "This file is 9.0 MB, but the server accepts at most 8.0 MB"),
    ],
    ids=["heic", "pdf", "empty", "megapixels", "megabytes"],
)
def test_unusable_file_is_a_sentence(open_page, name, data, message, tmp_path):
    page = open_page()
    page.evaluate(OBSERVE)
    (tmp_path / name).write_bytes(data)
    page.set_input_files("#files", tmp_path / name)
    expect(page.locator("#problem")).to_contain_text(message)
    shown = page.locator("body").inner_text()
    assert not re.search(r"Traceback|TypeError|undefined|\bat .*\.js:", shown)
    assert page.evaluate("window.longestFrame") < 1000 and page.locator("#result").is_hidden()
    page.set_input_files("#files", payload("good.jpg", photo()))
    wait_for_caption(page)
    expect(page.locator("#problem")).to_be_hidden()


def test_unreachable_server_can_be_retried(open_page):
    page = open_page(reduced_motion="reduce")
    page.context.route("**/page/caption*", lambda route: route.abort("connectionreset"))
    add_files(page, ("a.jpg", photo(), "image/jpeg"))
    expect(page.locator("#problem")).to_contain_text("The server does not answer")
    page.context.unroute("**/page/caption*")
    page.click("#retry")
    wait_for_caption(page)
    expect(page.locator("#problem")).to_be_hidden()


def test_batch_waits_for_an_unavailable_server(open_page):
    page = open_page()
    requests = []

    def shaky(route):
        requests.append(1)
        if len(requests) in (3, 5):
            busy = json.dumps({"error": "64 requests are waiting or running already: try again later"})
            route.fulfill(status=429, body=busy, content_type="application/json")
        elif 8 <= len(requests) < 12:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.context.route("**/page/caption*", shaky)
    page.set_input_files("#files", payloads(12))
    expect(page.locator("#problem")).to_contain_text("The server does not answer")
    expect(page.locator("#batch-text")).to_contain_text("stopped")
    page.context.unroute("**/page/caption*")
    page.click("#retry")
    expect(page.locator("#batch-text")).to_have_text("12 of 12 photos, done")
    expect(page.locator("#problem")).to_be_hidden()


def test_camera(open_page):
    page = open_page(reduced_motion="reduce")
    page.click("#camera-open")
    page.click("#camera-shutter")
    wait_for_caption(page)
    assert page.locator("#photo-name").inner_text() == "camera.jpg" and page.locator("#camera").is_hidden()
    refuse = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'))"
    page.evaluate(f"() => {{ {refuse} }}")
    page.click("#camera-open")
    expect(page.locator("#camera-text")).to_contain_text("not allowed to use the camera")
    assert accessibility_violations(page) == []
    page.click("#camera-close")
    expect(page.locator("#camera")).to_be_hidden()


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility_and_no_horizontal_scrolling(open_page, scheme, viewport):
    page = open_page(viewport, color_scheme=scheme, reduced_motion="reduce")

    def fits():
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert accessibility_violations(page) == []

    fits()
    page.set_input_files("#files", payload("a-name-without-any-space-" * 5 + ".jpg", photo("rocket")))
    wait_for_caption(page)
    page.locator("#caption button").first.hover()
    fits()
    page.set_input_files("#files", payload("x.pdf", PDF, "application/pdf"))
    expect(page.locator("#problem")).to_be_visible()
    fits()
    page.set_input_files("#files", payloads(5, truncated=(2,)))
    expect(page.locator("#batch-text")).to_contain_text("done")
    fits()


def test_keyboard_only(open_page):
    page = open_page(reduced_motion="reduce")
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))

    def tab_to(selector):
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(s) => document.activeElement.matches(s)", selector):
                ring = "(e) => getComputedStyle(e.matches('.visually-hidden') ? e.nextElementSibling : e).outlineStyle"
                assert page.evaluate(f"() => ({ring})(document.activeElement)") != "none", selector
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    tab_to("#files")
    page.wait_for_timeout(100)  # until the browser knows who will answer the chooser
    page.keyboard.press("Enter")
    end = time.monotonic() + 30
    while not choosers and time.monotonic() < end:
        page.wait_for_timeout(20)
    choosers[0].set_files([payload("a.jpg", photo())])
    wait_for_caption(page)
    tab_to("#folder")
    tab_to("#camera-open")
    tab_to("#model")
    tab_to("#strategy")
    plain = screenshot(page)
    tab_to("#caption button:first-child")
    expect(page.locator("#word-details")).to_contain_text("the model gave this word")
    assert np.abs(screenshot(page) - plain).mean() > 5
    page.keyboard.press("Enter")
    assert page.locator("#caption button").first.get_attribute("aria-pressed") == "true"
    page.keyboard.press("Escape")
    assert page.locator("#caption button[aria-pressed=true]").count() == 0
    tab_to("#caption button:last-child")
    tab_to("#alternative-list li:nth-child(2) button")
    page.keyboard.press("Enter")
    expect(page.locator("#alternative-list li:nth-child(2) button")).to_have_attribute("aria-pressed", "true")
    tab_to("#alt")
    tab_to("#copy")
    page.keyboard.press("Enter")
    expect(page.locator("#copied")).to_have_text("Copied.")


def test_labels_of_models_and_strategies(open_page, served):
    page = open_page()
    assert page.locator("#model option").all_inner_texts() == ["tiny", "show_and_tell"]
    default = "Model default: beam search, width 3, n best 3, min length 4."
    expect(page.locator("#strategy-about")).to_have_text(default)
    assert page.locator("#strategy option").all_inner_texts()[:3] == [
        "Model default",
        "Greedy",
        "Beam search",
    ]
    expect(page.locator("#model-about")).to_contain_text(
        "For servers: the export that TensorFlow Serving runs."
    )
    page.select_option("#model", str(served[1]))
    expect(page.locator("#model-about")).to_contain_text(
        "For development: the trained weights, run by Keras."
    )
    page.select_option("#strategy", label="Required words")
    expect(page.locator("#must-include")).to_be_visible()
    expect(page.locator("#strategy-about")).to_contain_text("contains the words or phrases")
    page.select_option("#strategy", label="Beam search")
    expect(page.locator("#rerank")).to_be_visible()
    assert page.locator("#rerank option").evaluate_all("rows => rows.map(row => row.value)") == ["", "mbr"]
    page.select_option("#strategy", label="Greedy")
    expect(page.locator("#rerank")).to_be_hidden()
