"""Options that run every row of `STRATEGIES` and `RULES` on small probability worlds."""

import itertools

from captioner.decoding import STRATEGIES
from captioner.types import UNK

WORDS = ["ant", "bee", "cat", "dog"]
IDS = dict(zip(WORDS, range(4, 8), strict=True))
KINDS = 6
# Strategies as the contract tests run them, where the defaults would show less.
OPTIONS = {
    "beam": {"width": 4, "n_best": 3},
    "sample": {"n": 3, "seed": 7},
    "diverse": {"width": 4, "groups": 2},
    "constrained": {"must_include": ["bee", "cat dog"], "width": 2, "n_best": 2},
}
# Every rule: its option, and a check of a caption's ids without `<end>`.
RULE_CASES = {
    "min_length": (3, lambda words: len(words) >= 3),
    "no_repeat_ngram": (2, lambda words: len(set(pairs := list(itertools.pairwise(words)))) == len(pairs)),
    "banned": (["ant"], lambda words: IDS["ant"] not in words),
    "allow_unknown": (False, lambda words: UNK not in words),
}


def build_strategy(name: str, **options):
    """A strategy with its options of the contract tests, and further ones."""
    return STRATEGIES[name](**OPTIONS.get(name, {}), **options)
