"""Names of the files in a model folder."""

from __future__ import annotations

FORMAT = 2  # 1: decoders that read word and mean feature added the biases of their gates twice
MANIFEST, WEIGHTS, VOCABULARY = "captioner.json", "model.weights.h5", "vocab.txt"
CARD, METRICS, CONFIDENCE = "card.md", "metrics.json", "confidence.json"
# Fitted parameters of rerankers, by their name. The first file keeps the name that format 1 gave it: with another, a
# reader would have to look for both, and a writer to remove the one that it replaces.
RERANKER_FILES = {"cider_regression": "expectation.npz"}
OOD = "ood.npz"  # what `captioner.outputs.ood.OutOfDistribution.save` writes
CALIBRATION = "calibration"  # a folder next to a bundle: images to learn the ranges of 8-bit values from
FILES = (WEIGHTS, VOCABULARY, CARD, METRICS, CONFIDENCE, *RERANKER_FILES.values(), OOD)
