"""The web page in a browser, for tests: drops files, waits for captions, takes screenshots."""

import base64
import io

import numpy as np
import PIL.Image
import pytest
import skimage.data

from tests.support import odd_images

axe = pytest.importorskip("axe_playwright_python.sync_playwright")

expect = pytest.importorskip("playwright.sync_api").expect

expect.set_options(timeout=30_000)

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}

HTTP_ERROR = "Failed to load resource"  # how the browser itself notes a status of 400 and above

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
        const words = [...document.querySelectorAll("#caption button")];
        const lit = words.findIndex((word) => word.classList.contains("highlighted"));
        const map = document.getElementById("heatmap").classList.contains("highlighted");
        window.seen.push([performance.now(), words.length, lit, map]);
    }).observe(document.getElementById("sentence"), { childList: true, subtree: true, attributes: true });
    window.gap = 0;
    let last = performance.now();
    const frame = (now) => { window.gap = Math.max(window.gap, now - last); last = now; requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
}"""


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
    expect(page.locator("#caption")).to_have_text(text)
    page.mouse.move(0, 0)  # a word that comes to lie under the pointer is lit, as it should be
    expect(page.locator("#caption .highlighted")).to_have_count(0)
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


def many(count, broken=()):
    """Payloads of small images that differ; a broken one is cut."""
    found = []
    for i in range(count):
        data = odd_images.encoded(odd_images.drawn(40 + i % 7, 30, turn=17 * i), "JPEG")
        found.append(payload(f"photo {i:03}.jpg", data[:200] if i in broken else data))
    return found


def download(page, kind, folder):
    """The table as a file of one kind; gives its Path."""
    with page.expect_download() as download:
        page.click(f"#save-{kind}")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def names_in(page):
    return page.locator("#rows td.file").all_inner_texts()


def captionless(confidence):
    """An answer of the server, of which only the confidence matters."""
    alt = {"text": "A dog.", "confidence": confidence, "flagged": (confidence or 1) < 0.5}
    return {"caption": "a dog", "words": ["a", "dog"], "word_logp": [-1, -1], "logp": -2, "score": -2,
            "attention": None, "alt_text": alt, "alternatives": [], "ms": 1}  # fmt: skip
