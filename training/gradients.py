"""How much the last word's loss feels each earlier state: a picture of vanishing and exploding gradients.

For every step t the norm of d loss(T) / d state(t) is recorded, over the cell's own states, averaged over a few
captions (Pascanu et al. 2013, section 2). A simple RNN's fall or rise exponentially with the distance T - t; gates
keep them level. Training writes a row an epoch into `gradients.csv`; this program draws runs side by side:

    python training/gradients.py runs/flickr8k_simple_rnn runs/flickr8k_gru runs/flickr8k_lstm --out gradients.png
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from captioner.types import START


def norms(model: Any, inputs: Any, captions: Sequence[Sequence[int]]) -> np.ndarray:
    """Gradient norms of the last word's loss at each earlier state.

    Args:
        model: CaptionModel.
        inputs: features [B, L, C], or pixels [B, H, W, 3].
        captions: B id sequences of one length T.

    Returns:
        float64 [T]: mean over captions of ||d loss(T) / d state(t)||, t = 0 (the state before the first word) to
        T - 1.
    """
    import keras
    import tensorflow as tf

    ids = np.asarray(captions, np.int32)
    words = np.concatenate([np.full((len(ids), 1), START, np.int32), ids], axis=1)
    inputs = tf.convert_to_tensor(inputs)
    features = model.encode(inputs) if inputs.shape.rank == 4 else inputs

    def run() -> list[Any]:
        watched = []
        with tf.GradientTape() as tape:
            memory, state = model.start(features)
            for t in range(ids.shape[1]):
                # A state may name one tensor twice, and may carry what no step changes; each counts once or not.
                known = {id(leaf) for leaves in watched for leaf in leaves}
                leaves = list(
                    {id(leaf): leaf for leaf in keras.tree.flatten(state) if leaf.dtype.is_floating}.values()
                )
                leaves = [leaf for leaf in leaves if id(leaf) not in known]
                tape.watch(leaves)
                watched.append(leaves)
                output, _, state = model.step(tf.constant(words[:, t]), memory, state)
            logits = model.head(output)
            loss = keras.ops.sparse_categorical_crossentropy(ids[:, -1], logits, from_logits=True)
        flat = tape.gradient(loss, [leaf for leaves in watched for leaf in leaves])
        found, taken = [], iter(flat)
        for leaves in watched:
            squares = tf.zeros(len(ids))
            for leaf in leaves:
                gradient = next(taken)
                if gradient is not None:
                    squares += tf.reduce_sum(tf.square(tf.reshape(gradient, (leaf.shape[0], -1))), axis=1)
            found.append(tf.reduce_mean(tf.sqrt(squares)))
        return found

    return np.array([float(value) for value in run()])


def record(model: Any, inputs: Any, captions: Sequence[Sequence[int]], path: Path, epoch: int) -> None:
    """Adds one epoch's norms to a CSV with the columns epoch, step, norm (an epoch done again replaces its rows)."""
    rows = [row for row in _rows(path) if int(row[0]) < epoch] if path.is_file() else []
    rows += [[str(epoch), str(t), f"{value:.6e}"] for t, value in enumerate(norms(model, inputs, captions))]
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["epoch", "step", "norm"])
        writer.writerows(rows)


def _rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as handle:
        return list(csv.reader(handle))[1:]
