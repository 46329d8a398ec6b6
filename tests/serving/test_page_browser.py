"""The server's web page in a real browser: what people see, hear and do, with models of random weights."""

import base64
import csv
import io
import json
import re
import time

import numpy as np
import PIL.Image
import pytest
import skimage.data

from captioner.caption_files import read_predictions
from captioner.outputs.heatmap import heatmap
from captioner.types import Caption
from tests.serving.test_page import HEIC, LARGE, PDF, Server, models_in
from tests.support import odd_images
from tests.support.shared_exports import made_once

axe = pytest.importorskip("axe_playwright_python.sync_playwright")
expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=30_000)
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
TROUBLE = "Failed to load resource"  # how the browser itself notes a status of 400 and above

# Puts files, given as [name, base64, type], into an event as a user's drop or paste does.
GIVE = """async ([files, kind]) => {
    const data = new DataTransfer();
    for (const [name, text, type] of files)
        data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name, { type }));
    const event = kind === "paste"
        ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
        : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
    document.querySelector(".drop-area").dispatchEvent(event);
}"""
# Notes when the words of the sentence appear and light up, and how long the page was ever busy.
WATCH = """() => {
    window.seen = [];
    new MutationObserver(() => {
        const words = [...document.querySelectorAll("#sentence button")];
        const lit = words.findIndex((word) => word.classList.contains("lit"));
        const map = document.getElementById("map").classList.contains("lit");
        window.seen.push([performance.now(), words.length, lit, map]);
    }).observe(document.getElementById("sentence"), { childList: true, subtree: true, attributes: true });
    window.gap = 0;
    let last = performance.now();
    const frame = (now) => { window.gap = Math.max(window.gap, now - last); last = now; requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The folders of `models_in`; they are only read."""
    folder = made_once(tmp_path_factory, "page", models_in)
    return folder / "tiny", folder / "blind"


@pytest.fixture(scope="module")
def server(served):
    folder, blind = served
    found = Server(folder, [str(blind)], body=8 << 20)
    yield found
    found.close()


@pytest.fixture
def opened(chromium, server):
    """Opens the page; at the end, nothing may have been asked of another server, and no script may have failed."""
    contexts, asked, failed = [], [], []

    def open_page(viewport=WIDE, path="/", wait=True, **options):
        context = chromium.new_context(viewport=viewport, accept_downloads=True, **options)
        context.grant_permissions(["clipboard-read", "clipboard-write", "camera"], origin=server.url)
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.on("console", lambda said: said.type == "error" and failed.append(said.text))
        page.goto(server.url + path)
        if wait:
            expect(page.locator("#model option")).to_have_count(2)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [url for url in asked if not url.startswith((server.url + "/", "blob:", "data:"))]
    assert not [each for each in failed if TROUBLE not in each]


def photo(name="astronaut", kind="JPEG", **options):
    return odd_images.encoded(PIL.Image.fromarray(getattr(skimage.data, name)()[::2, ::2]), kind, **options)


def give(page, *files, kind="drop"):
    """Drops or pastes files (name, bytes, type)."""
    page.evaluate(GIVE, [[(n, base64.b64encode(b).decode(), t) for n, b, t in files], kind])


def payload(name, data, kind="image/jpeg"):
    return {"name": name, "mimeType": kind, "buffer": data}


def captioned(page):
    """Waits until the whole sentence has been said; gives it."""
    expect(page.locator("#status")).to_contain_text("Caption: ")
    text = page.locator("#status").inner_text().removeprefix("Caption: ")
    expect(page.locator("#sentence")).to_have_text(text)
    page.mouse.move(0, 0)  # a word that comes to lie under the pointer is lit, as it should be
    expect(page.locator("#sentence .lit")).to_have_count(0)
    return text


def stage(page):
    """The image as it is seen, a float array [H, W, 3]."""
    page.wait_for_timeout(250)  # the map is faded in
    page.locator(".stage").scroll_into_view_if_needed()
    box = page.locator(".stage").bounding_box()  # may lie between pixels; what is painted does not
    png = page.screenshot(clip={side: round(value) for side, value in box.items()})
    return np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB"), np.float32)


