"""Measures a served model beside the same model in this process: `python serving/bench.py TARGET`."""

from __future__ import annotations

from captioner.programs import program  # first: it sets the import path

# isort: split
import argparse
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import captioner
from captioner import bundle, checks
from captioner.cli.parser import Parser
from captioner.engines import ENGINES, engine_for
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import DataError, EngineError, MissingDependency
from serving.runtime.closed_loop import Ask, Measurement, measure

ABOUT = """\
Closed loop: each client sends its next image when its last request was answered, one image a request.

TARGET is grpc://host:port/name or http://host:port/name, or the folder of an exported model, which is then run in
this process. With --local FOLDER, the same model, exported, is also run in this process with as many threads, and its
encoder alone, in the same run: absolute numbers say much about the machine, the ratios say what serving costs.
Server and clients share the machine's cores if they are on the same one."""

IMAGES = ("astronaut", "chelsea", "coffee", "rocket")  # of scikit-image
_MOST_IMAGES = 64


def load_images(folder: str | None) -> list[bytes]:
    """The JPEGs to send.

    Args:
        folder: str, or None for the images that scikit-image brings.

    Returns:
        list of bytes.

    Raises:
        DataError: if the folder holds none.
        MissingDependency: if scikit-image is not installed.
    """
    if folder is not None:
        paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
        if not paths:
            raise DataError(f"expected a folder with .jpg images, got none in {folder}")
        return [path.read_bytes() for path in paths[:_MOST_IMAGES]]
    try:
        import skimage.data
    except ImportError as error:
        raise MissingDependency(
            error.name or "skimage", "dev", "the images that are sent; or pass --images"
        ) from None
    from PIL import Image

    images = []
    for name in IMAGES:
        file = io.BytesIO()
        Image.fromarray(getattr(skimage.data, name)()).save(file, "JPEG", quality=90)
        images.append(file.getvalue())
    return images


def asker(model: Any, clients: int) -> Ask:
    """A function that asks a loaded model for the caption of one image, in several threads at a time.

    Args:
        model: `captioner.Captioner`.
        clients: int. Threads.

    Returns:
        callable.

    Raises:
        EngineError: if there are several threads, and the engine of the model is not thread-safe.
    """
    if clients > 1 and not model.engine.thread_safe:
        name = model.engine.describe()["engine"]
        raise EngineError(f"threads may not share an engine {name!r}: measure it with --clients 1")
    return lambda image: model.caption(image)


def encoder(folder: str) -> Ask:
    """A function that runs the encoder of a model folder alone, on an image that is decoded already.

    Args:
        folder: str. A captioner model folder.

    Returns:
        callable; it ignores its argument.
    """
    import numpy as np

    import_tensorflow("running an encoder")
    import tensorflow as tf

    model = ENGINES["keras"].open(folder).model
    signature = [tf.TensorSpec([None, *model.image_size, 3], tf.float32)]
    encode = tf.function(model.encode, input_signature=signature, autograph=False)
    noise = np.random.default_rng(0).uniform(0, 255, (1, *model.image_size, 3))
    pixels = tf.constant(noise, tf.float32)
    encode(pixels)  # traced by one thread, not by every client at once

    def ask(image: bytes) -> None:
        encode(pixels).numpy()

    return ask


def table(rows: Sequence[Measurement]) -> str:
    """The measurements as a Markdown table; `of local` is the throughput as a share of the model in this process.

    Example:
        >>> print(table([Measurement("saved_model", 1, 20, 0, 2.0, 99.0, 101.0, 110.0)]).splitlines()[-1])
        | 1 | saved_model | 20 | 0 | 10.0 | 99.0 | 101.0 | 110.0 | 100 % |
    """
    local = {row.clients: row.rate for row in rows if row.target == "saved_model"}
    lines = [
        "| clients | target | requests | failed | a second | p50 ms | p95 ms | p99 ms | of local |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        share = f"{row.rate / local[row.clients]:.0%}".replace("%", " %") if local.get(row.clients) else "-"
        latencies = " | ".join(f"{value:.1f}" for value in (row.p50, row.p95, row.p99))
        lines.append(
            f"| {row.clients} | {row.target} | {row.requests} | {row.failed} | {row.rate:.1f} | {latencies} "
            f"| {share} |"
        )
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="bench.py", description=ABOUT)
    add = build.add_argument
    add("target", help="grpc://host:port/name, http://host:port/name, or the folder of an exported model")
    add("--local", metavar="FOLDER", help="the same model in this process, to compare with")
    add("--images", metavar="FOLDER", help="JPEGs to send (default: scikit-image's photographs)")
    add("--clients", type=int, nargs="+", default=[1, 4, 8], help="numbers of clients (default 1 4 8)")
    add("--seconds", type=float, default=10.0, help="how long each measurement takes (default 10)")
    add("--json", action="store_true", help="print JSON, a row a line, instead of a table")
    return build


def measurements(options: argparse.Namespace) -> list[Measurement]:
    """Measures everything that the options ask for.

    Args:
        options: what `parser` read.

    Returns:
        list of `Measurement`: for each number of clients, first the target.

    Raises:
        CaptionerError: if there is nothing to measure.
    """
    for clients in options.clients:
        checks.integer(clients, "--clients", 1, 1024)
    checks.number(options.seconds, "--seconds", 0, 86_400, above=True)
    images = load_images(options.images)
    targets: list[tuple[str, Ask]] = []
    most_clients = max(options.clients)
    remote = "retries" in ENGINES[engine_for(options.target)].options()
    folder = options.local if remote else options.target
    if remote:
        # A refused request counts as failed: no retries.
        model = captioner.load(options.target, retries=0)
        targets.append((options.target.partition("://")[0], asker(model, most_clients)))
    if folder is not None:
        local = captioner.Captioner(ENGINES["saved_model"].open(folder))
        targets.append(("saved_model", asker(local, most_clients)))
        if (Path(folder) / bundle.MANIFEST).is_file():
            targets.append(("encoder", encoder(folder)))
    return [
        measure(target, ask, images, clients, options.seconds)
        for clients in options.clients
        for target, ask in targets
    ]


def show(rows: Sequence[Measurement], as_json: bool) -> int:
    """Prints the measurements; returns 1 if a request failed."""
    if as_json:
        for row in rows:
            fields = {k: None if v != v else v for k, v in asdict(row).items()}  # JSON has no nan
            print(json.dumps(fields | {"rate": row.rate}, allow_nan=False))
    else:
        print(table(rows))
    for row in rows:
        if row.failed:
            reason = " ".join(row.reason.split())
            print(
                f"bench.py: {row.failed} failed ({row.target}, {row.clients} clients): {reason}",
                file=sys.stderr,
            )
    return int(any(row.failed for row in rows))


def run(options: argparse.Namespace) -> int:
    """Measures and prints; returns 1 if a request failed."""
    return show(measurements(options), options.json)


main = program(parser, run)

if __name__ == "__main__":
    sys.exit(main())
