"""Beam search, and the functions that its variants share."""

from __future__ import annotations

from typing import Any

from captioner import checks
from captioner.decoding.backend import Array, xp
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import FORBIDDEN, Task
from captioner.decoding.strategy import Choice, Step, Strategy, freeze_ended
from captioner.errors import SpecError


class Beam(Strategy):
    """Beam search: keeps the `width` likeliest partial captions.

    At every step the unfinished beams are replaced by the likeliest of all their continuations. A beam that has
    ended keeps its place and its score, so a caption that ended early can still win at the end; the unfinished
    beams share the places left (as in the original Show, Attend and Tell). The search stops when all beams have
    ended, or as soon as no unfinished beam can still be among the n best, which never changes the outcome.
    Captions cut at `max_length` have no `<end>` and are ranked with the others. With `width=1` it is greedy.

    Args:
        width: int. K, the beams of an image. Defaults to `3`.
        length_penalty: float. Alpha of `LengthPenalty` (Wu et al. 2016, equation 14); 0 ranks by
            log-probability. Defaults to `0.6`.
        n_best: int. Captions returned, best first, all different. Defaults to `1`.
        **rules: `rerank` and the options of every strategy, see `Strategy` and `RULES`.

    Raises:
        SpecError: for an option out of range.

    Example:
        >>> Beam(width=5, n_best=2).rows
        5
    """

    def __init__(self, width: int = 3, length_penalty: float = 0.6, n_best: int = 1, **rules: Any):
        width, n_best = check_width(width, n_best)
        super().__init__(LengthPenalty(length_penalty), width, n_best, **rules)

    def check_vocabulary(self, size: int) -> None:
        """Raises a `SpecError` for more beams than words."""
        check_width_fits(self.rows, size)

    def choose(self, step: Step, strategy_state: Any, task: Task) -> Choice:
        """The K likeliest continuations of the K beams."""
        return extend(step)


def check_width(width: int, n_best: int) -> tuple[int, int]:
    """Checks the options `width` and `n_best`, which all beam searches have."""
    width, n_best = checks.integer(width, "width", 1), checks.integer(n_best, "n_best", 1)
    if n_best > width:
        raise SpecError(f"n_best expects at most width={width}, got {n_best}: raise width or lower n_best")
    return width, n_best


def check_width_fits(width: int, size: int) -> None:
    """Raises a `SpecError` if `width` exceeds the size of the vocabulary."""
    if width > size:
        raise SpecError(f"width expects at most the {size} words of the vocabulary, got {width}: lower width")


def extend(step: Step, bonus: Array | None = None) -> Choice:
    """The K likeliest continuations of K beams; beams that have ended stay as they are.

    Args:
        step: Step.
        bonus: float32 [B, 1, V] or None. Added to the log-probabilities for ranking, not to those reported.

    Returns:
        `Choice`.
    """
    k, size = step.allowed.shape[1:]
    # K candidates per row are enough, and avoid sorting K * V words.
    values, ids = xp.math.top_k(step.allowed if bonus is None else step.allowed + bonus, min(k, size))
    word_logp = values - step.normaliser
    ranked = step.logp[..., xp.newaxis] + word_logp
    if bonus is not None:
        word_logp = xp.gather(step.allowed, ids, batch_dims=2) - step.normaliser
    return top_beams(step, ids, word_logp, ranked)


def keep_ended(step: Step, ranked: Array) -> Array:
    """`ranked` [B, K, N], changed so that a beam that has ended keeps exactly one place."""
    place = xp.constant([-FORBIDDEN] + [2 * FORBIDDEN] * (ranked.shape[2] - 1), xp.float32)
    # Twice the log-probability, so that an impossible beam (one reached by forbidden words only) has no place.
    return xp.where(step.ended[..., xp.newaxis], place + 2 * step.logp[..., xp.newaxis], ranked)


def top_beams(step: Step, ids: Array, word_logp: Array, ranked: Array) -> Choice:
    """The K best of K * N candidates, those of ended beams first.

    Args:
        step: Step.
        ids: int32 [B, K, N].
        word_logp: float32 [B, K, N].
        ranked: float32 [B, K, N]. What to rank by.
    """
    k, n = ids.shape[1:]
    best = xp.math.top_k(xp.reshape(keep_ended(step, ranked), [-1, k * n]), k).indices
    parents = best // n
    ids, word_logp = (xp.gather(xp.reshape(x, [-1, k * n]), best, batch_dims=1) for x in (ids, word_logp))
    ended = xp.gather(step.ended, parents, batch_dims=1)
    return Choice(parents, *freeze_ended(ended, ids, word_logp))