def serious(page):
    """The faults that axe-core finds serious or critical, one line each."""
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:100]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def test_a_dropped_photo_is_said_word_by_word_while_its_regions_light_up(opened, server):
    page = opened()
    page.evaluate(WATCH)
    data = photo()
    give(page, ("astronaut.jpg", data, "image/jpeg"))
    text = captioned(page)
    assert text == server.caption(data).json()["caption"]
    seen = page.evaluate("window.seen")
    count = page.locator("#sentence button").count()
    first = {}
    for moment, words, lit, lighted in seen:
        if lit >= 0 and words == lit + 1 and lighted:
            first.setdefault(lit, moment)
    assert sorted(first) == list(range(count)) and count >= 4
    beats = np.diff([first[i] for i in range(count)])
    assert (beats > 150).all() and np.median(beats) < 1000
    assert page.locator("#photo").get_attribute("alt") == text
    assert page.locator("#photo-name").inner_text() == "astronaut.jpg"


def test_hovering_a_word_changes_the_heatmap(opened):
    page = opened(reduced_motion="reduce")
    give(page, ("a.jpg", photo(), "image/jpeg"))
    captioned(page)
    plain = stage(page)
    words = page.locator("#sentence button")
    views = []
    for i in (0, 1):
        words.nth(i).hover()
        expect(page.locator("#word")).to_contain_text(
            f"“{words.nth(i).inner_text()}”: the model gave this word a probability of"
        )
        assert re.search(r"\d+ %\. It looked (mostly|all)", page.locator("#word").inner_text())
        views.append(stage(page))
    page.mouse.move(5, 5)
    assert np.abs(views[0] - plain).mean() > 5 and np.abs(views[0] - views[1]).mean() > 1
    assert np.abs(stage(page) - plain).mean() < 0.5
    words.nth(1).click()  # stays, also when the mouse has gone
    page.mouse.move(5, 5)
    assert words.nth(1).get_attribute("aria-pressed") == "true"
    assert np.abs(stage(page) - views[1]).mean() < 0.5


def test_the_map_is_the_one_of_captioner_heatmap_on_the_upright_image(opened, server):
    page = opened(reduced_motion="reduce")
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
        page.locator("#sentence button").nth(i).hover()
        view = stage(page)
        assert view.shape[:2] == (320, 200)
        inside = slice(16, -16)  # the corners are round
        assert np.abs(view - panel)[inside, inside].mean() < 1


def test_settings_number_of_captions_and_their_maps(opened):
    page = opened(reduced_motion="reduce")
    give(page, ("a.jpg", photo(), "image/jpeg"))
    captioned(page)
    assert page.locator("#width").is_hidden()
    page.select_option("#strategy", "beam")
    expect(page.locator("#width")).to_have_value("3")
    page.fill("#count", "4")
    page.keyboard.press("Tab")
    expect(page.locator("#problem")).to_contain_text("N_best expects at most width=3, got 4")
    assert page.locator("#again").is_hidden()
    page.fill("#width", "4")
    page.keyboard.press("Tab")
    others = page.locator("#other-list button")
    expect(others).to_have_count(4)
    expect(page.locator("#problem")).to_be_hidden()
    assert others.nth(0).get_attribute("aria-pressed") == "true"
    texts = [text for text in others.locator("span:first-child").all_inner_texts()[1:] if text != "(nothing)"]
    text = texts[-1]
    others.filter(has_text=re.compile(f"^{text}score")).click()
    expect(page.locator("#sentence")).to_have_text(text)
    assert page.locator("#alt").input_value().lower().rstrip(".").endswith(text.lower())
    page.fill("#most", "130")
    with page.expect_response("**/page/caption*"):
        page.keyboard.press("Tab")
    page.wait_for_timeout(200)
    assert page.locator("#alt").input_value().lower().rstrip(".").endswith(text.lower())
    expect(page.locator("#sentence")).to_have_text(text)
    page.select_option("#strategy", "greedy")
    expect(page.locator("#others")).to_be_hidden()
    expect(page.locator("#width")).to_be_hidden()
    page.select_option("#strategy", "constrained")
    page.fill("#must", "dog, grass")
    page.keyboard.press("Tab")
    expect(page.locator("#sentence")).to_contain_text("dog")
    expect(page.locator("#sentence")).to_contain_text("grass")


