"""What a model costs where it runs: time to the first sentence, latency, memory and size.

Each model is measured in processes of its own, so that none finds another's libraries loaded or memory warm.
No TensorFlow here.
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
from captioner.engines import versions
from captioner.engines.tflite_file import lite_files
from captioner.errors import CaptionerError, EngineError

_PATIENCE = 1800.0  # seconds for one process
WARM_UP = 4  # images captioned before latencies count


@dataclass(frozen=True)
class Cost:
    """What one model costs.

    Attributes:
        source: str. What was loaded.
        engine: str. Who ran it.
        megabytes: float or None. Size on disk, in 10^6 bytes; None for a served model.
        first: float. Seconds from the start of a process to its first sentence, median over the starts.
        first_memory: float or None. Most memory a process has held by then, in 10^6 bytes; None where the system
            does not tell.
        latencies: tuple of float. Seconds from encoded image to sentence, one image at a time, once warm.
        memory: float or None. Most memory a process has held in the end, in 10^6 bytes.
        caption: str. What was said of the first image.
    """

    source: str
    engine: str
    megabytes: float | None
    first: float
    first_memory: float | None
    latencies: tuple[float, ...]
    memory: float | None
    caption: str

    def latency(self, share: float = 0.5) -> float:
        """The latency in seconds that a share of all images stays within: 0.5 is the median."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def variants(source: str | os.PathLike[str]) -> list[str]:
    """Everything that runs in a model folder: the bundle, its newest SavedModel, its `.tflite` files.

    Args:
        source: str or PathLike. A model folder; anything else stands for itself.

    Returns:
        list of str, each for `captioner.load`.
    """
    folder = Path(source)
    if not (folder / bundle.MANIFEST).is_file():
        return [os.fspath(source)]
    exported = versions.version_folder(folder)
    lite = sorted(lite_files(folder), key=lambda path: -path.stat().st_size)
    return [str(folder), *([str(exported)] if exported else []), *(str(path) for path in lite)]


def cost(
    source: str,
    images: Sequence[str],
    strategy: str | None = None,
    rounds: int = 30,
    starts: int = 3,
    threads: int | None = None,
    trust: Sequence[str] = (),
) -> Cost:
    """Measures one model.

    Args:
        source: str. What `captioner.load` takes.
        images: sequence of str, one or more paths, taken in turn.
        strategy: str, default None, which is the engine's own.
        rounds: int, default 30. Images captioned in each process once it is warm.
        starts: int, default 3. Processes.
        threads: int, default None, which is one a core. Threads for arithmetic.
        trust: sequence of str, default none; see `captioner.load`. For engines that take it.

    Returns:
        `Cost`.

    Raises:
        CaptionerError: what the model raised, or an `EngineError` if its process died.
        SpecError: for a number below 1.

    Example:
        >>> cost("runs/demo/model/model.tflite", ["demo/1.png"]).latency()  # doctest: +SKIP
        0.0042
    """
    for name, value in (
        ("rounds", rounds),
        ("starts", starts),
        ("threads", 1 if threads is None else threads),
    ):
        checks.integer(value, name, 1)
    asked = {"source": source, "images": list(images), "strategy": strategy, "rounds": rounds}
    asked |= {"threads": threads, "trust": list(trust)}
    runs = [_process(asked, threads) for _ in range(starts)]
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


def _process(asked: dict[str, Any], threads: int | None) -> dict[str, Any]:
    """One process from its start to its end."""
    settings = dict(os.environ)
    # It must find the captioner that is running here, installed or not.
    settings["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parents[1]), *filter(None, [settings.get("PYTHONPATH")])]
    )
    if threads:
        for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
            settings[name] = str(threads)
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "captioner.benchmark", json.dumps(asked)],
            env=settings,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"{asked['source']}: not done after {_PATIENCE / 60:g} minutes") from None
    try:
        told = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise EngineError(
            f"{asked['source']}: its process ended with status {done.returncode}: {last}"
        ) from None
    if "error" in told:
        raise EngineError(told["error"])
    return {**told, "first": told["first_at"] - begun}


def _size(path: Path) -> int:
    """Bytes of a file, of an exported version, or of a model folder without what was exported into it."""
    if path.is_file():
        return path.stat().st_size
    if (path / bundle.MANIFEST).is_file():
        files = (bundle.MANIFEST, *bundle.FILES)
        return sum((path / name).stat().st_size for name in files if (path / name).is_file())
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def peak_memory() -> float | None:
    """The most memory that this process has held, in 10^6 bytes; None where the system does not tell."""
    try:
        # Linux. `getrusage` would count what the parent held before this program took its process over.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / 1e6 if sys.platform == "darwin" else held * 1024 / 1e6


def _run(asked: dict[str, Any]) -> dict[str, Any]:
    """What a process does: load, caption, and caption again."""
    from captioner.api import engine_for, load

    images = [Path(path).read_bytes() for path in asked["images"]]
    engine = engine_for(asked["source"])
    options = {"threads": asked["threads"]} if engine == "lite" else {}
    if asked["trust"] and engine in ("keras", "lite"):  # the others run a graph, and import nothing
        options["trust"] = asked["trust"]
    with load(asked["source"], **options) as model:
        caption = model.caption(images[0], asked["strategy"])
        told = {"first_at": time.monotonic(), "first_memory": peak_memory(), "caption": caption.text}
        for image in images[:WARM_UP]:
            model.caption(image, asked["strategy"])
        latencies = []
        for turn in range(asked["rounds"]):
            begun = time.perf_counter()
            model.caption(images[turn % len(images)], asked["strategy"])
            latencies.append(time.perf_counter() - begun)
        return {
            **told,
            "engine": model.engine.describe()["engine"],
            "latencies": latencies,
            "memory": peak_memory(),
        }


if __name__ == "__main__":
    try:
        answer = _run(json.loads(sys.argv[1]))
    except (CaptionerError, OSError) as error:
        answer = {"error": " ".join(str(error).split())}
    print(json.dumps(answer))
