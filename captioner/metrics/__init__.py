"""Metrics: our own implementations and the reference implementation (pycocoevalcap).

Every figure is a claim with a source (see the module of each metric) and is reported x100. The reference is
coco-caption (the package pycocoevalcap); ours agree with it on the same words, and each module says where
they differ.
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