def test_the_alt_text_is_marked_bounded_and_copied(opened):
    page = opened(reduced_motion="reduce")
    give(page, ("a.jpg", photo(), "image/jpeg"))
    captioned(page)
    expect(page.locator("#alt-flag")).to_contain_text("Check this one")
    expect(page.locator("#alt-sure")).to_contain_text(re.compile(r"\d+ %, (unsure|probably wrong)"))
    long = page.locator("#alt").input_value()
    page.locator("#copy").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == long
    page.fill("#most", "24")
    page.keyboard.press("Tab")
    expect(page.locator("#alt")).not_to_have_value(long)
    assert 0 < len(page.locator("#alt").input_value()) <= 24
    page.fill("#most", "3")
    page.keyboard.press("Tab")
    expect(page.locator("#problem")).to_contain_text("from 20 to 1000 characters")


def test_a_model_that_does_not_attend_says_why_there_is_no_map(opened, served):
    page = opened(reduced_motion="reduce")
    page.select_option("#model", str(served[1]))
    page.select_option("#strategy", "beam")
    give(page, ("a.jpg", photo(), "image/jpeg"))
    captioned(page)
    expect(page.locator("#no-map")).to_contain_text("this model has no attention")
    plain = stage(page)
    page.locator("#sentence button").first.hover()
    expect(page.locator("#word")).to_contain_text("the model gave this word")
    expect(page.locator("#no-map")).to_be_visible()
    assert np.abs(stage(page) - plain).mean() < 0.5


def test_less_motion_says_all_at_once(opened):
    page = opened(reduced_motion="reduce")
    page.evaluate(WATCH)
    give(page, ("a.jpg", photo(), "image/jpeg"), kind="paste")
    captioned(page)
    seen = page.evaluate("window.seen")
    assert {words for _, words, _, _ in seen} == {page.locator("#sentence button").count()}
    assert not any(lighted for *_, lighted in seen)


def test_the_keyboard_is_enough(opened):
    page = opened(reduced_motion="reduce")
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))

    def tab_to(selector):
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(s) => document.activeElement.matches(s)", selector):
                ring = "(e) => getComputedStyle(e.matches('.hidden') ? e.nextElementSibling : e).outlineStyle"
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
    captioned(page)
    tab_to("#folder")
    tab_to("#camera-open")
    tab_to("#model")
    tab_to("#strategy")
    plain = stage(page)
    tab_to("#sentence button:first-child")
    expect(page.locator("#word")).to_contain_text("the model gave this word")
    assert np.abs(stage(page) - plain).mean() > 5
    page.keyboard.press("Enter")
    assert page.locator("#sentence button").first.get_attribute("aria-pressed") == "true"
    page.keyboard.press("Escape")
    assert page.locator("#sentence button[aria-pressed=true]").count() == 0
    tab_to("#sentence button:last-child")
    tab_to("#other-list li:nth-child(2) button")
    page.keyboard.press("Enter")
    expect(page.locator("#other-list li:nth-child(2) button")).to_have_attribute("aria-pressed", "true")
    tab_to("#alt")
    tab_to("#copy")
    page.keyboard.press("Enter")
    expect(page.locator("#copied")).to_have_text("Copied.")


def many(count, broken=()):
    """Payloads of small images that differ; a broken one is cut."""
    found = []
    for i in range(count):
        data = odd_images.encoded(odd_images.drawn(40 + i % 7, 30, turn=17 * i), "JPEG")
        found.append(payload(f"photo {i:03}.jpg", data[:200] if i in broken else data))
    return found


