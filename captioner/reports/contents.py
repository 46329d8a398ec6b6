"""The data of a report on captions, as plain JSON; the page shows only these."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from captioner.bundle import version
from captioner.metrics import Scored
from captioner.reports import bootstrap
from captioner.reports.confusions import confusions

KIND = "captioner evaluation"
RANKING = "CIDEr-D"  # the score that images are ordered by
_STEPS = (1, 2, 5, 10, 20, 25, 50, 100)  # widths of a bar of the histogram


def evaluation(
    models: Sequence[Scored], names: Sequence[str], resamples: int = 1000, shown: int = 6
) -> dict[str, Any]:
    """The data of a report on one model or two.

    Args:
        models: one or two `Scored` of the same images in the same order, with CIDEr-D among their scores.
        names: names of the models.
        resamples: int, default 1000. Number of bootstrap samples.
        shown: int, default 6. Images in each group of examples.

    Returns:
        dict of plain JSON. Values of models are lists in their order.
    """
    first = models[0]
    return {
        "kind": KIND,
        "captioner": version(),
        "names": list(names),
        "image_count": len(first.names),
        "references": sum(len(image) for image in first.captions),
        "bootstrap": {"resamples": resamples, "percent": bootstrap.PERCENT, "seed": bootstrap.SEED},
        "scores": _scores(models, resamples),
        "cider_d": _distribution([model.per_image[RANKING] for model in models]),
        "examples": _examples(models, shown),
        "confusions": [confusions(model) for model in models],
        "lengths": _lengths(models),
        "vocabulary": _vocabulary(models),
        "images": [
            {"image": str(name), RANKING: [_defined(model.per_image[RANKING][i]) for model in models]}
            for i, name in enumerate(first.names)
        ],
    }


def _scores(models: Sequence[Scored], resamples: int) -> list[dict[str, Any]]:
    drawn = bootstrap.resampled(models, resamples)
    rows = []
    for name in models[0].corpus:
        no_interval = {"error": None, "low": None, "high": None}
        row: dict[str, Any] = {
            "name": name,
            "models": [
                {"value": _defined(model.corpus[name])}
                | (bootstrap.spread(resamples_of[name]) if name in resamples_of else no_interval)
                for model, resamples_of in zip(models, drawn, strict=True)
            ],
        }
        if len(models) == 2:
            difference: dict[str, Any] = {"value": _defined(models[0].corpus[name] - models[1].corpus[name])}
            if all(name in resamples_of for resamples_of in drawn):
                differences = drawn[0][name] - drawn[1][name]
                higher = {"higher": 100 * float((differences > 0).mean())}
                difference |= bootstrap.spread(differences) | higher
            else:
                difference |= no_interval | {"higher": None}
            row["difference"] = difference
        rows.append(row)
    return rows


def _defined(value: float) -> float | None:
    """A score for JSON: None for NaN, such as CIDEr-D of a single image."""
    return None if math.isnan(value) else float(value)


def _summary(values: np.ndarray) -> dict[str, float | None]:
    if not len(values):
        return dict.fromkeys(("mean", "median", "lowest", "highest"))
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "lowest": float(values.min()),
        "highest": float(values.max()),
    }


def _distribution(values: Sequence[np.ndarray]) -> dict[str, Any]:
    values = [model_values[~np.isnan(model_values)] for model_values in values]
    top = max(float(model_values.max(initial=0.0)) for model_values in values)
    step = next((step for step in _STEPS if top <= 25 * step), _STEPS[-1])
    edges = np.arange(0, top + step, step, dtype=np.float64)
    edges = edges if len(edges) > 1 else np.array([0.0, step])
    return {
        "edges": edges.tolist(),
        "models": [
            {
                "counts": np.histogram(model_values, edges)[0].tolist(),
                "zero": int((model_values < 1e-9).sum()),
            }
            | _summary(model_values)
            for model_values in values
        ],
    }


def _examples(models: Sequence[Scored], shown: int) -> list[dict[str, Any]]:
    """Groups of example images, in display order."""
    scores = [model.per_image[RANKING] for model in models]
    order = np.argsort(-scores[0], kind="stable").tolist()
    groups: list[tuple[str, list[int]]] = []
    if len(models) == 2:
        difference = scores[0] - scores[1]
        by_difference = np.argsort(-difference, kind="stable").tolist()
        groups.append(("first better", [i for i in by_difference if difference[i] > 0][:shown]))
        groups.append(("second better", [i for i in by_difference[::-1] if difference[i] < 0][:shown]))
    group_size = min(shown, len(order) // 3)
    if group_size:
        middle = (len(order) - group_size) // 2
        groups += [
            ("best", order[:group_size]),
            ("median", order[middle : middle + group_size]),
            ("worst", order[::-1][:group_size]),
        ]
    else:
        groups.append(("all", order))
    return [
        {"group": group, "images": [_example(models, i) for i in chosen]}
        for group, chosen in groups
        if chosen
    ]


def _example(models: Sequence[Scored], i: int) -> dict[str, Any]:
    return {
        "place": i,
        "image": str(models[0].names[i]),
        "references": models[0].captions[i],
        "models": [
            {"caption": model.texts[i], RANKING: _defined(model.per_image[RANKING][i])} for model in models
        ],
    }


def _lengths(models: Sequence[Scored]) -> dict[str, Any]:
    """Caption lengths in words, of the references and of each model. Shares are in percent, from 0 words on."""
    references = np.array([len(caption) for image in models[0].references for caption in image])
    caption_lengths = [np.array([len(caption) for caption in model.candidates]) for model in models]
    top = int(max(lengths.max() for lengths in (references, *caption_lengths)))

    def measured(values: np.ndarray) -> dict[str, Any]:
        shares = 100 * np.bincount(values, minlength=top + 1) / len(values)
        return _summary(values) | {"shares": shares.tolist()}

    return {"references": measured(references), "models": [measured(lengths) for lengths in caption_lengths]}


def _vocabulary(models: Sequence[Scored]) -> dict[str, Any]:
    reference_counts = Counter(
        word for image in models[0].references for caption in image for word in caption
    )
    return {
        "references": {"words": len(reference_counts), **_coverage(reference_counts)},
        "models": [_model_vocabulary(model, reference_counts) for model in models],
    }


def _model_vocabulary(model: Scored, reference_counts: Counter[str]) -> dict[str, Any]:
    counts = Counter(word for caption in model.candidates for word in caption)
    sentences = Counter(" ".join(caption) for caption in model.candidates)
    number = len(model.candidates)
    frequent = sorted(sentences.items(), key=lambda item: (-item[1], item[0]))[:10]
    return {
        "words": len(counts),
        **_coverage(counts),
        "of references": 100 * len(set(counts) & set(reference_counts)) / len(reference_counts),
        "unique": 100 * len(sentences) / number,
        "frequent": [
            {"caption": caption, "count": count, "share": 100 * count / number} for caption, count in frequent
        ],
    }


def _coverage(counts: Counter[str]) -> dict[str, int]:
    """The number of most frequent words that cover half, and nine tenths, of all words."""
    running = np.cumsum(sorted(counts.values(), reverse=True))
    total = sum(counts.values())
    if not total:
        return {"half": 0, "nine tenths": 0}
    return {
        "half": int(np.searchsorted(running, 0.5 * total)) + 1,
        "nine tenths": int(np.searchsorted(running, 0.9 * total)) + 1,
    }
