"""The phases of a run: cross-entropy first, then self-critical training."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras

from captioner.models import CaptionModel
from training.config import CrossEntropy, Run, SelfCritical
from training.data.batches import PackedBatches
from training.data.source import Source
from training.loop.losses import CaptionLoss
from training.loop.self_critical import SelfCriticalBatches


class Phase(NamedTuple):
    """Epochs that are trained alike.

    Attributes:
        name: str. What its keys begin with.
        first: int. The number of its first epoch, counted over the whole run.
        settings: what its keys say.
        batches: what makes its batches.
        loss: CaptionLoss.
        steps: list of int. Batches of each epoch.
    """

    name: str
    first: int
    settings: CrossEntropy | SelfCritical
    batches: PackedBatches | SelfCriticalBatches
    loss: CaptionLoss
    steps: list[int]

    @property
    def last(self) -> int:
        """The number behind that of its last epoch."""
        return self.first + self.settings.epochs

    def compile(self, model: CaptionModel) -> None:
        """Gives the model a fresh optimizer and the loss of this phase."""
        settings, total = self.settings, sum(self.steps)
        warmup = max(1, int(total * settings.warmup))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0,
            max(1, total - warmup),
            alpha=settings.final,
            warmup_target=settings.learning_rate,
            warmup_steps=warmup,
        )
        if self.name != "xe":
            model.extra_loss = None  # a teacher's
        model.attention_penalty = getattr(settings, "attention_penalty", 0.0)
        model.compile(
            # With a weight decay it is AdamW; with none, AdamW would still pass over all weights to take nothing off.
            optimizer=keras.optimizers.Adam(
                rate,
                weight_decay=settings.weight_decay or None,
                global_clipnorm=settings.clip or None,
                use_ema=settings.ema > 0,
                ema_momentum=settings.ema or None,
            ),
            loss=self.loss,
        )
        model.optimizer.build(model.trainable_variables)


def phases(run: Run, source: Source, model: CaptionModel) -> list[Phase]:
    """The phases that have epochs, in order."""
    found = []
    if run.xe.epochs:
        packed = PackedBatches(source.visits, run.xe.batch_images, run.data.captions_per_image, run.seed)
        found.append(_phase("xe", 0, run.xe, packed, CaptionLoss(run.xe.label_smoothing)))
    if run.scst.epochs:
        drawn = SelfCriticalBatches(run.scst, source, model, run.seed)
        found.append(_phase("scst", run.xe.epochs, run.scst, drawn, CaptionLoss(summed=True)))
    return found


def _phase(name: str, first: int, settings: Any, batches: Any, loss: CaptionLoss) -> Phase:
    return Phase(
        name, first, settings, batches, loss, [len(batches.plan(first + e)) for e in range(settings.epochs)]
    )