def test_a_batch_of_20_with_one_broken_file(opened, server, tmp_path):
    page = opened()
    photos = many(20, broken=(7,))
    photos[3]["name"] = '=HYPERLINK("x"),3.jpg'
    photos[4]["name"] = photos[5]["name"]
    order = [3, 0, 1, 2, *range(4, 20)]  # by name; of one name as they came
    page.set_input_files("#files", photos)
    expect(page.locator("#batch-text")).to_contain_text("20 of 20 photos, 1 failed, done")
    rows = page.locator("#rows tr")
    expect(rows).to_have_count(20)
    expect(rows.nth(7).locator(".caption")).to_contain_text("No caption. Truncated JPEG")
    expect(rows.nth(7).locator("textarea")).to_have_count(0)
    expect(page.locator("#rows canvas").first).to_be_visible()
    answers = [server.caption(photos[i]["buffer"]).json() if i != 7 else None for i in order]
    for i, answer in enumerate(answers):
        if answer:
            assert rows.nth(i).locator(".caption").inner_text() == answer["caption"]
            assert rows.nth(i).locator("textarea").input_value() == answer["alt_text"]["text"]
    # Doubt has a column of its own.
    assert re.match(r"⚠ \d+ %, (unsure|probably wrong)$", rows.nth(0).locator("td.sure").inner_text())
    saved = {kind: download(page, kind, tmp_path) for kind in ("csv", "jsonl")}
    for path in saved.values():
        found = read_predictions(str(path))
        assert len(found) == 20 and list(found)[4:6] == ["photo 005.jpg", "photo 005.jpg (2)"]
        for answer, caption in zip(answers, found.values(), strict=True):
            assert caption.text == (answer["caption"] if answer else "") and caption.ok == bool(answer)
    assert saved["csv"].read_bytes().startswith(b"\xef\xbb\xbf")
    assert not re.search(rb'(^|,)"?[=+@]', saved["csv"].read_bytes(), re.M)
    row = json.loads(saved["jsonl"].read_text().splitlines()[0])
    keys = "image caption score logp words word_logp alternatives error alt_text confidence flagged edited"
    assert list(row) == keys.split() and row["alt_text"] == answers[0]["alt_text"]["text"] and row["flagged"]
    assert row["alternatives"][0].keys() == {"caption", "score", "logp"} and row["edited"] is False
    page.click("#rows tr:nth-child(4) button")
    expect(page.locator("#photo-name")).to_have_text("photo 002.jpg")
    expect(page.locator("#sentence")).to_have_text(answers[3]["caption"])
    assert serious(page) == []


def download(page, kind, folder):
    """The table as a file of one kind; gives its Path."""
    with page.expect_download() as download:
        page.click(f"#save-{kind}")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def names_in(page):
    return page.locator("#rows td.file").all_inner_texts()


