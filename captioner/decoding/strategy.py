"""The base class of search strategies. A strategy chooses; rules forbid, a ranker ranks, `search.py` loops."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from captioner.decoding.backend import Array, xp
from captioner.decoding.ranking import LengthPenalty
from captioner.decoding.rules import FORBIDDEN, Rule, Task
from captioner.decoding.tables import RULES
from captioner.errors import SpecError
from captioner.registry import Spec, unknown
from captioner.rerank import RERANKERS
from captioner.types import PAD


class Step(NamedTuple):
    """The input of `Strategy.choose` at one step.

    Attributes:
        t: int32 scalar. The number of ids of a beam that has not ended.
        allowed: float32 [B, K, V]. Logits, with `FORBIDDEN` added where a rule says so.
        normaliser: float32 [B, K, 1]. Log of the sum of exp(logits): `allowed - normaliser` is the model's
            own log-probability wherever nothing is forbidden.
        logp: float32 [B, K]. Log-probabilities of the beams so far.
        ended: bool [B, K].
    """

    t: Array
    allowed: Array
    normaliser: Array
    logp: Array
    ended: Array


class Choice(NamedTuple):
    """The output of `Strategy.choose`: the K beams after the step.

    Attributes:
        parents: int32 [B, K], the beam that each one continues; None when every beam continues itself.
        ids: int32 [B, K]. `<pad>` for a beam that had ended.
        word_logp: float32 [B, K]. The model's log-probability of `ids`; 0 for a beam that had ended.
        strategy_state: tree. The strategy's state after the step.
    """

    parents: Array | None
    ids: Array
    word_logp: Array
    strategy_state: Any = ()


class Strategy:
    """Base of all strategies. A strategy holds options only, so one object serves any number of searches.

    Every strategy takes the options of its `__init__`, one option for each row of `RULES`, and, unless it finds a
    single caption (`n_best_list = False`), the option `rerank`.

    Args:
        ranker: LengthPenalty. Scores captions of different lengths.
        rows: int. K, the beams of an image.
        n_best: int. The captions returned for an image.
        rerank: spec of `RERANKERS`, or None. Chooses the `n_best` among the captions of all K beams after search, and
            gives them their `score`. Defaults to `None`: the `ranker` does.
        **rules: values for options named in `RULES`.

    Attributes:
        reranker: Reranker or None.
        list_size: int. The captions that search itself returns: `rows` if they are reranked, else `n_best`.

    Raises:
        SpecError: for an option that is unknown or out of range.
    """

    __signature__: inspect.Signature
    n_best_list = True

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        # The registry reads signatures for its messages and help, so the shared options are listed there.
        options = list(inspect.signature(cls.__init__).parameters.values())[1:]
        options = [option for option in options if option.kind is not option.VAR_KEYWORD]
        kind = inspect.Parameter.KEYWORD_ONLY
        shared = [inspect.Parameter(name, kind, default=RULES[name].default) for name in RULES]
        if cls.n_best_list:
            shared.insert(0, inspect.Parameter("rerank", kind, default=None))
        cls.__signature__ = inspect.Signature(options + shared)

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

    def with_rules(self, rules: tuple[Rule, ...]) -> Strategy:
        """Replaces the rules in place and returns the strategy."""
        self.rules = rules
        return self

    def bind(self, task: Task) -> Strategy:
        """The strategy that runs one task: itself, unless it depends on the task.

        Raises:
            SpecError: if the strategy cannot do this task.
        """
        return self

    def search_rows(self, words: Callable[[str], Sequence[str]]) -> int:
        """The number of beams of a search for one image, known before there is a model: its cost.

        Args:
            words: callable that splits a text into words, as the tokenizer does.

        Returns:
            int. `rows`, unless `bind` returns a larger search.
        """
        return self.rows

    def check_vocabulary(self, size: int) -> None:
        """Raises a `SpecError` if a vocabulary of `size` is too small for the strategy."""

    def initial_logp(self) -> list[float]:
        """The K log-probabilities before the first word.

        All but the first beam are impossible: K equal beams would stay equal.
        """
        return [0.0] + [FORBIDDEN] * (self.rows - 1)

    def begin(self, images: Array, task: Task) -> Any:
        """The initial state of the strategy.

        Args:
            images: int32 scalar. B.
            task: Task.
        """
        return ()

    def choose(self, step: Step, strategy_state: Any, task: Task) -> Choice:
        """The K beams after a step."""
        raise NotImplementedError

    def order(self, score: Array, strategy_state: Any) -> Array:
        """The key that sorts the K beams into the n best: float32 [B, K]; `FORBIDDEN` leaves a beam out."""
        return score


def _build_reranker(spec: str | Spec) -> Any:
    from captioner.rerank.base import Reranker  # which imports this package

    reranker = RERANKERS.build(spec)
    if not isinstance(reranker, Reranker):
        got = type(reranker).__name__
        raise SpecError(f"expected a Reranker of captioner.rerank, got {got}: derive it from Reranker")
    return reranker


def freeze_ended(ended: Array, ids: Array, word_logp: Array) -> tuple[Array, Array]:
    """`ids` and `word_logp` [B, K], with `<pad>` and 0 where the beam had ended."""
    return xp.where(ended, PAD, ids), xp.where(ended, 0.0, word_logp)
