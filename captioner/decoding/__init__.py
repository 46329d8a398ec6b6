"""Decoding: from image features to captions, inside the graph. Strategies choose, rules forbid, a ranker ranks."""

from captioner.decoding.generate import generate
from captioner.decoding.strategy import Strategy
from captioner.decoding.tables import RULES, STRATEGIES
from captioner.decoding.teacher_forcing import teacher_forced_logp

__all__ = ["RULES", "STRATEGIES", "Strategy", "generate", "teacher_forced_logp"]
