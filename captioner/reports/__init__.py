"""Reports: an HTML page that opens from disk without a network, and a JSON file with all its scores.

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
from captioner.reports.images import Images, ReportImage
from captioner.text.languages import ENGLISH

__all__ = ["report"]

_NO_SCORES = ("mean length", "bad endings")  # for which higher is not better


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
    language: str = ENGLISH,
) -> Path:
    """Writes a report on captions: scores with confidence intervals, images, confused words, lengths, vocabulary.

    Args:
        predictions: mapping of image id to a caption (str or `Caption`), or a list of them. The attention of a
            `Caption` is shown, if it has any.
        references: mapping of the same ids to lists of captions, or a list of such lists in the same order.
        out: path ending in .html; the JSON file has the same name with the ending .json.
        baseline: predictions of a second model for the same images, or None.
        images: folder of the images, mapping of id to image (as `Captioner.caption` takes them), or None: ids are
            paths. Missing images are left out, with a remark on the page.
        names: sequence of str, default ("a", "b"). Names of the one or two models.
        resamples: int, default 1000. Number of bootstrap samples, 2 or more.
        overwrite: bool, default False. Whether an existing report may be replaced.
        metrics: iterable of str or Spec, rows of `METRICS`; CIDEr-D is always added.
        official: bool, default False. Add the scores of pycocoevalcap. Needs Java.
        language: str, default "en". That of the captions; see `captioner.evaluate`.

    Returns:
        Path of the page.

    Raises:
        DataError: if captions cannot be scored (see `captioner.evaluate`), files exist already, or the disk refuses.
        SpecError: if a metric is unknown, `resamples` is below 2, or `language` is no code.
        MissingDependency: if Jinja2, matplotlib or a dependency of a metric is not installed.

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
    models = _scored(
        all_predictions, references, [str(name) for name in names], list(metrics), official, language
    )
    data = contents.evaluation(models, [str(name) for name in names[: len(all_predictions)]], resamples)
    known = _images(data, models, all_predictions, shown)
    return page.write(paths, "evaluation.html.j2", data, charts=_charts(data), images=known)


def _scored(
    all_predictions: Sequence[Predictions],
    references: ReferenceTexts,
    names: Sequence[str],
    metrics: list,
    official: bool,
    language: str,
) -> list[Scored]:
    """The scores of each model, with images in the order of the first model."""
    if "cider_d" not in [parse_spec(spec).name for spec in metrics]:
        metrics = [*metrics, "cider_d"]
    models: list[Scored] = []
    for predictions, name in zip(all_predictions, names, strict=False):
        if models and isinstance(predictions, Mapping):
            first = [key for key in models[0].names if key in predictions]
            predictions = {key: predictions[key] for key in [*first, *predictions]}
        try:
            models.append(scored(predictions, references, official, metrics, language=language))
        except DataError as error:
            raise DataError(f"{name}: {error}" if len(all_predictions) > 1 else str(error)) from None
    return models


def _images(
    data: dict[str, Any], models: Sequence[Scored], all_predictions: Sequence[Predictions], images: Images
) -> dict[int, ReportImage]:
    """The images of the page, by index; adds the number of missing ones to the data."""
    examples = [example for group in data["examples"] for example in group["images"]]
    names = models[0].names
    known: dict[int, ReportImage] = {}
    for example in examples:
        i = example["place"]
        if i not in known:
            known[i] = images.shown(names[i], [predictions[names[i]] for predictions in all_predictions])  # type: ignore[index]
        example["problem"] = known[i].problem or None
    data["wanted"] = len(known)
    data["not_shown"] = sum(bool(shown_image.problem) for shown_image in known.values())
    # Number of these captions with attention.
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
        (row["name"], [(difference["value"], difference["low"], difference["high"])])
        for row in scores
        if (difference := row.get("difference"))
        and difference["low"] is not None
        and row["name"] not in _NO_SCORES
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
