"""Learning curves: quality against the number of images, from runs of several sizes and seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner import atomic

METRIC = "CIDEr-D"
CONSTANT = "best constant caption"
_COLUMNS = (METRIC, "BLEU-4")


class Point(NamedTuple):
    """The test metrics of one run: images it had, what it began with ("adapted", "scratch"), its seed.

    With the start `CONSTANT` they are those of the best constant caption of its images.
    """

    images: int
    start: str
    seed: int
    metrics: Mapping[str, Any]


def row(point: Point) -> dict[str, Any]:
    """A row of curve.csv."""
    return {"images": point.images, "start": point.start, "seed": point.seed, **point.metrics}


def means(points: Sequence[Point], start: str, metric: str = METRIC) -> dict[int, tuple[float, float, int]]:
    """Number of images to the mean of a metric, its standard deviation over seeds (NaN for one), and the seeds.

    Example:
        >>> points = [Point(50, "adapted", seed, {"CIDEr-D": value}) for seed, value in ((1, 20.0), (2, 22.0))]
        >>> mean, deviation, seeds = means(points, "adapted")[50]
        >>> mean, round(deviation, 2), seeds
        (21.0, 1.41, 2)
    """
    values: dict[int, list[float]] = {}
    for point in points:
        value = point.metrics.get(metric)
        if point.start == start and value is not None:
            values.setdefault(point.images, []).append(float(value))
    return {
        images: (float(np.mean(v)), float(np.std(v, ddof=1)) if len(v) > 1 else math.nan, len(v))
        for images, v in sorted(values.items())
    }


def gain(curve: Mapping[int, tuple[float, float, int]], more: int) -> float | None:
    """What so many more images are worth: the metric grows with the logarithm of the number of images, as between the
    two largest sizes (Hestness et al. 2017 find power laws; over a factor of two or three the logarithm is as close).

    Args:
        curve: see `means`.
        more: int. Images.

    Returns:
        float, or None for fewer than two sizes.

    Example:
        >>> gain({100: (30.0, 1.0, 3), 200: (35.0, 1.0, 3)}, 200)
        5.0
    """
    if len(curve) < 2:
        return None
    (small, low), (large, high) = [(n, curve[n][0]) for n in sorted(curve)[-2:]]
    return (high - low) / math.log(large / small) * math.log((large + more) / large)


def saturation(curve: Mapping[int, tuple[float, float, int]]) -> int | None:
    """The number of images from which no larger size is better by more than seeds differ, or None.

    A difference counts from two standard errors on; with one run a size, from 2 points on.
    """
    sizes = sorted(curve)
    for position, images in enumerate(sizes[:-1]):
        mean, deviation, seeds = curve[images]
        later = [curve[other] for other in sizes[position + 1 :]]
        if all(other[0] - mean <= _noise(deviation, seeds, *other[1:]) for other in later):
            return images
    return None


def _noise(deviation: float, seeds: int, other_deviation: float, other_seeds: int) -> float:
    if math.isnan(deviation) or math.isnan(other_deviation):
        return 2.0
    return 2 * math.sqrt(deviation**2 / seeds + other_deviation**2 / other_seeds)


def summary(points: Sequence[Point], captions_per_image: float) -> str:
    """The curve as a table in Markdown, and what it says in sentences.

    Args:
        points: the runs, and the best constant captions of their images.
        captions_per_image: float. Training captions of an image, on average.
    """
    starts = list(dict.fromkeys(point.start for point in points))
    names = [f"{start}, {metric}" for start in starts for metric in _COLUMNS]
    lines = [f"| images | {' | '.join(names)} |", "|---:" * (len(names) + 1) + "|"]
    curves = {(start, metric): means(points, start, metric) for start in starts for metric in _COLUMNS}
    for images in sorted({point.images for point in points}):
        cells = [_cell(curves[start, metric].get(images)) for start in starts for metric in _COLUMNS]
        lines.append(f"| {images:,} | {' | '.join(cells)} |")
    seeds = max((number for curve in curves.values() for *_, number in curve.values()), default=1)
    lines += [
        "",
        f"Test split, x100; mean and standard deviation of {seeds} runs."
        if seeds > 1
        else "Test split, x100; one run a size.",
    ]
    lines.append(f"{CONSTANT}: the caption that fits the training images best, said of every test image.")
    for start in starts:
        if start == CONSTANT:
            continue
        curve = curves[start, METRIC]
        more = max(10, 10 * round(max(curve, default=0) / 50))
        worth = gain(curve, more)
        if worth is None:
            continue
        lines.append(
            f"{start}: another {round(more * captions_per_image):,} captions ({more:,} images) are worth "
            f"{worth:+.1f} {METRIC}."
        )
        if (enough := saturation(curve)) is not None:
            lines.append(f"{start}: more than {enough:,} images brought nothing that seeds do not explain.")
    return "\n".join(lines) + "\n"


def _cell(entry: tuple[float, float, int] | None) -> str:
    if entry is None:
        return "-"
    mean, deviation, _ = entry
    return f"{mean:.1f}" if math.isnan(deviation) else f"{mean:.1f} ± {deviation:.1f}"


def draw(points: Sequence[Point], out: Path) -> None:
    """Draws CIDEr-D against the number of images, dashed for the best constant captions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure, axis = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    colours = {"adapted": "#0b6e99", "scratch": "#c8553d", CONSTANT: "#777777"}
    labels = {"adapted": "beginning with a trained model", "scratch": "decoder from nothing"}
    for start in dict.fromkeys(point.start for point in points):
        curve = means(points, start)
        sizes, values = list(curve), [mean for mean, *_ in curve.values()]
        spread = [0.0 if math.isnan(deviation) else deviation for _, deviation, _ in curve.values()]
        line = "--" if start == CONSTANT else "-"
        style: dict[str, Any] = {"color": colours[start], "linestyle": line, "marker": "o", "capsize": 3}
        axis.errorbar(sizes, values, spread, label=labels.get(start, start), **style)
        for size, value in zip(sizes, values, strict=True):
            axis.annotate(
                f"{value:.0f}", (size, value), (0, 7), textcoords="offset points", ha="center", fontsize=8
            )
    sizes = sorted({point.images for point in points})
    axis.set(
        xscale="log",
        xlabel="images (training and validation)",
        ylabel=f"{METRIC}, test split",
        ylim=(0, None),
    )
    axis.set_xticks(sizes)
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(True, which="major", alpha=0.3)
    axis.legend(fontsize=9)
    with atomic.replacing(out, suffix=".png") as aside:
        figure.savefig(aside, dpi=130)
    pyplot.close(figure)
