"""The web page in a browser, for tests: drops files, waits for captions, takes screenshots."""

import base64
import io

import numpy as np
import PIL.Image
import pytest
import skimage.data

from tests.support.images import odd_images

axe = pytest.importorskip("axe_playwright_python.sync_playwright")

expect = pytest.importorskip("playwright.sync_api").expect

expect.set_options(timeout=30_000)

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}

HTTP_ERROR = "Failed to load resource"  # the console message for a status of 400 and above

# Dispatches a drop or paste event with files, [name, base64, type].
_ADD_FILES = """async ([files, kind]) => {
    const data = new DataTransfer();
    for (const [name, text, type] of files)
        data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name, { type }));
    const event = kind === "paste"
        ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
        : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
    document.querySelector(".drop-area").dispatchEvent(event);
}"""

# Records when the words of the caption appear and are highlighted, and the longest time between two frames.
OBSERVE = """() => {
    window.records = [];
    new MutationObserver(() => {
        const words = [...document.querySelectorAll("#caption button")];
        const index = words.findIndex((word) => word.classList.contains("highlighted"));
        const heatmap = document.getElementById("heatmap").classList.contains("highlighted");
        window.records.push([performance.now(), words.length, index, heatmap]);
    }).observe(document.getElementById("caption"), { childList: true, subtree: true, attributes: true });
    window.longestFrame = 0;
    let last = performance.now();
    const frame = (now) => {
        window.longestFrame = Math.max(window.longestFrame, now - last);
        last = now;
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
}"""


def photo(name="astronaut", kind="JPEG", **options):
    return odd_images.encoded(PIL.Image.fromarray(getattr(skimage.data, name)()[::2, ::2]), kind, **options)


def add_files(page, *files, kind="drop"):
    """Drops or pastes files (name, bytes, type)."""
    page.evaluate(_ADD_FILES, [[(n, base64.b64encode(b).decode(), t) for n, b, t in files], kind])


def payload(name, data, kind="image/jpeg"):
    return {"name": name, "mimeType": kind, "buffer": data}


def wait_for_caption(page):
    """Waits until all words of the caption are shown; returns it."""
    expect(page.locator("#status")).to_contain_text("Caption: ")
    text = page.locator("#status").inner_text().removeprefix("Caption: ")
    expect(page.locator("#caption")).to_have_text(text)
    page.mouse.move(0, 0)  # a word that appears under the pointer would be highlighted
    expect(page.locator("#caption .highlighted")).to_have_count(0)
    return text


def screenshot(page):
    """The photo with its heatmap as displayed, a float array [H, W, 3]."""
    page.wait_for_timeout(250)  # the heatmap fades in
    page.locator(".stage").scroll_into_view_if_needed()
    box = page.locator(".stage").bounding_box()  # may lie between pixels; painting does not
    png = page.screenshot(clip={side: round(value) for side, value in box.items()})
    return np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB"), np.float32)


def accessibility_violations(page):
    """The violations that axe-core rates serious or critical, one line each."""
    violations = axe.Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {node['html'][:100]}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def payloads(count, truncated=()):
    """Payloads of different small images, some of them truncated."""
    files = []
    for i in range(count):
        data = odd_images.encoded(odd_images.drawn(40 + i % 7, 30, turn=17 * i), "JPEG")
        files.append(payload(f"photo {i:03}.jpg", data[:200] if i in truncated else data))
    return files


def download(page, kind, folder):
    """Downloads the table as "csv" or "jsonl"; returns its Path."""
    with page.expect_download() as download:
        page.click(f"#save-{kind}")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def names_in(page):
    """The names in the table, in its order."""
    return page.locator("#rows td.file").all_inner_texts()


def answer_with(confidence):
    """An answer of the server with some confidence."""
    alt = {"text": "A dog.", "confidence": confidence, "flagged": (confidence or 1) < 0.5}
    return {"caption": "a dog", "words": ["a", "dog"], "word_logp": [-1, -1], "logp": -2, "score": -2,
            "attention": None, "alt_text": alt, "language": "en", "alternatives": [], "ms": 1}  # fmt: skip
