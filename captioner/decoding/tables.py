"""The tables `STRATEGIES` and `RULES`: strategies choose, rules forbid."""

from captioner.registry import Table

STRATEGIES = Table(
    "strategy",
    {
        "greedy": "captioner.decoding.strategies.greedy:Greedy",
        "beam": "captioner.decoding.strategies.beam:Beam",
        "sample": "captioner.decoding.strategies.sample:Sample",
        "diverse": "captioner.decoding.strategies.diverse:Diverse",
        "constrained": "captioner.decoding.strategies.grid_beam:GridBeam",
    },
)

# A row's name is also the name of the option that every strategy has for it.
RULES = Table(
    "rule",
    {
        "min_length": "captioner.decoding.rules:MinLength",
        "no_repeat_ngram": "captioner.decoding.rules:NoRepeatNgram",
        "banned": "captioner.decoding.rules:Banned",
        "allow_unknown": "captioner.decoding.rules:AllowUnknown",
    },
)
