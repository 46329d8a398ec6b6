"""Reranking: what happens to an n-best list after search. A reranker scores its hypotheses, the best of them stay."""

from captioner.registry import Table

# What the option `rerank` of the strategies names, such as `beam(width=20, rerank="mbr(temperature=2.0)")`.
RERANKERS = Table(
    "reranker",
    {
        "mbr": "captioner.rerank.mbr:MinimumBayesRisk",
        "cider_regression": "captioner.rerank.cider_regression:CiderRegressionReranker",
    },
)

__all__ = ["RERANKERS"]
