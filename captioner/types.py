"""Plain data types: captions, hypotheses, special token ids. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

# The four special ids, the same in every vocabulary: padding, start and end of a caption, and a word outside the
# vocabulary.
PAD, START, END, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<start>", "<end>", "<unk>")

# What a model that knows its limits does with an image: captions it, captions it with reservations, or declines to.
OUTCOMES = CAPTIONED, HEDGED, DECLINED = ("caption", "hedged", "declined")


@dataclass(frozen=True, eq=False, repr=False)
class Caption:
    """A caption of an image, or the error that prevented one.

    Attributes:
        text: str. What to show: the sentence, or what `outcome` makes of it; empty when `error` is set.
        score: float. The ranking score: `logp` divided by the length penalty of the strategy.
        words: tuple of str. The words, without special tokens.
        logp: float. Log-probability of the caption, its end token included, in nats.
        word_logp: tuple of float. Log-probability of each word; their sum plus that of the end token is `logp`.
        attention: float32 array [T, H, W], one map a word that sums to 1 or less (the rest is that of the sentinel,
            in models that have one), or None for a model without attention.
        alternatives: tuple of Caption. The other captions of the n-best list, best first.
        error: str or None. The reason why the image has no caption.
        outcome: str or None. One of `OUTCOMES`: "caption", "hedged" ("Perhaps: a dog"), or "declined", for an image
            unlike anything that the model was trained on, whose text says so. None for a model that was not fitted to
            tell (`training/fit_ood.py`).
        ood_score: float or None. How unlike the training images the image is, about 1 for one of them; see
            `captioner.outputs.ood`. None for a model that was not fitted to tell.
        sentence: str or None. The sentence of the model where `text` is another; `caption` has it in all cases.

    Example:
        >>> Caption("a dog", -1.5, ("a", "dog"), -1.5, (-0.5, -0.7))
        Caption('a dog', score=-1.50, 2 words)
        >>> unsure = Caption("Perhaps: a dog", words=("a", "dog"), outcome="hedged", sentence="a dog")
        >>> unsure.text, unsure.caption
        ('Perhaps: a dog', 'a dog')
    """

    text: str
    score: float = 0.0
    words: tuple[str, ...] = ()
    logp: float = 0.0
    word_logp: tuple[float, ...] = ()
    attention: np.ndarray | None = None
    alternatives: tuple[Caption, ...] = ()
    error: str | None = None
    outcome: str | None = None
    ood_score: float | None = None
    sentence: str | None = None

    @property
    def caption(self) -> str:
        """The sentence as the model wrote it, whatever the outcome; what metrics and search for errors need."""
        return self.text if self.sentence is None else self.sentence

    @property
    def ok(self) -> bool:
        """Whether the image got a caption."""
        return self.error is None

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal, attention element by element."""
        if not isinstance(other, Caption):
            return NotImplemented
        mine, theirs = self.attention, other.attention
        if mine is None or theirs is None:
            return mine is theirs and self._hashable() == other._hashable()
        return self._hashable() == other._hashable() and np.array_equal(mine, theirs)

    def __hash__(self) -> int:
        return hash(self._hashable())

    def _hashable(self) -> tuple[Any, ...]:
        """All fields but the attention, which has no hash."""
        names = (field.name for field in fields(self) if field.name != "attention")
        return tuple(getattr(self, name) for name in names)

    def __repr__(self) -> str:
        if not self.ok:
            return f"Caption(error={self.error!r})"
        parts = [
            repr(self.text),
            f"score={self.score:.2f}",
            f"{len(self.words)} word{'s' * (len(self.words) != 1)}",
        ]
        if self.attention is not None:
            parts.append(f"attention {'x'.join(map(str, self.attention.shape))}")
        if self.alternatives:
            parts.append(f"{len(self.alternatives)} alternative{'s' * (len(self.alternatives) > 1)}")
        if self.outcome is not None:
            parts.append(self.outcome)
        return f"Caption({', '.join(parts)})"

    def __str__(self) -> str:
        return self.text if self.ok else f"[{self.error}]"


class Hypotheses(NamedTuple):
    """Hypotheses of a search: K finished or truncated captions an image, best first. Tensors or arrays.

    A `NamedTuple`, which `tf.function` and `tf.nest` accept as a structure.

    Attributes:
        ids: int32 [B, K, T]. Word ids without `<start>`; in finished captions `<end>`, then `<pad>`.
        lengths: int32 [B, K]. Number of ids, the end token included.
        logp: float32 [B, K]. Sum of `word_logp`.
        score: float32 [B, K]. The ranking score.
        word_logp: float32 [B, K, T]. The model's log-probability of each id; 0 after the end.
        attention: float32 [B, K, T, L]. 0 after the end.
    """

    ids: Any
    lengths: Any
    logp: Any
    score: Any
    word_logp: Any
    attention: Any
