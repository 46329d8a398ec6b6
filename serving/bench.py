"""Measures a served model beside the same model in this process: `python serving/bench.py TARGET`."""

from __future__ import annotations

import argparse
import io
import itertools
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import captioner
from captioner import bundle, checks
from captioner.cli.parser import Parser
from captioner.engines import ENGINES, engine_for
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import CaptionerError, DataError, EngineError, MissingDependency
from captioner.programs import run_program

ABOUT = """\
Closed loop: each client sends its next image when it has the answer to the one before, one image a request.

TARGET is grpc://host:port/name or http://host:port/name, or the folder of an exported model, which is then run in
this process. With --local FOLDER, the same model, exported, is also run in this process with as many threads, and its
encoder alone, in the same run: absolute figures say much about the machine, the ratios say what serving costs.
Server and clients share the machine's cores if they are on the same one."""

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
_MOST_PHOTOS = 64
Ask = Callable[[bytes], None]  # captions one image, or raises CaptionerError


@dataclass(frozen=True)
class Figures:
    """What one measurement found. Times are milliseconds; nan where there is nothing to tell.

    Attributes:
        what: str. "grpc", "http", "saved_model" or "encoder".
        clients: int.
        requests: int. Those that were answered.
        failed: int.
        seconds: float.
        p50, p95, p99: float.
        reason: str. Why the first failed one did.
    """

    what: str
    clients: int
    requests: int
    failed: int
    seconds: float
    p50: float
    p95: float
    p99: float
    reason: str = ""

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return self.requests / self.seconds if self.seconds else 0.0


def measure(what: str, ask: Ask, images: Sequence[bytes], clients: int, seconds: float) -> Figures:
    """Runs clients side by side for a while.

    Args:
        what: str. A name for the row.
        ask: callable. May be called by several threads at a time.
        images: sequence of bytes. Each client starts at another one.
        clients: int.
        seconds: float. After that, each client finishes the request that it is in.

    Returns:
        `Figures`. A first request of each client is not counted: it opens connections and traces graphs.
    """
    times: list[list[float]] = [[] for _ in range(clients)]
    failures: list[str] = []
    ready = threading.Barrier(clients + 1)
    begin = [0.0]

    def client(number: int) -> None:
        turn = itertools.cycle(range(len(images)))
        order = itertools.islice(turn, number % len(images), None)
        _try(ask, images[next(order)], [])
        ready.wait()
        ready.wait()  # the clock stands between the two
        end = begin[0] + seconds
        while (start := time.perf_counter()) < end:
            if _try(ask, images[next(order)], failures):
                times[number].append(time.perf_counter() - start)

    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    begin[0] = time.perf_counter()
    ready.wait()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begin[0]
    found = sorted(1000 * each for each in itertools.chain(*times))
    middle, late, latest = (percentile(found, share) for share in (0.5, 0.95, 0.99))
    reason = failures[0] if failures else ""
    return Figures(what, clients, len(found), len(failures), took, middle, late, latest, reason)


