"""What the best epoch of a run is chosen by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

CIDER, LOSS, LAST = "CIDEr-D", "validation loss", "no choice"
ENOUGH_IMAGES = 50  # of validation, for CIDEr-D to tell epochs apart


class Criterion(NamedTuple):
    """How epochs are compared.

    Attributes:
        measure: str. `CIDER`, `LOSS` or, where the last epoch is kept whatever it scores, `LAST`.
        reason: str. Why, in a line to print, where it is not what is asked for or expected; else empty.
    """

    measure: str
    reason: str = ""

    def value(self, metrics: Mapping[str, Any], epoch: int) -> float:
        """What is to be highest: CIDEr-D, minus the loss, or the number of the epoch.

        An undefined CIDEr-D counts as 0.

        Example:
            >>> Criterion(LOSS).value({"CIDEr-D": 30.0, "validation loss": 2.5}, epoch=4)
            -2.5
        """
        if self.measure == LAST:
            return float(epoch)
        value = metrics.get(self.measure)
        if value is None or math.isnan(value):
            return 0.0 if self.measure == CIDER else -math.inf
        return -value if self.measure == LOSS else value


def criterion(choose_by: str, stage: str, images: int) -> Criterion:
    """What epochs of a stage are compared by.

    Args:
        choose_by: "auto", "cider", "loss" or "last": `evaluation.choose_by`.
        stage: "xe" or "scst".
        images: int. Validation images that are scored.

    Example:
        >>> criterion("auto", "xe", 1000)
        Criterion(measure='CIDEr-D', reason='')
        >>> print(criterion("auto", "xe", 12).reason)
        12 validation images are too few for CIDEr-D to choose by: the best epoch is chosen by the validation loss; 50 or more would do
    """  # noqa: E501
    if choose_by == "last":
        return Criterion(LAST)
    enough = images >= (2 if choose_by == "cider" else ENOUGH_IMAGES)
    if choose_by != "loss" and enough:
        return Criterion(CIDER)
    if stage == "scst":
        # It makes captions of a high reward likelier than the references, whose loss rises.
        return Criterion(
            LAST, "the validation loss says nothing about self-critical training: its last epoch is kept"
        )
    if choose_by == "loss":
        return Criterion(LOSS)
    few = (
        "1 validation image has no CIDEr-D"
        if images == 1
        else f"{images} validation images are too few for CIDEr-D"
    )
    return Criterion(
        LOSS,
        f"{few} to choose by: the best epoch is chosen by the validation loss; {ENOUGH_IMAGES} or more would do",
    )


def phrase(measure: str, epoch: Any) -> str:
    """Which epoch was kept, and by what.

    Example:
        >>> phrase(LOSS, 7)
        'best epoch 7 by the validation loss'
    """
    if measure == LAST:
        return f"last epoch {epoch}, not chosen on the validation split"
    return f"best epoch {epoch} by {'the ' if measure == LOSS else ''}{measure}" + (
        " on the validation split" if measure == CIDER else ""
    )


def best_of(rows: Sequence[Mapping[str, Any]], choose_by: str) -> tuple[int | None, str]:
    """The best epoch of a run that has not ended, and its measure.

    Args:
        rows: the rows of `history.csv`: number or None by column.
        choose_by: str. `evaluation.choose_by`.

    Returns:
        (epoch, measure); the epoch is None before the first validation.

    Example:
        >>> best_of([{"epoch": 1, "CIDEr-D": 9.0}, {"epoch": 2, "CIDEr-D": 7.0}], "auto")
        (1, 'CIDEr-D')
    """
    scored = [row for row in rows if row.get(CIDER) is not None or row.get(LOSS) is not None]
    by_loss = [row for row in scored if row.get(LOSS) is not None]
    measure = CIDER
    if choose_by == "last" or (by_loss and scored[-1].get(LOSS) is None):
        measure = LAST
    elif by_loss:
        scored, measure = by_loss, LOSS
    how = Criterion(measure)
    best = max(scored, key=lambda row: how.value(row, row["epoch"]), default=None)
    return (best["epoch"] if best else None), measure


def metric_text(name: str, value: float | None) -> str:
    """A metric as it is printed, an undefined one (None or NaN) with this word.

    Example:
        >>> metric_text("BLEU-4", 21.06), metric_text("validation loss", 2.5), metric_text("CIDEr-D", None)
        ('BLEU-4 21.1', 'validation loss 2.500', 'CIDEr-D undefined')
    """
    if value is None or math.isnan(value):
        return f"{name} undefined"
    return f"{name} {value:.3f}" if name == LOSS else f"{name} {value:.1f}"
