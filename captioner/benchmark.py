"""Benchmark of a model: time to the first sentence, latency, memory and size.

Each model is measured in separate processes, so that no measurement profits from libraries or memory that another one
has loaded. No TensorFlow here.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner import bundle, checks
from captioner.engines import ENGINES, engine_for
from captioner.errors import CaptionerError, EngineError

_PATIENCE = 1800.0  # seconds for one process
WARM_UP = 4  # images captioned before latencies count


@dataclass(frozen=True)
class Cost:
    """Measurements of one model.

    Attributes:
        source: str. The model.
        engine: str. Name of its engine.
        megabytes: float or None. Size on disk, in 10^6 bytes; None for a served model.
        first: float. Seconds from the start of a process to its first caption, median over the processes.
        first_memory: float or None. Peak memory until then, in 10^6 bytes, maximum over the processes; None where the
            system does not report it.
        latencies: tuple of float. Seconds from encoded image to caption, one image at a time, after the warm-up.
        memory: float or None. Peak memory at the end, in 10^6 bytes, maximum over the processes.
        caption: str. The caption of the first image.
    """

    source: str
    engine: str
    megabytes: float | None
    first: float
    first_memory: float | None
    latencies: tuple[float, ...]
    memory: float | None
    caption: str

    def latency(self, quantile: float = 0.5) -> float:
        """A quantile of the latencies in seconds: 0.5 is the median."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


def variants(source: str | os.PathLike[str]) -> list[str]:
    """The models in a model folder: the bundle, its newest SavedModel, its `.tflite` files.

    Args:
        source: str or PathLike. A model folder, or another source.

    Returns:
        list of str, sources for `captioner.load`; `source` alone if it is no model folder.
    """
    folder = Path(source)
    if not (folder / bundle.MANIFEST).is_file():
        return [os.fspath(source)]
    return [variant for name in ENGINES for variant in ENGINES[name].variants(folder)]


def cost(
    source: str,
    images: Sequence[str],
    strategy: str | None = None,
    iterations: int = 30,
    processes: int = 3,
    threads: int | None = None,
    trust: Sequence[str] = (),
) -> Cost:
    """Measures one model.

    Args:
        source: str. What `captioner.load` takes.
        images: sequence of str, one or more paths, taken in turn.
        strategy: str, default None, which is the engine's own.
        iterations: int, default 30. Images captioned in each process after the warm-up.
        processes: int, default 3. Number of processes.
        threads: int, default None, which is one a core. Threads for arithmetic.
        trust: sequence of str, default none; see `captioner.load`. For engines with that option.

    Returns:
        `Cost`.

    Raises:
        CaptionerError: the error of the model, or an `EngineError` if its process died.
        SpecError: for a number below 1.

    Example:
        >>> cost("runs/demo/model/model.tflite", ["demo/1.png"]).latency()  # doctest: +SKIP
        0.0042
    """
    for name, value in (
        ("iterations", iterations),
        ("processes", processes),
        ("threads", 1 if threads is None else threads),
    ):
        checks.integer(value, name, 1)
    job = {"source": source, "images": list(images), "strategy": strategy, "iterations": iterations}
    job |= {"threads": threads, "trust": list(trust)}
    runs = [_process(job, threads) for _ in range(processes)]
    return Cost(
        source=source,
        engine=runs[0]["engine"],
        megabytes=_size(Path(source)) / 1e6 if Path(source).exists() else None,
        first=statistics.median(run["first"] for run in runs),
        first_memory=max((run["first_memory"] for run in runs if run["first_memory"]), default=None),
        latencies=tuple(seconds for run in runs for seconds in run["latencies"]),
        memory=max((run["memory"] for run in runs if run["memory"]), default=None),
        caption=runs[0]["caption"],
    )


def _process(job: dict[str, Any], threads: int | None) -> dict[str, Any]:
    """Runs a measuring process; returns its measurements."""
    environment = dict(os.environ)
    # It must import the same captioner as this process, installed or not.
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parents[1]), *filter(None, [environment.get("PYTHONPATH")])]
    )
    if threads:
        for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
            environment[name] = str(threads)
    start = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "captioner.benchmark", json.dumps(job)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"{job['source']}: not done after {_PATIENCE / 60:g} minutes") from None
    try:
        measured = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise EngineError(
            f"{job['source']}: its process ended with status {done.returncode}: {last}"
        ) from None
    if "error" in measured:
        raise EngineError(measured["error"])
    return {**measured, "first": measured["first_at"] - start}


def _size(path: Path) -> int:
    """Bytes of a file, of an exported version, or of a model folder without its exports."""
    if path.is_file():
        return path.stat().st_size
    if (path / bundle.MANIFEST).is_file():
        files = (bundle.MANIFEST, *bundle.FILES)
        return sum((path / name).stat().st_size for name in files if (path / name).is_file())
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def peak_memory() -> float | None:
    """Peak memory of this process, in 10^6 bytes; None where the system does not report it."""
    try:
        # Linux. `getrusage` would include the memory of the parent process before `exec`.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss / 1e6 if sys.platform == "darwin" else peak_rss * 1024 / 1e6


def _run(job: dict[str, Any]) -> dict[str, Any]:
    """The work of a measuring process: load the model, caption one image, warm up, then measure latencies."""
    from captioner.api import load

    images = [Path(path).read_bytes() for path in job["images"]]
    accepted = ENGINES[engine_for(job["source"])].options()
    options = {name: job[name] for name in ("threads", "trust") if job[name] and name in accepted}
    with load(job["source"], **options) as model:
        caption = model.caption(images[0], job["strategy"])
        measured = {"first_at": time.monotonic(), "first_memory": peak_memory(), "caption": caption.text}
        for image in images[:WARM_UP]:
            model.caption(image, job["strategy"])
        latencies = []
        for turn in range(job["iterations"]):
            start = time.perf_counter()
            model.caption(images[turn % len(images)], job["strategy"])
            latencies.append(time.perf_counter() - start)
        return {
            **measured,
            "engine": model.engine.describe()["engine"],
            "latencies": latencies,
            "memory": peak_memory(),
        }


if __name__ == "__main__":
    try:
        result = _run(json.loads(sys.argv[1]))
    except (CaptionerError, OSError) as error:
        result = {"error": " ".join(str(error).split())}
    print(json.dumps(result))
