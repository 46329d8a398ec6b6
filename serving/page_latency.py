"""Measures how fast the web page is: `python serving/page_latency.py MODEL PHOTO...`."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import captioner
from captioner import checks
from captioner.cli.parser import Parser
from captioner.engines.versions import version_folder
from captioner.errors import CaptionerError, EngineError, ImageError, MissingDependency

ABOUT = """\
Starts the development server for MODEL, an exported model folder, opens its page in chromium without a window, drops
photos on it, and takes the time from the drop to the frame that shows the first word. Between drops the same version
captions the same photo in this process: its own latency. Prints the medians of both and their difference."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Gives the milliseconds from dropping a file, made before, to the frame that shows the first word.
_DROP = """async ([text, type]) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "photo", { type }));
    const sentence = document.getElementById("sentence");
    sentence.replaceChildren();
    const shown = new Promise((done) => {
        const watch = new MutationObserver(() => {
            if (!sentence.querySelector("button")) return;
            watch.disconnect();
            requestAnimationFrame(() => done(performance.now()));
        });
        watch.observe(sentence, { childList: true });
    });
    const start = performance.now();
    document.querySelector(".drop-area").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    return (await shown) - start;
}"""


@contextlib.contextmanager
def server(model: str) -> Iterator[str]:
    """Runs the development server; yields the address of its page."""
    program = Path(__file__).with_name("devserver.py")
    command = [sys.executable, str(program), model, "--port", "0", "--rest-port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said = ""
    try:
        for line in process.stderr or ():
            said = line.strip() or said
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if found["event"] == "serving":
                    yield found["page"]
                    return
        raise EngineError(f"the server did not start: {said}")
    finally:
        process.terminate()
        process.communicate()


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Runs chromium; yields a new page of it."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingDependency(error.name or "playwright", "dev", "driving a browser") from None
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise EngineError(f"expected a browser on the PATH, one of {', '.join(BROWSERS)}; found none")
    with sync_playwright() as started:
        yield started.chromium.launch(executable_path=path, args=["--no-sandbox"]).new_page()


def measure(model: str, photos: list[bytes], rounds: int) -> tuple[list[float], list[float]]:
    """Takes both times in turn.

    Args:
        model: str. An exported model folder.
        photos: list of bytes.
        rounds: int. Times that each photo is captioned; one more, before, is not counted.

    Returns:
        The engine's times and those of the page, in milliseconds.

    Raises:
        CaptionerError: if there is no exported model, browser or server.
    """
    folder = version_folder(model)
    if folder is None:
        raise EngineError(f"no exported model in {model}: make one with `captioner export`")
    own, page_s = [], []
    with captioner.load(folder) as engine, server(model) as address, browser() as page:
        page.goto(address)
        page.locator("#model option").first.wait_for(state="attached")
        for turn in range(rounds + 1):
            for photo in photos:
                start = time.perf_counter()
                engine.caption(photo)
                took = (time.perf_counter() - start) * 1000
                shown = page.evaluate(_DROP, [base64.b64encode(photo).decode(), "image/jpeg"])
                page.locator("#sentence .lit").first.wait_for(state="detached")  # the sentence has been said
                if turn:
                    own.append(took)
                    page_s.append(shown)
    return own, page_s


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    build = Parser(prog="page_latency.py", description=ABOUT)
    build.add_argument("model", help="exported model folder")
    build.add_argument("photos", nargs="+", metavar="PHOTO")
    build.add_argument(
        "--rounds", type=int, default=10, help="times that each photo is captioned (default 10)"
    )
    given = build.parse_args(arguments)
    try:
        checks.integer(given.rounds, "--rounds", 1)
        photos = [_read(path) for path in given.photos]
        own, page = map(statistics.median, measure(given.model, photos, given.rounds))
    except CaptionerError as error:
        print(f"page_latency.py: {error}", file=sys.stderr)
        return error.exit_code
    print(f"engine alone                {own:7.1f} ms")
    print(f"from drop to first word     {page:7.1f} ms")
    print(f"difference                  {page - own:7.1f} ms   (medians of {given.rounds * len(photos)})")
    return 0


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from None


if __name__ == "__main__":
    sys.exit(main())
