"""Rules: which words are forbidden at a step. They add `FORBIDDEN` to logits and never renormalise.

A caption's log-probability therefore stays the model's own: forbidding a word does not make the others
likelier. `<pad>` and `<start>` are always forbidden, by `Rules` itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from captioner import checks
from captioner.decoding.backend import Array, xp
from captioner.errors import DataError, ModelError, SpecError
from captioner.types import END, PAD, START, UNK

# Finite, so that nothing downstream meets an infinity or a NaN, which JSON cannot hold.
FORBIDDEN = -1e9


class Task(NamedTuple):
    """The arguments of one call of `generate`, besides the model.

    Attributes:
        max_length: int. T, the most ids a caption may have.
        tokenizer: the tokenizer, or None; needed by options that hold words.
        seed: int32 tensor [2], or None where nothing is drawn at random.
    """

    max_length: int
    tokenizer: Any = None
    seed: Any = None


def possible(logp: Array) -> Array:
    """Whether a log-probability is that of a hypothesis that no rule forbade: bool, shaped like `logp`."""
    return logp > FORBIDDEN / 2


def word_ids(text: str, task: Task, option: str) -> list[int]:
    """Ids of the words of an option.

    Args:
        text: str. A word or a phrase, normalised as captions are.
        task: Task. Its tokenizer is used.
        option: str. For the message.

    Returns:
        list of int, without `<end>`.

    Raises:
        SpecError: without a tokenizer, for an empty text, or for a word outside the vocabulary.
    """
    if task.tokenizer is None:
        raise SpecError(f"{option} holds words, which need a tokenizer: pass tokenizer= to generate")
    try:
        ids = [i for i in task.tokenizer.encode(text) if i != END]
    except DataError:
        raise SpecError(f"{option} expects words, got {text!r}, which holds none") from None
    if UNK in ids:
        known = " ".join(task.tokenizer.words(ids))
        raise SpecError(
            f"{option} expects words of the vocabulary, got {text!r}, which reads {known!r} to it"
        )
    return ids


def words_option(value: Any, option: str) -> tuple[str, ...]:
    """Checks that an option is a list of strings, and drops repeats."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if not is_list or not all(isinstance(w, str) for w in value):
        raise SpecError(f"{option} expects a list of words such as ['dog'], got {value!r}")
    return tuple(dict.fromkeys(value))


class Rule:
    """Base of all rules. Subclasses forbid ids at every step (`fixed`) or at some steps (`forbid`).

    A rule may keep a state, a tree whose leaves lead with the rows R; search gathers it by back-pointer like
    the model's. No rule but `min_length` may forbid `<end>`: where all words are forbidden the caption must
    be able to end.

    Args:
        value: the value of the option.
    """

    default: Any = None
    forbids_end = False

    def check(self, task: Task) -> None:
        """Raises a `SpecError` if the rule cannot hold for this task."""

    def fixed(self, size: int, task: Task) -> list[int]:
        """Ids that are forbidden at every step, for a vocabulary of `size`."""
        return []

    def start(self, rows: Array, task: Task) -> Any:
        """The rule's state before the first word, for R rows."""
        return ()

    def forbid(self, t: Array, state: Any, size: int) -> Array | None:
        """What to add to the logits at step t: [V] or [R, V] of 0 and `FORBIDDEN`, or None."""
        return None

    def advance(self, state: Any, ids: Array) -> Any:
        """The state after `ids` [R] were chosen (rows already in their new order)."""
        return state


class MinLength(Rule):
    """Captions have at least this many words (`<end>` not counted).

    Where every word is forbidden as well, the caption ends early rather than hold a forbidden word.

    Args:
        value: int. Defaults to `0`.
    """

    default = 0

    def __init__(self, value: int = 0):
        self.value = checks.integer(value, "min_length", 0)
        self.forbids_end = self.value > 0

    def check(self, task: Task) -> None:
        """Raises a `SpecError` if captions cannot get that long."""
        if self.value > task.max_length:
            raise SpecError(f"min_length expects at most max_length={task.max_length}, got {self.value}")

    def forbid(self, t: Array, state: Any, size: int) -> Array | None:
        """Forbids `<end>` until there are enough words."""
        if not self.value:
            return None
        return xp.where(t < self.value, FORBIDDEN, 0.0) * one_hot(END, size)


