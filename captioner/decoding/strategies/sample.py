"""Sampling: captions drawn from the model's own distribution, or from a sharpened or clipped one."""

from __future__ import annotations

from typing import Any

from captioner import checks
from captioner.decoding.backend import tf
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import FORBIDDEN, Task, possible
from captioner.decoding.strategy import Choice, Step, Strategy, frozen

# Outside this range the quotients of float32 logits are all alike, or infinite.
TEMPERATURES = (1e-3, 1e3)
MOST_DRAWS = 10_000  # captions an image: each is a row of the search


class Sample(Strategy):
    """`n` captions drawn at random, word by word.

    First the temperature divides the logits, then `top_k` keeps the likeliest words (Fan et al. 2018), then
    `top_p` the smallest set of likeliest words whose probabilities reach it (Holtzman et al. 2020). What is
    reported as `word_logp` is the model's own log-probability, whatever was clipped, so the draws can serve
    as they are for self-critical training. The n captions are ordered by log-probability and may be equal.
    The same seed and the same batch give the same captions; a batch is not the same as its images one by one.

    Args:
        temperature: float from 0.001 to 1000. Below 1 is more cautious, above 1 bolder. Defaults to `1.0`.
        top_k: int. Only the `top_k` likeliest words; 0 for all. Defaults to `0`.
        top_p: float in (0, 1]. Defaults to `1.0`: all words.
        n: int, at most 10,000. Captions an image. Defaults to `1`.
        seed: int or None. Without one, here or in `generate`, each run draws anew. Defaults to `None`.
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
        n = checks.integer(n, "n", 1, MOST_DRAWS)
        super().__init__(LengthPenalty(0.0), n, n, **rules)
        self.temperature = checks.number(temperature, "temperature", *TEMPERATURES)
        self.top_k = checks.integer(top_k, "top_k", 0)
        self.top_p = checks.number(top_p, "top_p", 0.0, 1.0, above=True)
        self.seed = None if seed is None else checks.integer(seed, "seed", 0)

    def fresh_logp(self) -> list[float]:
        """All n live from the start: they part by chance."""
        return [0.0] * self.rows

    def begin(self, images: tf.Tensor, task: Task) -> Any:
        """The seed of this search."""
        if task.seed is not None:
            return task.seed
        if self.seed is not None:
            return tf.constant([self.seed % 2**31, self.seed // 2**31 % 2**31], tf.int32)
        return tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)

    def choose(self, step: Step, own: Any, task: Task) -> Choice:
        """Draws one word a beam, by the largest of logits plus Gumbel noise (Gumbel 1954)."""
        # What is forbidden stays so whatever the temperature: the logits are divided first, then closed again.
        warmed = tf.where(possible(step.allowed), step.allowed / self.temperature, FORBIDDEN)
        logits = clip(warmed, self.top_k, self.top_p)
        seed = tf.random.experimental.stateless_fold_in(own, step.t)
        noise = tf.random.stateless_uniform(tf.shape(logits), seed, minval=1e-30)
        ids = tf.argmax(logits - tf.math.log(-tf.math.log(noise)), axis=-1, output_type=tf.int32)
        word_logp = tf.gather(step.allowed, ids, batch_dims=2) - step.normaliser[..., 0]
        return Choice(None, *frozen(step.ended, ids, word_logp), own)


def clip(logits: tf.Tensor, top_k: int, top_p: float) -> tf.Tensor:
    """Logits [..., V] with `FORBIDDEN` wherever top-k or top-p leaves a word out; ties stay in."""
    if 0 < top_k < logits.shape[-1]:
        least = tf.math.top_k(logits, top_k).values[..., -1:]
        logits = tf.where(logits < least, FORBIDDEN, logits)
    if top_p < 1.0:
        ordered = tf.math.top_k(logits, logits.shape[-1]).values
        before = tf.cumsum(tf.nn.softmax(ordered), axis=-1, exclusive=True)
        # The likeliest word has nothing before it and always stays.
        least = tf.reduce_min(tf.where(before < top_p, ordered, -FORBIDDEN), axis=-1, keepdims=True)
        logits = tf.where(logits < least, FORBIDDEN, logits)
    return logits
