"""What a strategy is: it chooses. Rules forbid (`rules.py`), a ranker ranks, `search.py` walks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from captioner.decoding.backend import tf
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import FORBIDDEN, Rule, Task
from captioner.decoding.tables import RULES
from captioner.errors import SpecError
from captioner.registry import Spec, unknown
from captioner.rerank import RERANKERS
from captioner.types import PAD


class Step(NamedTuple):
    """What a strategy sees at one step.

    Attributes:
        t: int32 scalar. Ids chosen so far by a beam that has not ended.
        allowed: float32 [B, K, V]. Logits, with `FORBIDDEN` added where a rule says so.
        normaliser: float32 [B, K, 1]. Log of the sum of exp(logits): `allowed - normaliser` is the model's
            own log-probability wherever nothing is forbidden.
        logp: float32 [B, K]. Of the beams so far.
        ended: bool [B, K].
    """

    t: tf.Tensor
    allowed: tf.Tensor
    normaliser: tf.Tensor
    logp: tf.Tensor
    ended: tf.Tensor


class Choice(NamedTuple):
    """What a strategy answers: the K beams after the step.

    Attributes:
        parents: int32 [B, K], the beam each one continues; None when every beam continues itself.
        ids: int32 [B, K]. `<pad>` for a beam that had ended.
        word_logp: float32 [B, K]. The model's log-probability of `ids`; 0 for a beam that had ended.
        own: tree. The strategy's own state after the step.
    """

    parents: tf.Tensor | None
    ids: tf.Tensor
    word_logp: tf.Tensor
    own: Any = ()


class Strategy:
    """Base of all strategies. A strategy holds options only, so one object serves any number of searches.

    Every strategy takes the options of its `__init__`, one option for each row of `RULES`, and, unless it finds a
    single caption (`n_best_list = False`), the option `rerank`.

    Args:
        ranker: LengthPenalty. Scores captions of different lengths.
        rows: int. K, the beams an image has.
        n_best: int. The captions returned an image.
        rerank: spec of `RERANKERS`, or None. What chooses the `n_best` among the captions of all K beams when search is
            over, and gives them their `score`. Defaults to `None`: the `ranker` does.
        **rules: values for options named in `RULES`.

    Attributes:
        reranker: Reranker or None.
        list_size: int. The captions that search itself returns: `rows` if they are reranked, else `n_best`.

    Raises:
        SpecError: for an option that is not known or out of range.
    """

    __signature__: inspect.Signature
    n_best_list = True

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        # The registry reads signatures, for its messages and help: spell the shared options out there.
        own = list(inspect.signature(cls.__init__).parameters.values())[1:]
        own = [p for p in own if p.kind is not p.VAR_KEYWORD]
        kind = inspect.Parameter.KEYWORD_ONLY
        shared = [inspect.Parameter(name, kind, default=RULES[name].default) for name in RULES]
        if cls.n_best_list:
            shared.insert(0, inspect.Parameter("rerank", kind, default=None))
        cls.__signature__ = inspect.Signature(own + shared)

    def __init__(
        self,
        ranker: LengthPenalty,
        rows: int = 1,
        n_best: int = 1,
        rerank: str | Spec | None = None,
        **rules: Any,
    ):
        self.ranker, self.rows, self.n_best = ranker, rows, n_best
        shared = {"rerank": rerank, **rules} if rerank is not None else rules
        for name in shared:
            if name not in RULES.names() and not (name == "rerank" and self.n_best_list):
                raise SpecError(unknown("option", name, type(self).__signature__.parameters))
        self.reranker = None if rerank is None else _build_reranker(rerank)
        self.list_size = n_best if rerank is None else rows
        self.rules: tuple[Rule, ...] = tuple(
            RULES[name](rules.get(name, RULES[name].default)) for name in RULES
        )

    def under(self, rules: tuple[Rule, ...]) -> Strategy:
        """This strategy with other rules; changes and returns it."""
        self.rules = rules
        return self

    def bind(self, task: Task) -> Strategy:
        """The strategy for one task: itself, unless what it does depends on the task.

        Raises:
            SpecError: if the strategy cannot do this task.
        """
        return self

    def search_rows(self, words: Callable[[str], Sequence[str]]) -> int:
        """The beams that a search for one image has: what it costs, known before there is a model.

        Args:
            words: callable that splits a text into words, as the tokenizer will.

        Returns:
            int. `rows`, unless `bind` makes a larger search of it.
        """
        return self.rows

    def fit(self, size: int) -> None:
        """Raises a `SpecError` if a vocabulary of `size` is too small for the strategy."""

    def fresh_logp(self) -> list[float]:
        """The K log-probabilities before the first word.

        One beam lives, the others are impossible: K equal beams would stay equal for ever.
        """
        return [0.0] + [FORBIDDEN] * (self.rows - 1)

    def begin(self, images: tf.Tensor, task: Task) -> Any:
        """The strategy's own state for B images."""
        return ()

    def choose(self, step: Step, own: Any, task: Task) -> Choice:
        """Chooses the K beams after a step."""
        raise NotImplementedError

    def order(self, score: tf.Tensor, own: Any) -> tf.Tensor:
        """What the n best are chosen by, [B, K]: the score unless something matters more; `FORBIDDEN` to leave out."""
        return score


def _build_reranker(spec: str | Spec) -> Any:
    from captioner.rerank.base import Reranker  # which is itself written in this package's arrays

    reranker = RERANKERS.build(spec)
    if not isinstance(reranker, Reranker):
        got = type(reranker).__name__
        raise SpecError(f"expected a Reranker of captioner.rerank, got {got}: derive it from Reranker")
    return reranker


def frozen(ended: tf.Tensor, ids: tf.Tensor, word_logp: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """`ids` and `word_logp`, with `<pad>` and 0 where the beam had ended."""
    return tf.where(ended, PAD, ids), tf.where(ended, 0.0, word_logp)
