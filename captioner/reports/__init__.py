"""Reports: one page of HTML that opens from disk without a network, and all its scores as JSON beside it.

`report` makes that of captions and their references; `training/analyze.py report` makes one of training runs from the
same parts. Needs the extra `report` (Jinja2 and matplotlib).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from captioner import checks
from captioner.errors import DataError, SpecError
from captioner.metrics import DEFAULT_METRICS, Scored, scored
from captioner.metrics.evaluation import Predictions, ReferenceTexts
from captioner.registry import Spec, parse_spec
from captioner.reports import charts, contents, page
from captioner.reports.images import Images, Shown

__all__ = ["report"]

_NO_SCORES = ("mean length", "bad endings")  # of which more is not better


def report(
    predictions: Predictions,
    references: ReferenceTexts,
    out: str | os.PathLike[str],
    baseline: Predictions | None = None,
    images: Any = None,
    names: Sequence[str] = ("a", "b"),
    resamples: int = 1000,
    overwrite: bool = False,
    metrics: Iterable[str | Spec] = DEFAULT_METRICS,
    official: bool = False,
) -> Path:
    """Writes a report on captions: scores with confidence intervals, images, confused words, lengths, vocabulary.

    Args:
        predictions: mapping of image id to a caption (str or `Caption`), or a list of them. A `Caption` with attention
            is shown with where its model looked.
        references: mapping of the same ids to lists of captions, or a list of such lists in the same order.
        out: path ending in .html; the JSON goes beside it under the same name.
        baseline: predictions of a second model for the same images, or None.
        images: folder that holds the images, mapping of id to image (as `Captioner.caption` takes them), or None:
            ids are paths. Images that are not there are left out, and the page says so.
        names: sequence of str, default ("a", "b"). What to call the one or two models.
        resamples: int, default 1000. How often images are drawn for the spread, 2 or more.
        overwrite: bool, default False. Whether a report that is there may be replaced.
        metrics: iterable of str or Spec, rows of `METRICS`; CIDEr-D is always among them.
        official: bool, default False. Add the scores of pycocoevalcap. Needs Java.

    Returns:
        Path of the page.

    Raises:
        DataError: if captions cannot be scored (see `captioner.evaluate`), files are in the way, or the disk refuses.
        SpecError: if a metric is unknown, or resamples are too few.
        MissingDependency: if Jinja2, matplotlib or something that a metric needs is not there.

    Example:
        ```python
        captioner.report({"1.jpg": "a dog"}, {"1.jpg": ["A dog ."]}, "report.html", images="photos")
        ```
    """
    page.require()
    checks.integer(resamples, "resamples", 2)
    paths = page.files(out, contents.KIND, overwrite)
    all_predictions = [predictions] if baseline is None else [predictions, baseline]
    if isinstance(names, str) or len(names) < len(all_predictions):
        raise SpecError(f"expected a list of {len(all_predictions)} names for the models, got {names!r}")
    shown = Images(images)
    models = _scored(all_predictions, references, [str(name) for name in names], list(metrics), official)
    data = contents.evaluation(models, [str(name) for name in names[: len(all_predictions)]], resamples)
    known = _images(data, models, all_predictions, shown)
    return page.write(paths, "evaluation.html.j2", data, charts=_charts(data), images=known)


def _scored(
    all_predictions: Sequence[Predictions],
    references: ReferenceTexts,
    names: Sequence[str],
    metrics: list,
    official: bool,
) -> list[Scored]:
    """Each model's scores, all in the order of the first's images."""
    if "cider_d" not in [parse_spec(spec).name for spec in metrics]:
        metrics = [*metrics, "cider_d"]
    models: list[Scored] = []
    for predictions, name in zip(all_predictions, names, strict=False):
        if models and isinstance(predictions, Mapping):
            first = [key for key in models[0].names if key in predictions]
            predictions = {key: predictions[key] for key in [*first, *predictions]}
        try:
            models.append(scored(predictions, references, official, metrics))
        except DataError as error:
            raise DataError(f"{name}: {error}" if len(all_predictions) > 1 else str(error)) from None
    return models


def _images(
    data: dict[str, Any], models: Sequence[Scored], all_predictions: Sequence[Predictions], images: Images
) -> dict[int, Shown]:
    """The images that the page shows, by index; missing ones are counted in the data."""
    examples = [example for group in data["examples"] for example in group["images"]]
    names = models[0].names
    known: dict[int, Shown] = {}
    for example in examples:
        i = example["place"]
        if i not in known:
            known[i] = images.shown(names[i], [predictions[names[i]] for predictions in all_predictions])  # type: ignore[index]
        example["problem"] = known[i].problem or None
    data["wanted"] = len(known)
    data["not_shown"] = sum(bool(shown_image.problem) for shown_image in known.values())
    # How many of these captions came with attention.
    data["attention"] = [
        sum(getattr(predictions[names[i]], "attention", None) is not None for i in known)  # type: ignore[index]
        for predictions in all_predictions
    ]
    return known


def _charts(data: dict[str, Any]) -> dict[str, charts.Chart | None]:
    names, scores, lengths = data["names"], data["scores"], data["lengths"]
    labels = names if len(names) > 1 else ["predictions"]
    cider = data["cider_d"]
    counts = [model_data["counts"] for model_data in cider["models"]]
    shares = [model_data["shares"] for model_data in lengths["models"]]
    edges = [place - 0.5 for place in range(len(lengths["references"]["shares"]) + 1)]
    rows = [
        (row["name"], [(apart["value"], apart["low"], apart["high"])])
        for row in scores
        if (apart := row.get("difference")) and apart["low"] is not None and row["name"] not in _NO_SCORES
    ]
    return {
        "cider_d": charts.histogram(
            cider["edges"], list(zip(labels, counts, strict=True)), "CIDEr-D of an image", "images"
        ),
        "difference": charts.intervals(rows, [""], f"{names[0]} minus {names[-1]}") if rows else None,
        "lengths": charts.histogram(
            edges,
            [*zip(labels, shares, strict=True), ("references", lengths["references"]["shares"])],
            "words a caption",
            "percent of captions",
        ),
    }
