"""Measures the latency of the web page: `python serving/page_latency.py MODEL IMAGE...`."""

from __future__ import annotations

from captioner.programs import program  # first: it sets the import path

# isort: split
import argparse
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

import captioner
from captioner import checks
from captioner.cli.parser import Parser
from captioner.engines.versions import version_folder
from captioner.errors import EngineError, ImageError, MissingDependency

ABOUT = """\
Starts the development server for MODEL, an exported model folder, opens its page in chromium without a window, drops
images on it, and measures the time from the drop to the frame that shows the first word. Between drops the same
version captions the same image in this process: the engine's latency. Prints the medians of both and their
difference."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Returns the milliseconds from dropping a file, made before, to the frame that shows the first word.
_DROP = """async ([text, type]) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "image", { type }));
    const caption = document.getElementById("caption");
    caption.replaceChildren();
    const shown = new Promise((resolve) => {
        const observer = new MutationObserver(() => {
            if (!caption.querySelector("button")) return;
            observer.disconnect();
            requestAnimationFrame(() => resolve(performance.now()));
        });
        observer.observe(caption, { childList: true });
    });
    const start = performance.now();
    document.querySelector(".drop-area").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    return (await shown) - start;
}"""


@contextlib.contextmanager
def server(model: str) -> Iterator[str]:
    """Runs the development server; yields the address of its page."""
    devserver = Path(__file__).with_name("devserver.py")
    command = [sys.executable, str(devserver), model, "--port", "0", "--rest-port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    last_line = ""
    try:
        for line in process.stderr or ():
            last_line = line.strip() or last_line
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if event["event"] == "serving":
                    yield event["page"]
                    return
        raise EngineError(f"the server did not start: {last_line}")
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
        raise EngineError(f"expected a browser on the PATH, one of {', '.join(BROWSERS)}; got none")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"]).new_page()


def measure(model: str, images: list[bytes], iterations: int) -> tuple[list[float], list[float]]:
    """Measures the engine and the page in turn.

    Args:
        model: str. An exported model folder.
        images: list of bytes.
        iterations: int. Times that each image is captioned; one more, before, does not count.

    Returns:
        (latencies of the engine, latencies of the page), in milliseconds.

    Raises:
        CaptionerError: if there is no exported model, browser or server.
    """
    folder = version_folder(model)
    if folder is None:
        raise EngineError(f"no exported model in {model}: make one with `captioner export`")
    engine_ms, page_ms = [], []
    with captioner.load(folder) as engine, server(model) as address, browser() as page:
        page.goto(address)
        page.locator("#model option").first.wait_for(state="attached")
        for iteration in range(iterations + 1):
            for image in images:
                start = time.perf_counter()
                engine.caption(image)
                latency = (time.perf_counter() - start) * 1000
                to_first_word = page.evaluate(_DROP, [base64.b64encode(image).decode(), "image/jpeg"])
                page.locator("#caption .highlighted").first.wait_for(
                    state="detached"
                )  # all words have been shown
                if iteration:
                    engine_ms.append(latency)
                    page_ms.append(to_first_word)
    return engine_ms, page_ms


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="page_latency.py", description=ABOUT)
    build.add_argument("model", help="exported model folder")
    build.add_argument("images", nargs="+", metavar="IMAGE")
    build.add_argument(
        "--iterations", type=int, default=10, help="times that each image is captioned (default 10)"
    )
    return build


def run(options: argparse.Namespace) -> None:
    """Measures and prints the medians.

    Raises:
        CaptionerError: if there is no exported model, image, browser or server.
    """
    checks.integer(options.iterations, "--iterations", 1)
    images = [_read(path) for path in options.images]
    engine, page = map(statistics.median, measure(options.model, images, options.iterations))
    print(f"engine alone                {engine:7.1f} ms")
    print(f"from drop to first word     {page:7.1f} ms")
    print(
        f"difference                  {page - engine:7.1f} ms   (medians of {options.iterations * len(images)})"
    )


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from None


main = program(parser, run)

if __name__ == "__main__":
    sys.exit(main())