class NoRepeatNgram(Rule):
    """No sequence of this many words occurs twice in a caption (Paulus et al. 2018, section 2.5).

    Args:
        value: int. The n of the n-gram; 1 forbids every repeated word. Defaults to `0`: off.
    """

    default = 0

    def __init__(self, value: int = 0):
        self.value = checks.integer(value, "no_repeat_ngram", 0)

    def start(self, rows: Array, task: Task) -> Any:
        """The words so far, last word last, -1 where there is none yet: int32 [R, T]."""
        if not 0 < self.value <= task.max_length:
            return ()
        return xp.fill(xp.stack([rows, task.max_length]), -1)

    def forbid(self, t: Array, state: Any, size: int) -> Array | None:
        """Forbids every word that has already followed the last n - 1 words."""
        if isinstance(state, tuple):
            return None
        n, length = self.value, state.shape[1]
        followers = state[:, n - 1 :]
        matches = followers >= 0
        for j in range(n - 1):
            matches &= state[:, j : length - n + 1 + j] == state[:, length - n + 1 + j, xp.newaxis]
        rows = xp.shape(state)[0]
        row = xp.broadcast_to(xp.range(rows)[:, xp.newaxis], xp.shape(followers))
        indices = xp.stack([row, xp.maximum(followers, 0)], axis=-1)
        return xp.scatter_nd(indices, xp.where(matches, FORBIDDEN, 0.0), xp.stack([rows, size]))

    def advance(self, state: Any, ids: Array) -> Any:
        """Appends the new word and drops the oldest."""
        if isinstance(state, tuple):
            return state
        return xp.concat([state[:, 1:], ids[:, xp.newaxis]], axis=1)


class Banned(Rule):
    """Words that never occur.

    Args:
        value: list of str, each one word of the vocabulary. Defaults to `()`.
    """

    default = ()

    def __init__(self, value: Sequence[str] = ()):
        self.value = words_option(value, "banned")

    def check(self, task: Task) -> None:
        """Raises a `SpecError` for anything but single words of the vocabulary."""
        self.fixed(0, task)

    def fixed(self, size: int, task: Task) -> list[int]:
        """The words' ids."""
        ids = []
        for word in self.value:
            word_pieces = word_ids(word, task, "banned")
            if len(word_pieces) > 1:
                raise SpecError(f"banned expects single words, got {word!r}: name one of its words")
            ids += word_pieces
        return ids


class AllowUnknown(Rule):
    """Whether captions may hold `<unk>`.

    Args:
        value: bool. Defaults to `False`.
    """

    default = False

    def __init__(self, value: bool = False):
        if not isinstance(value, bool):
            raise SpecError(f"allow_unknown expects True or False, got {value!r}")
        self.value = value

    def fixed(self, size: int, task: Task) -> list[int]:
        """`<unk>`, unless it is allowed."""
        return [] if self.value else [UNK]


class Rules:
    """All rules of a strategy together, applied to the logits of a step.

    Args:
        rules: sequence of Rule.
        task: Task.
    """

    def __init__(self, rules: Sequence[Rule], task: Task):
        self.rules = tuple(rules)
        self.task = task
        for rule in self.rules:
            rule.check(task)

    def start(self, rows: Array) -> Any:
        """The rules' states for R rows."""
        return tuple(rule.start(rows, self.task) for rule in self.rules)

    def advance(self, state: Any, ids: Array) -> Any:
        """The states after `ids` [R]."""
        return tuple(rule.advance(s, ids) for rule, s in zip(self.rules, state, strict=True))

    def apply(self, logits: Array, t: Array, state: Any) -> Array:
        """Logits [R, V] with `FORBIDDEN` added where a rule says so; at least one id stays possible."""
        size = logits.shape[-1]
        if size is None:
            raise ModelError("expected a head with a fixed number of words, got logits of unknown width")
        forbidden = [PAD, START] + [i for rule in self.rules for i in rule.fixed(size, self.task)]
        fixed = np.zeros(size, np.float32)
        fixed[forbidden] = FORBIDDEN
        allowed = logits + fixed
        for rule, rule_state in zip(self.rules, state, strict=True):
            penalty = rule.forbid(t, rule_state, size)
            if penalty is not None:
                allowed += penalty
        if any(rule.forbids_end for rule in self.rules):
            stuck = ~possible(xp.reduce_max(allowed, axis=-1, keepdims=True))
            allowed = xp.where(stuck, logits + FORBIDDEN * (1.0 - one_hot(END, size)), allowed)
        return allowed


def one_hot(index: int, size: int) -> np.ndarray:
    """float32 [size], 1 at `index`."""
    return np.eye(1, size, index, dtype=np.float32)[0]
