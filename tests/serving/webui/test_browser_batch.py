"""The page in a browser: many photos in a table, sorted, edited and downloaded."""

import csv
import json
import re

from captioner.caption_files import read_predictions
from tests.support.serving.page_browser import (
    OBSERVE,
    accessibility_violations,
    answer_with,
    download,
    expect,
    names_in,
    payload,
    payloads,
)


def test_batch_with_a_damaged_file(open_page, server, tmp_path):
    page = open_page()
    photos = payloads(20, truncated=(7,))
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
    # The confidence has a column of its own.
    assert re.match(r"⚠ \d+ %, (unsure|probably wrong)$", rows.nth(0).locator("td.confidence").inner_text())
    saved = {kind: download(page, kind, tmp_path) for kind in ("csv", "jsonl")}
    for path in saved.values():
        captions = read_predictions(str(path))
        assert len(captions) == 20 and list(captions)[4:6] == ["photo 005.jpg", "photo 005.jpg (2)"]
        for answer, caption in zip(answers, captions.values(), strict=True):
            assert caption.text == (answer["caption"] if answer else "") and caption.ok == bool(answer)
    assert saved["csv"].read_bytes().startswith(b"\xef\xbb\xbf")
    assert not re.search(rb'(^|,)"?[=+@]', saved["csv"].read_bytes(), re.M)
    row = json.loads(saved["jsonl"].read_text().splitlines()[0])
    keys = "image caption score logp words word_logp alternatives error alt_text confidence flagged edited"
    assert list(row) == keys.split() and row["alt_text"] == answers[0]["alt_text"]["text"] and row["flagged"]
    assert row["alternatives"][0].keys() == {"caption", "score", "logp"} and row["edited"] is False
    page.click("#rows tr:nth-child(4) button")
    expect(page.locator("#photo-name")).to_have_text("photo 002.jpg")
    expect(page.locator("#caption")).to_have_text(answers[3]["caption"])
    assert accessibility_violations(page) == []


def test_edited_alt_texts(open_page, tmp_path):
    page = open_page(reduced_motion="reduce")
    photos = payloads(4, truncated=(1,))
    for file, name in zip(photos, ("b10.jpg", "b9.jpg", "a.jpg", "B2.jpg"), strict=True):
        file["name"] = name
    page.set_input_files("#files", photos)
    expect(page.locator("#batch-text")).to_contain_text("4 of 4 photos, 1 failed, done")
    assert names_in(page) == ["a.jpg", "B2.jpg", "b9.jpg", "b10.jpg"]  # 2 before 10
    field, others = page.get_by_label("Alt text of b10.jpg"), page.get_by_label("Alt text of a.jpg")
    restore = page.get_by_role("button", name="Restore the model’s text of b10.jpg")
    model = field.input_value()
    assert "Perhaps" not in model and restore.count() == 0
    field.fill('An edited "words",\nin <b>two</b> lines.')
    expect(restore).to_be_visible()
    # Another order leaves the text where it belongs, and is the order of the download.
    page.select_option("#sort", "added")
    assert names_in(page) == ["b10.jpg", "b9.jpg", "a.jpg", "B2.jpg"]
    expect(field).to_have_value('An edited "words",\nin <b>two</b> lines.')
    with open(download(page, "csv", tmp_path), encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["image"] for row in rows] == names_in(page)
    assert rows[0]["alt_text"] == 'An edited "words",\nin <b>two</b> lines.' and rows[0]["edited"] == "true"
    assert rows[2]["alt_text"] == others.input_value() and rows[2]["edited"] == "false"
    assert rows[1]["alt_text"] == "" and rows[1]["error"]
    rows = [json.loads(line) for line in download(page, "jsonl", tmp_path).read_text().splitlines()]
    assert rows[0]["alt_text"].startswith("An edited") and [row["edited"] for row in rows] == [
        True,
        *[False] * 3,
    ]
    # The photo by itself has the same text, and edits there come back.
    page.get_by_role("button", name="Look closer at b10.jpg").click()
    expect(page.locator("#alt")).to_have_value('An edited "words",\nin <b>two</b> lines.')
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
    assert accessibility_violations(page) == []