def test_alt_texts_in_the_table_are_edited_kept_and_downloaded(opened, tmp_path):
    page = opened(reduced_motion="reduce")
    photos = many(4, broken=(1,))
    for each, name in zip(photos, ("b10.jpg", "b9.jpg", "a.jpg", "B2.jpg"), strict=True):
        each["name"] = name
    page.set_input_files("#files", photos)
    expect(page.locator("#batch-text")).to_contain_text("4 of 4 photos, 1 failed, done")
    assert names_in(page) == ["a.jpg", "B2.jpg", "b9.jpg", "b10.jpg"]  # 2 before 10
    field, others = page.get_by_label("Alt text of b10.jpg"), page.get_by_label("Alt text of a.jpg")
    restore = page.get_by_role("button", name="Restore the model’s text of b10.jpg")
    model = field.input_value()
    assert "Perhaps" not in model and restore.count() == 0
    field.fill('My own "words",\nin <b>two</b> lines.')
    expect(restore).to_be_visible()
    # Another order leaves the text where it belongs, and is the order of the download.
    page.select_option("#sort", "added")
    assert names_in(page) == ["b10.jpg", "b9.jpg", "a.jpg", "B2.jpg"]
    expect(field).to_have_value('My own "words",\nin <b>two</b> lines.')
    with open(download(page, "csv", tmp_path), encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["image"] for row in rows] == names_in(page)
    assert rows[0]["alt_text"] == 'My own "words",\nin <b>two</b> lines.' and rows[0]["edited"] == "true"
    assert rows[2]["alt_text"] == others.input_value() and rows[2]["edited"] == "false"
    assert rows[1]["alt_text"] == "" and rows[1]["error"]
    rows = [json.loads(line) for line in download(page, "jsonl", tmp_path).read_text().splitlines()]
    assert rows[0]["alt_text"].startswith("My own") and [row["edited"] for row in rows] == [
        True,
        *[False] * 3,
    ]
    # The photo by itself has the same text, and edits there come back.
    page.get_by_role("button", name="Look closer at b10.jpg").click()
    expect(page.locator("#alt")).to_have_value('My own "words",\nin <b>two</b> lines.')
    page.fill("#alt", "Shorter.")
    expect(field).to_have_value("Shorter.")
    page.click("#alt-restore")
    expect(page.locator("#alt")).to_have_value(model)
    expect(field).to_have_value(model)
    expect(restore).to_be_hidden()
    field.fill("Once more.")
    restore.click()
    expect(field).to_have_value(model)
    assert page.evaluate("document.activeElement.ariaLabel") == "Alt text of b10.jpg"
    assert json.loads(download(page, "jsonl", tmp_path).read_text().splitlines()[0])["edited"] is False
    assert serious(page) == []


def test_the_least_certain_come_first_where_that_is_asked_for(opened):
    page = opened()
    page.context.route("**/page/caption*", lambda route: route.fulfill(
        json=captionless(float(route.request.post_data_buffer.decode()))))  # fmt: skip
    photos = [payload(f"{i}.jpg", str(c).encode()) for i, c in enumerate((0.9, 0.1, 0.5, 0.497))]
    page.set_input_files("#files", photos)
    expect(page.locator("#batch-text")).to_contain_text("4 of 4 photos, done")
    assert names_in(page) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    page.select_option("#sort", "doubt")
    assert names_in(page) == ["1.jpg", "3.jpg", "2.jpg", "0.jpg"]
    assert page.locator("#rows td.sure").all_inner_texts() == [
        "⚠ 10 %, probably wrong",
        "⚠ 49 %, unsure",
        "50 %, probably right",
        "90 %, very likely right",
    ]
    page.set_input_files("#files", photos[:3])  # sorted so as soon as the certainty is known
    expect(page.locator("#batch-text")).to_contain_text("3 of 3 photos, done")
    assert names_in(page) == ["1.jpg", "2.jpg", "0.jpg"]


def captionless(confidence):
    """An answer of the server, of which only the confidence matters."""
    alt = {"text": "A dog.", "confidence": confidence, "flagged": (confidence or 1) < 0.5}
    return {"caption": "a dog", "words": ["a", "dog"], "word_logp": [-1, -1], "logp": -2, "score": -2,
            "attention": None, "alt_text": alt, "alternatives": [], "ms": 1}  # fmt: skip


def test_names_that_collide_mislead_or_hold_html_are_only_names(opened, tmp_path):
    page = opened()
    html = "<img src=x onerror=alert(1)>.jpg"
    rtl, override = "\u05e9\u05dc\u05d5\u05dd 12.jpg", "photo\u202egpj.exe"
    names = ["a.jpg", "a.jpg (2)", "a.jpg", "a.jpg", html, rtl, override, "x" * 240 + ".jpg"]
    photos = [{**each, "name": name} for each, name in zip(many(len(names)), names, strict=True)]
    page.set_input_files("#files", photos)
    expect(page.locator("#batch-text")).to_contain_text("8 of 8 photos, done")
    shown = sorted(names_in(page))
    assert shown == sorted(["a.jpg", "a.jpg (2)", "a.jpg (3)", "a.jpg (4)", *names[4:]])
    assert page.locator("#rows img").count() == 0
    assert page.locator("#rows td.file bdi").count() == 8  # each isolated: it turns nothing else around
    assert set(read_predictions(str(download(page, "jsonl", tmp_path)))) == set(shown)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name=f"Look closer at {html}").click()
    expect(page.locator("#photo-name")).to_have_text(html)


