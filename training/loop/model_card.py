"""The card that travels with a model: what it was trained on and from, and what was measured."""

from __future__ import annotations

from typing import Any

from captioner.models import CaptionModel
from training.config import Run


def card(run: Run, model: CaptionModel, metrics: dict[str, Any]) -> str:
    """Markdown for `card.md`, from the run and its figures alone."""
    lines = [
        f"# {run.name}",
        "",
        f"- encoder: `{run.model.encoder}`, {'trained along' if run.model.train_encoder else 'frozen'}, "
        f"images at {run.model.image_size} x {run.model.image_size}",
        f"- decoder: `{run.model.decoder}`",
        f"- parameters: {model.count_params():,}; vocabulary: {len(model.tokenizer):,}",
        f"- data: `{run.data.source}`",
        *([f"- weights at the start: those of `{run.model.start}`"] if run.model.start else []),
        f"- training: {_trained(run)}, seed {run.seed}; best epoch {metrics['epoch']} by CIDEr-D on the "
        "validation split",
        f"- decoding of the figures below: `{run.evaluation.strategy}`",
        "",
    ]
    for split in run.evaluation.tests:
        lines += [f"## {split}", "", "| figure | value |", "|---|---|"]
        lines += [f"| {name} | {value:.2f} |" for name, value in metrics[split].items()]
        lines.append("")
    return "\n".join(lines)


def _trained(run: Run) -> str:
    parts = {"cross-entropy": run.xe.epochs, "self-critical on CIDEr-D": run.scst.epochs}
    return ", then ".join(f"{name}, {epochs} epochs at most" for name, epochs in parts.items() if epochs)
