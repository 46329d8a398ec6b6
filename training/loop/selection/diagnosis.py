"""What a run's validation says of how it went: warnings, each with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from training.loop.selection.choosing import CIDER, LAST, LOSS, Criterion

NEAR_ZERO = 1.0  # CIDEr-D
_LEAST_IMAGES = 5  # few captions of fewer images may well be alike
_LEAST_VALIDATIONS = 3
# How much better the last validation must be than the one before it to say that the run ended too early.
_RISE = {CIDER: 1.0, LOSS: 0.02}
_RELATIVE_RISE = 0.02
_MORE_STEPS = (
    "train for more steps (a smaller xe.batch_images, more xe.epochs, or xe.min_steps), or begin with a trained model "
    "(captioner adapt)"
)


class Validation(NamedTuple):
    """One validation of a run.

    Attributes:
        epoch: int. From 1.
        metrics: number or None by name: CIDEr-D, "validation loss" where epochs are chosen by it, and "unique
            captions", percent.
    """

    epoch: int
    metrics: Mapping[str, Any]


def validations(rows: Sequence[Mapping[str, Any]]) -> list[Validation]:
    """The validations among the rows of `history.csv`, whose cells are text or empty.

    Example:
        >>> validations([{"epoch": 1, "CIDEr-D": ""}, {"epoch": 2, "CIDEr-D": "3.5", "unique captions": "50"}])
        [Validation(epoch=2, metrics={'CIDEr-D': 3.5, 'unique captions': 50.0})]
    """
    names = (CIDER, LOSS, "unique captions")
    table = [
        Validation(row["epoch"], {name: float(row[name]) for name in names if row.get(name)}) for row in rows
    ]
    return [validation for validation in table if validation.metrics]


def near_zero(validation: Validation, epochs: int) -> str:
    """The warning for a CIDEr-D near zero; empty where there is none to give.

    Args:
        validation: Validation.
        epochs: int. Those of the whole run.

    Example:
        >>> print(near_zero(Validation(5, {"CIDEr-D": 0.1}), 10).partition(":")[0])
        the validation CIDEr-D is 0.1 in epoch 5 of 10, near zero
    """
    value = validation.metrics.get(CIDER)
    if value is None or value >= NEAR_ZERO:
        return ""
    return (
        f"the validation {CIDER} is {value:.1f} in epoch {validation.epoch} of {epochs}, near zero: the captions "
        f"hardly depend on the images; {_MORE_STEPS}"
    )


def alike(validation: Validation, images: int) -> str:
    """The warning for validation captions of which one or two differ; empty where there is none to give.

    Args:
        validation: Validation.
        images: int. Validation images that were captioned, of which 5 or more say something.

    Example:
        >>> print(alike(Validation(5, {"unique captions": 10.0}), 20).partition(":")[0])
        20 validation images have 2 different captions in epoch 5
        >>> alike(Validation(5, {"unique captions": 50.0}), 20)
        ''
    """
    share = validation.metrics.get("unique captions")
    if share is None or images < _LEAST_IMAGES:
        return ""
    different = round(share * images / 100)
    if different > 2:
        return ""
    plural = "captions" if different > 1 else "caption"
    return (
        f"{images} validation images have {different} different {plural} in epoch {validation.epoch}: the model does "
        f"not look at them; {_MORE_STEPS}"
    )


def best_is_first(history: Sequence[Validation], best_epoch: int, measure: str, stage: str) -> str:
    """The warning for a run whose first validation is its best; empty where there is none to give.

    Args:
        history: the validations, 3 or more of which say something.
        best_epoch: int. The epoch that was chosen.
        measure: str. What it was chosen by, see `Criterion`.
        stage: "xe" or "scst": the first stage of the run.
    """
    if measure == LAST or len(history) < _LEAST_VALIDATIONS or best_epoch != history[0].epoch:
        return ""
    return (
        f"the best of {len(history)} validations by {measure} is the first (epoch {best_epoch}): the learning rate is "
        f"too high or the model overfits; lower {stage}.learning_rate, or add images, cached augmentations or dropout"
    )


def still_rising(history: Sequence[Validation], best_epoch: int, measure: str, stage: str) -> str:
    """The note for a run that ended while it still became clearly better; empty where there is none to give.

    Clearly is 1 CIDEr-D or 0.02 nats a word since the validation before, and 2 % of the value.

    Args:
        history: the validations, 3 or more of which say something.
        best_epoch: int. The epoch that was chosen.
        measure: str. What it was chosen by, see `Criterion`.
        stage: "xe" or "scst": the last stage of the run.

    Example:
        >>> rising = [Validation(epoch, {"CIDEr-D": 5.0 * epoch}) for epoch in (1, 2, 3)]
        >>> print(still_rising(rising, 3, "CIDEr-D", "xe"))
        the best epoch is the last (3), 5.00 better in CIDEr-D than epoch 2: more epochs would help; raise xe.epochs
    """
    if measure == LAST or len(history) < _LEAST_VALIDATIONS or best_epoch != history[-1].epoch:
        return ""
    how = Criterion(measure)
    before, last = (how.value(validation.metrics, validation.epoch) for validation in history[-2:])
    if last - before < max(_RISE[measure], _RELATIVE_RISE * abs(last)):
        return ""
    return (
        f"the best epoch is the last ({best_epoch}), {last - before:.2f} better in {measure} than epoch "
        f"{history[-2].epoch}: more epochs would help; raise {stage}.epochs"
    )


def so_far(history: Sequence[Validation], images: int, epochs: int) -> dict[str, str]:
    """Warnings about the last validation, once a third of the epochs is over.

    Args:
        history: the validations so far.
        images: int. Validation images that are captioned.
        epochs: int. Those of the whole run.

    Returns:
        dict of kind to warning.
    """
    if not history or history[-1].epoch * 3 < epochs:
        return {}
    return _not_empty(**_of_captions(history[-1], images, epochs))


def at_end(
    history: Sequence[Validation],
    best_epoch: int,
    measure: str,
    images: int,
    epochs: int,
    stages: Sequence[str],
) -> dict[str, str]:
    """Warnings about a finished run: its best epoch, and where that lies.

    Args:
        history: the validations.
        best_epoch: int. The epoch that was chosen.
        measure: str. What it was chosen by, see `Criterion`.
        images: int. Validation images that are captioned.
        epochs: int. Those of the whole run.
        stages: names of the stages, in order.

    Returns:
        dict of kind to warning.
    """
    best = next((validation for validation in history if validation.epoch == best_epoch), None)
    return _not_empty(
        **(_of_captions(best, images, epochs) if best else {}),
        best_is_first=best_is_first(history, best_epoch, measure, stages[0]),
        still_rising=still_rising(history, best_epoch, measure, stages[-1]),
    )


def _of_captions(validation: Validation, images: int, epochs: int) -> dict[str, str]:
    return {"near_zero": near_zero(validation, epochs), "alike": alike(validation, images)}


def _not_empty(**warnings: str) -> dict[str, str]:
    return {kind: warning for kind, warning in warnings.items() if warning}
