"""Reranking: the stage after search that scores an n-best list again and keeps the best of it."""

from captioner.registry import Table

# The specs of the option `rerank` of strategies, such as `beam(width=20, rerank="mbr(temperature=2.0)")`.
RERANKERS = Table(
    "reranker",
    {
        "mbr": "captioner.rerank.mbr:MinimumBayesRisk",
        "cider_regression": "captioner.rerank.cider_regression:CiderRegressionReranker",
    },
)

__all__ = ["RERANKERS"]