def test_sort_by_confidence(open_page):
    page = open_page()
    page.context.route("**/page/caption*", lambda route: route.fulfill(
        json=answer_with(float(route.request.post_data_buffer.decode()))))  # fmt: skip
    photos = [payload(f"{i}.jpg", str(c).encode()) for i, c in enumerate((0.9, 0.1, 0.5, 0.497))]
    page.set_input_files("#files", photos)
    expect(page.locator("#batch-text")).to_contain_text("4 of 4 photos, done")
    assert names_in(page) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    page.select_option("#sort", "confidence")
    assert names_in(page) == ["1.jpg", "3.jpg", "2.jpg", "0.jpg"]
    assert page.locator("#rows td.confidence").all_inner_texts() == [
        "⚠ 10 %, probably wrong",
        "⚠ 49 %, unsure",
        "50 %, probably right",
        "90 %, very likely right",
    ]
    page.set_input_files("#files", photos[:3])  # sorted as soon as the confidences are known
    expect(page.locator("#batch-text")).to_contain_text("3 of 3 photos, done")
    assert names_in(page) == ["1.jpg", "2.jpg", "0.jpg"]


def test_equal_misleading_and_html_names(open_page, tmp_path):
    page = open_page()
    html = "<img src=x onerror=alert(1)>.jpg"
    rtl, override = "\u05e9\u05dc\u05d5\u05dd 12.jpg", "photo\u202egpj.exe"
    names = ["a.jpg", "a.jpg (2)", "a.jpg", "a.jpg", html, rtl, override, "x" * 240 + ".jpg"]
    photos = [{**file, "name": name} for file, name in zip(payloads(len(names)), names, strict=True)]
    page.set_input_files("#files", photos)
    expect(page.locator("#batch-text")).to_contain_text("8 of 8 photos, done")
    shown = sorted(names_in(page))
    assert shown == sorted(["a.jpg", "a.jpg (2)", "a.jpg (3)", "a.jpg (4)", *names[4:]])
    assert page.locator("#rows img").count() == 0
    assert page.locator("#rows td.file bdi").count() == 8  # isolated from the text around them
    assert set(read_predictions(str(download(page, "jsonl", tmp_path)))) == set(shown)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name=f"Look closer at {html}").click()
    expect(page.locator("#photo-name")).to_have_text(html)


def test_failed_photo_does_not_stop_the_batch(open_page):
    page = open_page()
    answers = {
        b"1": {"status": 500, "body": '{"error": "the server failed; its log says how"}'},
        b"2": {"status": 200, "body": "<html>a proxy</html>"},
        b"3": {"status": 413, "body": '{"error": "expected a body of at most 5 bytes, got more"}'},
    }
    page.context.route("**/page/caption*", lambda route: route.fulfill(
        **answers.get(route.request.post_data_buffer, {"status": 200, "json": answer_with(None)})))  # fmt: skip
    page.set_input_files("#files", [payload(f"{i}.jpg", str(i).encode()) for i in range(6)])
    expect(page.locator("#batch-text")).to_contain_text("6 of 6 photos, 3 failed, done")
    captions = page.locator("#rows td.caption").all_inner_texts()
    assert (
        "its log says how" in captions[1]
        and "cannot read" in captions[2]
        and "at most 5 bytes" in captions[3]
    )
    assert captions[0] == captions[4] == captions[5] == "a dog"
    assert page.locator("#rows td.confidence").nth(0).inner_text() == "not known"


def test_folder_skips_other_files(open_page, tmp_path):
    page = open_page()
    folder = tmp_path / "holiday"
    folder.mkdir()
    for file in payloads(3):
        (folder / file["name"]).write_bytes(file["buffer"])
    (folder / "captions.csv").write_text("image,caption\n")
    (folder / ".hidden.jpg").write_bytes(b"x")
    page.set_input_files("#folder", folder)
    expect(page.locator("#batch-text")).to_contain_text("3 of 3 photos, done, 2 other files skipped")
    assert page.locator("#rows .file").first.inner_text().startswith("holiday/photo 00")


def test_500_files_keep_the_page_responsive(open_page):
    page = open_page()
    page.evaluate(OBSERVE)
    page.set_input_files("#files", payloads(500))
    expect(page.locator("#rows tr")).to_have_count(500)
    expect(page.locator("#batch-text")).to_contain_text(
        re.compile(r"\d{2,3} of 500 photos, .* per second, .* left")
    )
    page.click("#stop")
    expect(page.locator("#batch-text")).to_contain_text("stopped")
    done = int(page.locator("#batch-text").inner_text().split()[0])
    assert 10 <= done < 500 and page.evaluate("window.longestFrame") < 1000
    page.wait_for_timeout(300)
    assert page.locator("#batch-text").inner_text().startswith(f"{done} of 500")
    page.click("#stop")
    expect(page.locator("#batch-text")).not_to_contain_text(f"{done} of 500")
    page.click("#stop")
