"""Charts as SVG images in the page's light and dark colours. Needs matplotlib, without pyplot.

The same data gives the same file, byte for byte. Text stays text, in the reader's own font.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from captioner.errors import MissingDependency
from captioner.reports.images import data_uri

# Light colours: text, grid lines, then those of models or runs, which colour-blind people can tell apart.
INK, GRID = "#4a515c", "#d9dce1"
SERIES = ("#0b6e75", "#b4501c", "#5d4ba3", "#7a6508", "#a32f63", "#3c6a1f")
_DARK = dict(
    zip(
        (INK, GRID, *SERIES),
        ("#b9bfc9", "#383d46", "#5ec8cf", "#f2a56d", "#b7a8f5", "#d9c452", "#f08fb6", "#9bcf77"),
        strict=True,
    )
)
HUES = tuple((hue, _DARK[hue]) for hue in SERIES)
_FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_SIZE = (4.7, 2.75)  # inches: text keeps its size on a telephone


@dataclass(frozen=True)
class Chart:
    """A chart as two data URIs, in light and dark colours."""

    light: str
    dark: str


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        label: str. Its text in the legend; empty for none.
        x, y: sequences of numbers.
        mark: number or None. The x of the point to mark.
        dashed: bool.
        colour: int. Index into `SERIES`.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    mark: float | None = None
    dashed: bool = False
    colour: int = 0


def require() -> None:
    """Raises MissingDependency where matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependency("matplotlib", "report", "a report") from None


def histogram(edges: Sequence[float], series: Sequence[tuple[str, Sequence[float]]], x: str, y: str) -> Chart:
    """A histogram: the first series filled, others as outlines.

    Args:
        edges: N + 1 numbers.
        series: sequence of (label, N heights).
        x, y: str. Labels of the axes.
    """

    def draw(axis: Any) -> None:
        for i, (label, heights) in enumerate(series):
            style = {"color": SERIES[i], "label": label}
            if i == 0:
                axis.stairs(heights, edges, fill=True, alpha=0.75, **style)
            else:
                axis.stairs(heights, edges, linewidth=1.8, **style)
        axis.set_ylim(bottom=0)
        axis.set_xlim(edges[0], edges[-1])
        _legend(axis, len(series))

    return _chart(draw, x, y)


def intervals(
    rows: Sequence[tuple[str, Sequence[tuple[float, float, float]]]], labels: Sequence[str], x: str
) -> Chart:
    """Points with error bars, for each row and label.

    Args:
        rows: sequence of (name, [(value, low, high), ...]), one triple for each label; from the top.
        labels: sequence of str.
        x: str. Label of the axis.
    """

    def draw(axis: Any) -> None:
        for i, label in enumerate(labels):
            offset = 0.26 * (i - (len(labels) - 1) / 2)
            heights = [row + offset for row in range(len(rows))]
            values = [points[i][0] for _, points in rows]
            errors = [
                [max(0.0, points[i][0] - points[i][1]) for _, points in rows],
                [max(0.0, points[i][2] - points[i][0]) for _, points in rows],
            ]
            style = {"fmt": "o", "markersize": 5, "capsize": 3, "linewidth": 1.8, "color": SERIES[i]}
            axis.errorbar(values, heights, xerr=errors, label=label, **style)
        axis.set_yticks(range(len(rows)), [name for name, _ in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.grid(False, axis="y")
        axis.tick_params(axis="y", length=0)
        low, high = axis.get_xlim()
        if low < 0 < high:
            axis.axvline(0, color=INK, linewidth=1)
        _legend(axis, len(labels))

    return _chart(draw, x, "", height=0.34 * len(rows) * max(1.0, 0.7 * len(labels)) + 0.9)


def lines(series: Sequence[Line], x: str, y: str, log: bool = False, whole_numbers: bool = True) -> Chart:
    """A line chart.

    Args:
        series: sequence of `Line`.
        x, y: str. Labels of the axes.
        log: bool, default False. Whether the y axis is logarithmic.
        whole_numbers: bool, default True. Whether x values are integers.
    """

    require()
    from matplotlib import ticker

    def draw(axis: Any) -> None:
        for line in series:
            colour = SERIES[line.colour % len(SERIES)]
            style = {"linestyle": "--" if line.dashed else "-", "marker": "o", "markersize": 3}
            axis.plot(line.x, line.y, color=colour, linewidth=1.8, label=line.label or None, **style)
            at = [i for i, value in enumerate(line.x) if value == line.mark]
            if at:
                axis.plot(
                    [line.mark],
                    [line.y[at[0]]],
                    "o",
                    markersize=8,
                    fillstyle="none",
                    color=colour,
                    markeredgewidth=1.6,
                )
        if log:
            axis.set_yscale("log")
            low, high = axis.get_ylim()
            axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
            axis.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
            axis.yaxis.set_minor_formatter(ticker.NullFormatter())
        if whole_numbers:
            axis.xaxis.get_major_locator().set_params(integer=True)
        _legend(axis, sum(bool(line.label) for line in series))

    return _chart(draw, x, y)


def _legend(axis: Any, entries: int) -> None:
    if entries > 1:
        axis.legend(frameon=False, fontsize=8.5, labelcolor=INK, handlelength=1.6, borderaxespad=0.2)


def _chart(draw: Callable[[Any], None], x: str, y: str, height: float = _SIZE[1]) -> Chart:
    require()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none", "svg.hashsalt": "captioner", "font.family": "DejaVu Sans", "font.size": 9,
        "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GRID, "xtick.color": INK, "ytick.color": INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID,
        "grid.linewidth": 0.7, "axes.axisbelow": True, "text.parse_math": False, "text.usetex": False,
    }  # fmt: skip
    with rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that matplotlib's font lacks; the browser has others
        figure = Figure(figsize=(_SIZE[0], height), layout="constrained")
        axis = figure.add_subplot()
        draw(axis)
        axis.set(xlabel=x, ylabel=y)
        buffer = io.BytesIO()
        no_metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    text = buffer.getvalue().decode()
    # Without the XML header, whose document type has a web address.
    text = text[text.index("<svg") :].replace("'DejaVu Sans'", _FONT)
    dark = re.sub("|".join(_DARK), lambda match: _DARK[match.group()], text)
    return Chart(data_uri("image/svg+xml", text.encode()), data_uri("image/svg+xml", dark.encode()))
