"""Sampling: captions drawn from the model's distribution, with temperature, top-k and top-p."""

from __future__ import annotations

from typing import Any

from captioner import checks
from captioner.decoding.backend import Array, xp
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import FORBIDDEN, Task, possible
from captioner.decoding.strategy import Choice, Step, Strategy, freeze_ended

# Outside this range float32 logits divided by the temperature are all alike, or infinite.
TEMPERATURES = (1e-3, 1e3)
MAX_SAMPLES = 10_000  # captions of an image: each is a row of the search


class Sample(Strategy):
    """Ancestral sampling: `n` captions drawn at random, word by word.

    First the temperature divides the logits, then `top_k` keeps the likeliest words (Fan et al. 2018), then
    `top_p` the smallest set of likeliest words whose probabilities reach it (Holtzman et al. 2020). What is
    reported as `word_logp` is the model's own log-probability, whatever was left out, so the samples can be used
    as they are in self-critical training. The n captions are ordered by log-probability and may be equal.
    The same seed and the same batch give the same captions; a batch is not the same as its images one by one.

    Args:
        temperature: float from 0.001 to 1000. Below 1 is more cautious, above 1 bolder. Defaults to `1.0`.
        top_k: int. Only the `top_k` likeliest words; 0 for all. Defaults to `0`.
        top_p: float in (0, 1]. Defaults to `1.0`: all words.
        n: int, at most 10,000. Captions of an image. Defaults to `1`.
        seed: int or None. Without one, here or in `generate`, each run draws other captions. Defaults to `None`.
        **rules: `rerank` and the options of every strategy, see `Strategy` and `RULES`.

    Raises:
        SpecError: for an option out of range.

    Example:
        >>> Sample(temperature=0.7, top_p=0.9, n=5, seed=1).n_best
        5
    """

    def __init__(
        self,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        n: int = 1,
        seed: int | None = None,
        **rules: Any,
    ):
        n = checks.integer(n, "n", 1, MAX_SAMPLES)
        super().__init__(LengthPenalty(0.0), n, n, **rules)
        self.temperature = checks.number(temperature, "temperature", *TEMPERATURES)
        self.top_k = checks.integer(top_k, "top_k", 0)
        self.top_p = checks.number(top_p, "top_p", 0.0, 1.0, above=True)
        self.seed = None if seed is None else checks.integer(seed, "seed", 0)

    def initial_logp(self) -> list[float]:
        """All n beams start alike: random draws tell them apart."""
        return [0.0] * self.rows

    def begin(self, images: Array, task: Task) -> Any:
        """The seed of this search: int32 [2]."""
        if task.seed is not None:
            return task.seed
        if self.seed is not None:
            return xp.constant([self.seed % 2**31, self.seed // 2**31 % 2**31], xp.int32)
        return xp.random.uniform([2], maxval=2**31 - 1, dtype=xp.int32)

    def choose(self, step: Step, strategy_state: Any, task: Task) -> Choice:
        """Draws one word for each beam: the largest of logits plus Gumbel noise (Gumbel 1954)."""
        # Divided by a high temperature, forbidden logits would become possible: they are set again.
        tempered = xp.where(possible(step.allowed), step.allowed / self.temperature, FORBIDDEN)
        logits = truncate(tempered, self.top_k, self.top_p)
        seed = xp.random.experimental.stateless_fold_in(strategy_state, step.t)
        noise = xp.random.stateless_uniform(xp.shape(logits), seed, minval=1e-30)
        ids = xp.argmax(logits - xp.math.log(-xp.math.log(noise)), axis=-1, output_type=xp.int32)
        word_logp = xp.gather(step.allowed, ids, batch_dims=2) - step.normaliser[..., 0]
        return Choice(None, *freeze_ended(step.ended, ids, word_logp), strategy_state)


def truncate(logits: Array, top_k: int, top_p: float) -> Array:
    """Logits [..., V] with `FORBIDDEN` wherever top-k or top-p leaves a word out; ties stay in."""
    if 0 < top_k < logits.shape[-1]:
        least = xp.math.top_k(logits, top_k).values[..., -1:]
        logits = xp.where(logits < least, FORBIDDEN, logits)
    if top_p < 1.0:
        ordered = xp.math.top_k(logits, logits.shape[-1]).values
        before = xp.cumsum(xp.nn.softmax(ordered), axis=-1, exclusive=True)
        # The likeliest word has nothing before it and always stays.
        least = xp.reduce_min(xp.where(before < top_p, ordered, -FORBIDDEN), axis=-1, keepdims=True)
        logits = xp.where(logits < least, FORBIDDEN, logits)
    return logits
