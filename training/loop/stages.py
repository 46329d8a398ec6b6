"""The stages of a run: text without images, cross-entropy, then self-critical training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import keras

from captioner.models import CaptionModel
from training.config import CrossEntropy, Run, SelfCritical
from training.data.batches import PackedBatches
from training.data.sentences import TextBatches
from training.data.source import Source
from training.loop.losses import CaptionLoss
from training.loop.optimizer import AveragedAdam
from training.loop.self_critical import SelfCriticalBatches

TEXT = "text"  # the stage of sentences without images


class Stage(NamedTuple):
    """Epochs with the same loss and the same kind of batches.

    Attributes:
        name: str. "text", "xe" or "scst".
        first: int. The number of its first epoch, counted over the whole run.
        settings: values of its keys.
        batches: makes its batches.
        loss: CaptionLoss.
        steps: list of int. Batches of each epoch.
        extra_loss: a further loss, see `CaptionModel`, default None.
        train_encoder: bool, default False. Whether the encoder is trained in this stage.
    """

    name: str
    first: int
    settings: CrossEntropy | SelfCritical
    batches: PackedBatches | SelfCriticalBatches
    loss: CaptionLoss
    steps: list[int]
    extra_loss: Callable[[dict[str, Any], Any], Any] | None = None
    train_encoder: bool = False

    @property
    def last(self) -> int:
        """The number after that of its last epoch."""
        return self.first + self.settings.epochs

    @property
    def prefix(self) -> str:
        """Prefix of its keys: "xe" or "scst"."""
        return "xe" if self.name == TEXT else self.name

    def compile(self, model: CaptionModel) -> None:
        """Gives the model a fresh optimizer and the loss of this stage."""
        settings, total = self.settings, sum(self.steps)
        warmup = max(1, int(total * settings.warmup))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0,
            max(1, total - warmup),
            alpha=settings.final_lr_ratio,
            warmup_target=settings.learning_rate,
            warmup_steps=warmup,
        )
        model.extra_loss = self.extra_loss
        model.encoder.trainable = self.train_encoder
        model.attention_penalty = getattr(settings, "attention_penalty", 0.0)
        model.compile(
            # With weight decay it is AdamW; without, AdamW would update all weights twice for nothing.
            optimizer=AveragedAdam(
                rate,
                weight_decay=settings.weight_decay or None,
                global_clipnorm=settings.global_clipnorm or None,
                use_ema=settings.ema_momentum > 0,
                ema_momentum=settings.ema_momentum or None,
            ),
            loss=self.loss,
        )
        model.optimizer.build(model.trainable_variables)


def build_stages(run: Run, source: Source, model: CaptionModel) -> list[Stage]:
    """The stages that have epochs, in order; `xe.min_steps` may give cross-entropy more of them."""
    stages: list[Stage] = []
    sizes = run.xe.batch_images, run.data.captions_per_image, run.seed
    if run.xe.text:
        features = model.grid[0] * model.grid[1], model.encoder.channels
        text = TextBatches(source.sentences, source.tokenizer, model.max_length, features, *sizes)
        settings = replace(run.xe, epochs=run.xe.text_epochs, min_steps=0, attention_penalty=0.0)
        stages.append(_stage(TEXT, 0, settings, text, CaptionLoss(run.xe.label_smoothing)))
    if run.xe.epochs:
        packed = PackedBatches(source.caption_groups, *sizes, run.data.repeats)
        first = stages[-1].last if stages else 0
        stage = _stage("xe", first, run.xe, packed, CaptionLoss(run.xe.label_smoothing))
        stages.append(stage._replace(extra_loss=getattr(model, "extra_loss", None)))
    if run.scst.epochs:
        sampled = SelfCriticalBatches(run.scst, source, model, run.seed)
        first = stages[-1].last if stages else 0
        stages.append(_stage("scst", first, run.scst, sampled, CaptionLoss(summed=True)))
    return [stage._replace(train_encoder=run.model.train_encoder and stage.name != TEXT) for stage in stages]


def data_digest(source: Source, stages: Sequence[Stage]) -> str:
    """Hex digest of what the stages are trained on: captions, sentences without images, and the vocabulary."""
    groups = [(group.image, group.captions) for group in source.caption_groups]
    sentences = repr(source.sentences) if any(stage.name == TEXT for stage in stages) else ""
    content = repr(groups) + source.tokenizer.fingerprint + sentences
    return hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()


def _stage(name: str, first: int, settings: Any, batches: Any, loss: CaptionLoss) -> Stage:
    steps = [len(batches.plan(first + epoch)) for epoch in range(settings.epochs)]
    while sum(steps) < getattr(settings, "min_steps", 0):
        steps.append(len(batches.plan(first + len(steps))))
    return Stage(name, first, replace(settings, epochs=len(steps)), batches, loss, steps)


def lengthened(run: Run, stages: Sequence[Stage]) -> Run:
    """A run with the epochs that its stages have; prints a line where `xe.min_steps` has added some.

    Validations are then as many as without: `evaluation.every` grows as the epochs do.

    Args:
        run: Run.
        stages: what `build_stages` returned.
    """
    by_name = {stage.name: stage for stage in stages if stage.name != TEXT}
    settings: dict[str, Any] = {name: stage.settings for name, stage in by_name.items()}
    longer = replace(run, **settings)
    if longer.xe.epochs == run.xe.epochs:
        return run
    every = round(run.evaluation.every * longer.xe.epochs / run.xe.epochs)
    steps = sum(by_name["xe"].steps)
    print(
        f"xe.min_steps={run.xe.min_steps}: {longer.xe.epochs} epochs of cross-entropy, {steps:,} steps, instead of "
        f"{run.xe.epochs}; a validation every {every} epochs",
        flush=True,
    )
    return replace(longer, evaluation=replace(run.evaluation, every=every))