def test_a_batch_goes_on_after_whatever_becomes_of_one_photo(opened):
    page = opened()
    answers = {
        b"1": {"status": 500, "body": '{"error": "the server failed; its log says how"}'},
        b"2": {"status": 200, "body": "<html>a proxy</html>"},
        b"3": {"status": 413, "body": '{"error": "expected a body of at most 5 bytes, got more"}'},
    }
    page.context.route("**/page/caption*", lambda route: route.fulfill(
        **answers.get(route.request.post_data_buffer, {"status": 200, "json": captionless(None)})))  # fmt: skip
    page.set_input_files("#files", [payload(f"{i}.jpg", str(i).encode()) for i in range(6)])
    expect(page.locator("#batch-text")).to_contain_text("6 of 6 photos, 3 failed, done")
    captions = page.locator("#rows td.caption").all_inner_texts()
    assert (
        "its log says how" in captions[1]
        and "cannot read" in captions[2]
        and "at most 5 bytes" in captions[3]
    )
    assert captions[0] == captions[4] == captions[5] == "a dog"
    assert page.locator("#rows td.sure").nth(0).inner_text() == "not known"


def test_the_alt_text_of_one_photo_can_be_edited_and_restored(opened):
    page = opened(reduced_motion="reduce")
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


def test_models_and_strategies_are_named_for_people(opened, served):
    page = opened()
    assert page.locator("#model option").all_inner_texts() == ["tiny", "blind"]
    usual = "Model default: beam search, width 3, n best 3, min length 4."
    expect(page.locator("#strategy-about")).to_have_text(usual)
    assert page.locator("#strategy option").all_inner_texts()[:3] == [
        "Model default",
        "Greedy",
        "Beam search",
    ]
    assert "its own" not in page.locator("body").inner_text()
    expect(page.locator("#model-about")).to_contain_text(
        "For servers: the export that TensorFlow Serving runs."
    )
    page.select_option("#model", str(served[1]))
    expect(page.locator("#model-about")).to_contain_text(
        "For development: the trained weights, run by Keras."
    )
    page.select_option("#strategy", label="Required words")
    expect(page.locator("#must")).to_be_visible()
    expect(page.locator("#strategy-about")).to_contain_text("contains the words or phrases")
    page.select_option("#strategy", label="Beam search")
    expect(page.locator("#rerank")).to_be_visible()
    assert page.locator("#rerank option").evaluate_all("rows => rows.map(row => row.value)") == ["", "mbr"]
    page.select_option("#strategy", label="Greedy")
    expect(page.locator("#rerank")).to_be_hidden()


def test_a_folder_leaves_out_what_is_no_image(opened, tmp_path):
    page = opened()
    folder = tmp_path / "holiday"
    folder.mkdir()
    for each in many(3):
        (folder / each["name"]).write_bytes(each["buffer"])
    (folder / "captions.csv").write_text("image,caption\n")
    (folder / ".hidden.jpg").write_bytes(b"x")
    page.set_input_files("#folder", folder)
    expect(page.locator("#batch-text")).to_contain_text("3 of 3 photos, done, 2 other files skipped")
    assert page.locator("#rows .file").first.inner_text().startswith("holiday/photo 00")


def test_500_files_do_not_freeze_the_page(opened):
    page = opened()
    page.evaluate(WATCH)
    page.set_input_files("#files", many(500))
    expect(page.locator("#rows tr")).to_have_count(500)
    expect(page.locator("#batch-text")).to_contain_text(
        re.compile(r"\d{2,3} of 500 photos, .* per second, .* left")
    )
    page.click("#stop")
    expect(page.locator("#batch-text")).to_contain_text("stopped")
    done = int(page.locator("#batch-text").inner_text().split()[0])
    assert 10 <= done < 500 and page.evaluate("window.gap") < 1000
    page.wait_for_timeout(300)
    assert page.locator("#batch-text").inner_text().startswith(f"{done} of 500")
    page.click("#stop")
    expect(page.locator("#batch-text")).not_to_contain_text(f"{done} of 500")
    page.click("#stop")


