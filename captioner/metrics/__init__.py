"""Metrics: our own implementations and the reference implementation (pycocoevalcap).

Each module names the source of its metric. Scores are x100 unless they are counts. The reference implementation is
coco-caption (the package pycocoevalcap); ours agree with it on the same words, and each module documents the
differences.
"""

from captioner.metrics.base import Scores
from captioner.metrics.cider import ROUGH_BELOW, CiderD, CiderReward, rough, undefined
from captioner.metrics.evaluation import DEFAULT_METRICS, METRICS, Scored, evaluate, scored

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "ROUGH_BELOW",
    "CiderD",
    "CiderReward",
    "Scored",
    "Scores",
    "evaluate",
    "rough",
    "scored",
    "undefined",
]
