"""The model folder on disk, read and written without TensorFlow.

    captioner.json      format version, model config as spec strings, language, strategy (if the model has one of its
                        own), checksums; it makes the folder a bundle
    model.weights.h5    the weights, as Keras saves them
    vocab.txt           the vocabulary, one word a line
    card.md             optional, for people: what the model is, and was trained on
    metrics.json        optional, its scores
    confidence.json     optional, the calibration of its confidence
    expectation.npz     optional, the fitted parameters of the reranker "cider_regression" (`captioner.rerank`)
    ood.npz             optional, what tells images unlike the training images (`captioner.outputs.ood`)

Only the weights and the vocabulary carry checksums: people may edit the card. Other files in the folder (exports,
notes) are never changed. A bundle is replaced atomically, by the rename of its manifest (see
`captioner.bundle.transaction`): a reader sees either the old bundle or the new one, whatever stops the writer.
"""

from captioner.bundle.files import (
    CALIBRATION,
    CARD,
    CONFIDENCE,
    FILES,
    FORMAT,
    MANIFEST,
    METRICS,
    OOD,
    RERANKER_FILES,
    VOCABULARY,
    WEIGHTS,
)
from captioner.bundle.reading import Bundle, find, has_weights, opened, read
from captioner.bundle.writing import add_file, amend, check_free, recover, version, write

__all__ = [
    "CALIBRATION",
    "CARD",
    "CONFIDENCE",
    "FILES",
    "FORMAT",
    "MANIFEST",
    "METRICS",
    "OOD",
    "RERANKER_FILES",
    "VOCABULARY",
    "WEIGHTS",
    "Bundle",
    "add_file",
    "amend",
    "check_free",
    "find",
    "has_weights",
    "opened",
    "read",
    "recover",
    "version",
    "write",
]