@pytest.mark.parametrize(
    "name, data, said",
    [
        ("IMG_1.HEIC", HEIC, "save it as JPEG or PNG"),
        ("letter.pdf", PDF, "save it as JPEG or PNG"),
        ("empty.jpg", b"", "got an empty file"),
        ("large.png", LARGE, "10000 x 6000 pixels are more than 50 megapixels"),
        ("heavy.jpg", bytes(9 << 20), "This file is 9.0 MB, but the server accepts at most 8.0 MB"),
    ],
    ids=["heic", "pdf", "empty", "megapixels", "megabytes"],
)
def test_what_is_no_usable_photo_is_a_sentence(opened, name, data, said, tmp_path):
    page = opened()
    page.evaluate(WATCH)
    (tmp_path / name).write_bytes(data)
    page.set_input_files("#files", tmp_path / name)
    expect(page.locator("#problem")).to_contain_text(said)
    shown = page.locator("body").inner_text()
    assert not re.search(r"Traceback|TypeError|undefined|\bat .*\.js:", shown)
    assert page.evaluate("window.gap") < 1000 and page.locator("#said").is_hidden()
    page.set_input_files("#files", payload("good.jpg", photo()))
    captioned(page)
    expect(page.locator("#problem")).to_be_hidden()


def test_the_server_going_away_is_a_sentence_and_can_be_tried_again(opened):
    page = opened(reduced_motion="reduce")
    page.context.route("**/page/caption*", lambda route: route.abort("connectionreset"))
    give(page, ("a.jpg", photo(), "image/jpeg"))
    expect(page.locator("#problem")).to_contain_text("The server does not answer")
    page.context.unroute("**/page/caption*")
    page.click("#again")
    captioned(page)
    expect(page.locator("#problem")).to_be_hidden()


def test_a_batch_waits_for_a_server_that_goes_away_or_is_busy(opened):
    page = opened()
    asked = []

    def shaky(route):
        asked.append(1)
        if len(asked) in (3, 5):
            busy = json.dumps({"error": "64 requests are waiting or running already: try again later"})
            route.fulfill(status=429, body=busy, content_type="application/json")
        elif 8 <= len(asked) < 12:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.context.route("**/page/caption*", shaky)
    page.set_input_files("#files", many(12))
    expect(page.locator("#problem")).to_contain_text("The server does not answer")
    expect(page.locator("#batch-text")).to_contain_text("stopped")
    page.context.unroute("**/page/caption*")
    page.click("#again")
    expect(page.locator("#batch-text")).to_have_text("12 of 12 photos, done")
    expect(page.locator("#problem")).to_be_hidden()


def test_the_camera(opened):
    page = opened(reduced_motion="reduce")
    page.click("#camera-open")
    page.click("#shoot")
    captioned(page)
    assert page.locator("#photo-name").inner_text() == "camera.jpg" and page.locator("#camera").is_hidden()
    refuse = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'))"
    page.evaluate(f"() => {{ {refuse} }}")
    page.click("#camera-open")
    expect(page.locator("#camera-text")).to_contain_text("not allowed to use the camera")
    assert serious(page) == []
    page.click("#camera-close")
    expect(page.locator("#camera")).to_be_hidden()


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_of_accessibility_and_no_sideways_scrolling(opened, scheme, viewport):
    page = opened(viewport, color_scheme=scheme, reduced_motion="reduce")

    def fits():
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert serious(page) == []

    fits()
    page.set_input_files("#files", payload("a-name-without-any-space-" * 5 + ".jpg", photo("rocket")))
    captioned(page)
    page.locator("#sentence button").first.hover()
    fits()
    page.set_input_files("#files", payload("x.pdf", PDF, "application/pdf"))
    expect(page.locator("#problem")).to_be_visible()
    fits()
    page.set_input_files("#files", many(5, broken=(2,)))
    expect(page.locator("#batch-text")).to_contain_text("done")
    fits()
