"""Model cards of a run and of a published model: training data, settings and metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from captioner import bundle, metadata
from captioner.models import CaptionModel
from captioner.outputs.ood import OutOfDistribution
from training.config import Run
from training.loop.ood import figures_table
from training.loop.selection.choosing import phrase

_METRICS = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D")


def card(run: Run, model: CaptionModel, metrics: dict[str, Any]) -> str:
    """Markdown for `card.md`, from the run and its metrics."""
    lines = [
        f"# {run.name}",
        "",
        f"- encoder: `{run.model.encoder}`, {'trained' if run.model.train_encoder else 'frozen'}, "
        f"images at {run.model.image_size} x {run.model.image_size}",
        f"- decoder: `{run.model.decoder}`",
        f"- parameters: {model.count_params():,}; vocabulary: {len(model.tokenizer):,}",
        f"- data: `{run.data.source}`",
        *([f"- initial weights: those of `{run.model.init_from}`"] if run.model.init_from else []),
        f"- training: {_trained(run)}, seed {run.seed}; {phrase(metrics['chosen_by'], metrics['epoch'])}",
        f"- decoding of the metrics below: `{run.evaluation.strategy}`",
        "",
    ]
    for split in run.evaluation.tests:
        lines += [f"## {split}", "", "| metric | value |", "|---|---|"]
        for name, value in metrics[split].items():
            lines.append(f"| {name} | {'undefined' if math.isnan(value) else f'{value:.2f}'} |")
        lines.append("")
    if metrics["warnings"]:
        lines += ["## Warnings", "", *(f"- {warning}" for warning in metrics["warnings"]), ""]
    return "\n".join(lines)


def _trained(run: Run) -> str:
    text = run.xe.text_epochs if run.xe.text else 0
    parts = {
        "text without images": text,
        "cross-entropy": run.xe.epochs,
        "self-critical on CIDEr-D": run.scst.epochs,
    }
    return ", then ".join(f"{name}, {epochs} epochs at most" for name, epochs in parts.items() if epochs)


def measurements_table(measured: dict[str, dict[str, Any]]) -> list[str]:
    """Metrics and costs as lines of Markdown, those of pycocoevalcap if they were measured."""
    names = [n for n in _METRICS if any(f"official {n}" in row or n in row for row in measured.values())]
    head = ["", *names, "MB", "start, s", "memory, MB", "median, ms", "p95, ms"]
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for variant, row in measured.items():
        cells = [f"`{variant}`" if variant.endswith(".tflite") else variant]
        for name in names:
            value = row.get(f"official {name}", row.get(name))
            spread = f" ± {row['error']:.1f}" if name == "CIDEr-D" else ""
            cells.append("-" if value is None else f"{value:.1f}{spread}")
        cells += [str(row[key]) for key in ("megabytes", "start", "memory", "median", "p95")]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def published_card(
    name: str,
    config: Mapping[str, Any],
    folder: Path,
    measured: dict[str, dict[str, Any]],
    split: str,
    strategies: Sequence[str],
    threads: int,
    trained: str | None,
    confused: Sequence[str],
    notes: str,
) -> str:
    """Markdown for the `card.md` of a published model: settings, metrics, what `biases` counts, and the notes."""
    manifest = metadata.load(folder / bundle.MANIFEST)
    # Strategies of `.tflite` files, which leave out a reranker of the model's.
    others = "".join(f"; `.tflite` files, without fitted parameters, by `{s}`" for s in strategies[1:])
    parameters = manifest["parameters"]
    lines = [
        f"# {name}",
        "",
        f"- encoder: `{manifest['model']['encoder']}`, {parameters['encoder']:,} weights, images at "
        f"{config['model']['image_size']} x {config['model']['image_size']}",
        f"- decoder: `{manifest['model']['decoder']}`, {parameters['decoder']:,} weights",
        *([f"- {trained}"] if trained else []),
        f"- vocabulary: {manifest['vocabulary']['size']:,}; captions of at most {manifest['model']['max_length'] - 1} "
        "words",
        f"- weights in half precision; exports choose words by `{strategies[0]}`{others}",
        "",
        f"## Measured on the {split} split",
        "",
        *measurements_table(measured),
        "",
        "Metrics of coco-caption, x100; ± is the standard error over images (bootstrap). Latency from encoded "
        f"image to sentence, one image of 640 x 480 at a time, {threads} threads; start: to the first one.",
        "",
    ]
    if (folder / bundle.CONFIDENCE).is_file():
        calibration = metadata.load(folder / bundle.CONFIDENCE)
        eval_split = calibration["checked_on"]
        lines += [
            "## How sure it is",
            "",
            f"Calibrated on the {calibration['learnt_on']} split: {calibration['means']}. On the {eval_split} split it "
            f"is off by {100 * calibration['reliability']['error']:.1f} points on average; an estimated "
            f"{100 * calibration['accepted'][eval_split]:.0f} % of its captions there would be accepted.",
            "",
            "![Confidence against the estimated share of captions that experts would accept](reliability.png)",
            "",
        ]
    lines += outcomes_section(folder)
    if confused:
        lines += [f"## What it confuses, on the {split} split", "", *confused, ""]
    return "\n".join(lines) + "\n" + notes.strip() + "\n"


def outcomes_section(folder: Path) -> list[str]:
    """Lines of Markdown on what the model in a folder declines; none where `training/fit_ood.py` has fitted nothing.

    Raises:
        BundleError: if its parameters are damaged.
    """
    if not (folder / bundle.OOD).is_file():
        return []
    ood = OutOfDistribution.load(folder / bundle.OOD)
    measured = ood.measured()
    return [
        "## Knows when not to speak",
        "",
        f"An image whose out-of-distribution score is above {ood.decline:.2f} gets no caption, one above "
        f"{ood.hedge:.2f} a hedged caption (a training image has about 1); so do captions of a confidence below "
        f"{ood.least_confidence:.2f}, where it is calibrated. Measured on images that the model was not trained on, "
        "and on images that code has drawn; AUROC: the probability that one of these scores higher than one like those "
        "of training.",
        "",
        *([*figures_table(measured), ""] if measured else []),
    ]
