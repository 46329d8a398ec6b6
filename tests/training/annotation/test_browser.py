"""The annotation page in a browser, by keyboard alone; its server is killed."""

import socket

import pytest

pytest.importorskip("starlette")
from tests.support.serving.page_browser import HTTP_ERROR, NARROW, WIDE, accessibility_violations, expect
from tests.support.serving.waiting import wait_until
from tests.support.training.annotation_page import NAMES, PROPOSALS, AnnotationPage, draw_photos

KEPT = ["photo 4.png,a lake,Ann", "photo 5.png,a boat,Bo"]


@pytest.fixture
def server(tmp_path):
    draw_photos(tmp_path / "photos")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = AnnotationPage(tmp_path / "photos", free.getsockname()[1])
    server.start()
    yield server
    server.kill()


@pytest.fixture
def open_page(chromium, server):
    """Opens the page; fails at the end if it sent a request to another server, or a script failed."""
    contexts, requests, errors = [], [], []

    def open_page(viewport=WIDE, **options):
        context = chromium.new_context(viewport=viewport, **options)
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        page.goto(server.url)
        expect(page.locator("#caption-1")).to_be_focused()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [url for url in requests if not url.startswith(f"{server.url}/")]
    assert not [error for error in errors if HTTP_ERROR not in error]


def shows(page, number, text=None):
    expect(page.locator("#name")).to_contain_text(NAMES[number])
    expect(page.locator("#caption-1")).to_have_value(PROPOSALS[number] if text is None else text)


def test_what_was_typed_survives_killing_the_server(open_page, server):
    page = open_page()
    shows(page, 0)
    page.keyboard.type("a ball, red")  # replaces the proposal, which is selected
    wait_until(lambda: 'photo 0.png,"a ball, red",' in server.rows())
    server.kill()
    assert server.rows() == [*KEPT, 'photo 0.png,"a ball, red",']
    page.keyboard.type(" and round")
    expect(page.locator("#problem")).to_contain_text("the server does not answer")
    server.start()  # what was typed meanwhile is saved as soon as it answers
    wait_until(lambda: server.rows() == [*KEPT, 'photo 0.png,"a ball, red and round",'])
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#saved")).to_have_text("Saved.")


def test_keyboard_only(open_page, server):
    page = open_page()
    page.keyboard.press("Enter")  # the proposal as it is
    shows(page, 1)
    page.keyboard.type("a hill")
    page.keyboard.press("Tab")
    page.keyboard.type("مرج أخضر")
    page.keyboard.press("Tab")
    page.keyboard.type("a meadow")
    assert page.evaluate("getComputedStyle(document.getElementById('caption-2')).direction") == "rtl"
    assert page.evaluate("getComputedStyle(document.getElementById('caption-3')).direction") == "ltr"
    page.keyboard.press("Enter")
    shows(page, 2)
    page.keyboard.type("nonsense")
    wait_until(lambda: "photo 2.png,nonsense," in server.rows())
    page.keyboard.press("Escape")  # as it was: without a caption
    shows(page, 3)
    expect(page.locator("#progress-text")).to_have_text("4 of 4, 2 captioned")
    page.keyboard.press("Alt+ArrowLeft")
    shows(page, 2)
    page.keyboard.press("Control+ArrowUp")
    shows(page, 1, "a hill")
    expect(page.locator("#caption-3")).to_have_value("a meadow")
    page.keyboard.press("Control+ArrowDown")
    page.keyboard.press("Alt+ArrowRight")
    shows(page, 3)
    page.keyboard.press("Enter")
    expect(page.locator("#end-text")).to_have_text("3 of 4 images are captioned.")
    hill = ["photo 1.png,a hill,", "photo 1.png,مرج أخضر,", "photo 1.png,a meadow,"]
    expected = [*KEPT, "photo 0.png,a red ball,", *hill, "photo 3.png,a grey cat,"]
    wait_until(lambda: server.rows() == expected)


def test_no_more_than_five_captions(open_page, server):
    page = open_page()
    for i in range(5):
        page.keyboard.type(f"caption {i}")
        page.keyboard.press("Tab")
    expect(page.locator("textarea")).to_have_count(5)
    wait_until(lambda: server.rows() == [*KEPT, *(f"photo 0.png,caption {i}," for i in range(5))])


def test_leaving_the_page_saves_at_once(open_page, server):
    page = open_page()
    page.keyboard.type("left in a hurry")
    page.goto("about:blank")
    wait_until(lambda: server.rows() == [*KEPT, "photo 0.png,left in a hurry,"])


@pytest.mark.slow
def test_two_pages_keep_what_the_other_saved(open_page, server):
    first, second = open_page(), open_page()
    second.keyboard.type("the second page")
    second.keyboard.press("Enter")
    second.keyboard.type("a second hill")
    wait_until(lambda: "photo 1.png,a second hill," in server.rows())
    first.evaluate("window.dispatchEvent(new Event('focus'))")
    shows(first, 0, "the second page")
    first.keyboard.press("Enter")
    first.keyboard.press("Escape")
    shows(first, 2)
    first.keyboard.type("the first page")
    saved = ["photo 0.png,the second page,", "photo 1.png,a second hill,", "photo 2.png,the first page,"]
    wait_until(lambda: server.rows() == [*KEPT, *saved])


@pytest.mark.slow
def test_adapting_brings_new_proposals(open_page, server):
    page = open_page()
    page.keyboard.type("a last word")
    page.click("#adapt")
    expect(page.locator("#adapt-status")).to_contain_text("the new model has chosen")
    expect(page.locator("#adapt-lines")).to_contain_text("212 images: about 4 minutes")
    expect(page.locator("#command")).to_contain_text("photos-2")  # the next run has a folder of its own
    page.click("#reload")
    expect(page.locator("#progress-text")).to_have_text("1 of 1, 1 captioned")
    page.click("#end-back")
    shows(page, 0, "a last word")


def test_accessibility_and_no_horizontal_scrolling(open_page, server):
    for viewport, scheme in ((WIDE, "light"), (NARROW, "dark")):
        page = open_page(viewport, color_scheme=scheme)
        assert accessibility_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert page.evaluate("document.getElementById('image').naturalWidth") == 60