def _try(ask: Ask, image: bytes, failures: list[str]) -> bool:
    try:
        ask(image)
    except CaptionerError as error:
        failures.append(str(error))
    except Exception as error:  # a client that dies would leave the others waiting for it
        failures.append(f"{type(error).__name__}: {error}")
    else:
        return True
    return False


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that a share of the values do not exceed.

    Example:
        >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5), percentile([1.0, 2.0, 3.0, 4.0], 0.99)
        (2.0, 4.0)
    """
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def photos(folder: str | None) -> list[bytes]:
    """JPEGs to send.

    Args:
        folder: str, or None for the photos that scikit-image brings.

    Returns:
        list of bytes.

    Raises:
        DataError: if the folder holds none.
        MissingDependency: if scikit-image is not installed.
    """
    if folder is not None:
        paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
        if not paths:
            raise DataError(f"expected a folder with .jpg images, found none in {folder}")
        return [path.read_bytes() for path in paths[:_MOST_PHOTOS]]
    try:
        import skimage.data
    except ImportError as error:
        raise MissingDependency(
            error.name or "skimage", "dev", "the photos that are sent; or give --images"
        ) from None
    from PIL import Image

    found = []
    for name in PHOTOS:
        file = io.BytesIO()
        Image.fromarray(getattr(skimage.data, name)()).save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


def asker(model: Any, clients: int) -> Ask:
    """What asks a `captioner.Captioner` for the caption of one image, for so many threads at a time.

    Raises:
        EngineError: if there are several, and its engine cannot be shared by threads.
    """
    if clients > 1 and not model.engine.thread_safe:
        name = model.engine.describe()["engine"]
        raise EngineError(f"threads may not share an engine {name!r}: measure it with --clients 1")
    return lambda image: model.caption(image)


def encoder(folder: str) -> Ask:
    """What runs the encoder of a model folder alone, on noise and not on the image that it is given."""
    import numpy as np

    import_tensorflow("running an encoder")
    import tensorflow as tf

    model = ENGINES["keras"].open(folder).model
    signature = [tf.TensorSpec([None, *model.image_size, 3], tf.float32)]
    run = tf.function(model.encode, input_signature=signature, autograph=False)
    noise = np.random.default_rng(0).uniform(0, 255, (1, *model.image_size, 3))
    pixels = tf.constant(noise, tf.float32)
    run(pixels)  # traced by one thread, not by every client at once

    def ask(image: bytes) -> None:
        run(pixels).numpy()

    return ask


def table(rows: Sequence[Figures]) -> str:
    """The figures side by side, as Markdown; `of local` is the rate's share of the model in this process.

    Example:
        >>> print(table([Figures("saved_model", 1, 20, 0, 2.0, 99.0, 101.0, 110.0)]).splitlines()[-1])
        | 1 | saved_model | 20 | 0 | 10.0 | 99.0 | 101.0 | 110.0 | 100 % |
    """
    local = {row.clients: row.rate for row in rows if row.what == "saved_model"}
    lines = [
        "| clients | what | requests | failed | a second | p50 ms | p95 ms | p99 ms | of local |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        share = f"{row.rate / local[row.clients]:.0%}".replace("%", " %") if local.get(row.clients) else "-"
        times = " | ".join(f"{each:.1f}" for each in (row.p50, row.p95, row.p99))
        lines.append(
            f"| {row.clients} | {row.what} | {row.requests} | {row.failed} | {row.rate:.1f} | {times} | {share} |"
        )
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    build = Parser(prog="bench.py", description=ABOUT)
    add = build.add_argument
    add("target", help="grpc://host:port/name, http://host:port/name, or the folder of an exported model")
    add("--local", metavar="FOLDER", help="the same model in this process, to compare with")
    add("--images", metavar="FOLDER", help="JPEGs to send (default: scikit-image's photos)")
    add("--clients", type=int, nargs="+", default=[1, 4, 8], help="numbers of clients (default 1 4 8)")
    add("--seconds", type=float, default=10.0, help="how long each measurement takes (default 10)")
    add("--json", action="store_true", help="print JSON, a row a line, and not a table")
    return build


def run(given: argparse.Namespace) -> list[Figures]:
    """Measures everything that the command line asks for.

    Args:
        given: what `parser` read.

    Returns:
        list of `Figures`: for each number of clients, first the target.

    Raises:
        CaptionerError: if there is nothing to measure.
    """
    for clients in given.clients:
        checks.integer(clients, "--clients", 1, 1024)
    checks.number(given.seconds, "--seconds", 0, 86_400, above=True)
    images = photos(given.images)
    subjects: list[tuple[str, Ask]] = []
    most = max(given.clients)
    remote = "retries" in ENGINES[engine_for(given.target)].options()
    folder = given.local if remote else given.target
    if remote:
        # A refusal is to be seen, not repeated.
        model = captioner.load(given.target, retries=0)
        subjects.append((given.target.partition("://")[0], asker(model, most)))
    if folder is not None:
        local = captioner.Captioner(ENGINES["saved_model"].open(folder))
        subjects.append(("saved_model", asker(local, most)))
        if (Path(folder) / bundle.MANIFEST).is_file():
            subjects.append(("encoder", encoder(folder)))
    return [
        measure(what, ask, images, clients, given.seconds)
        for clients in given.clients
        for what, ask in subjects
    ]


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code, 1 if a request failed."""
    given = parser().parse_args(arguments)
    return run_program("bench.py", lambda: show(run(given), given.json))


def show(rows: Sequence[Figures], as_json: bool) -> int:
    """Prints what was found; returns 1 if a request failed."""
    if as_json:
        for row in rows:
            fields = {k: None if v != v else v for k, v in asdict(row).items()}  # JSON has no nan
            print(json.dumps(fields | {"rate": row.rate}, allow_nan=False))
    else:
        print(table(rows))
    for row in rows:
        if row.failed:
            reason = " ".join(row.reason.split())
            print(f"bench.py: {row.failed} failed ({row.what}, {row.clients}): {reason}", file=sys.stderr)
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
