"""Learning from another model: its distributions over words beside the words of the references.

What people wrote says which word came next; a teacher says which others might have (Hinton et al. 2015, "Distilling
the knowledge in a neural network"). A teacher that is an ensemble, or just another seed (Furlanello et al. 2018,
"Born-again neural networks"), keeps a student from learning a small dataset by heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from captioner import bundle
from captioner.engines.keras import network
from captioner.errors import DataError, ModelError
from captioner.models import CaptionModel
from captioner.text import Tokenizer
from captioner.types import END, PAD


class Teacher:
    """The loss that a teacher adds.

    Args:
        model: CaptionModel.
        weight: float. Of the loss, beside that of the references.
        temperature: float. Both distributions are flattened by it, and the loss is scaled by its square, so that
            gradients keep their size (Hinton et al. 2015, section 2.1).
    """

    def __init__(self, model: CaptionModel, weight: float, temperature: float):
        self._model, self._weight, self._temperature = model, weight, temperature

    def __call__(self, inputs: dict[str, Any], logits: Any) -> Any:
        """Cross-entropy in nats a word with the teacher's distributions, weighted: a scalar.

        Args:
            inputs: what the student is given, see `CaptionModel`.
            logits: the student's, [M, V].
        """
        wanted = ops.cast(ops.stop_gradient(self._model(inputs, training=False)), "float32")
        target = ops.softmax(wanted / self._temperature)
        each = ops.categorical_crossentropy(
            target, ops.cast(logits, "float32") / self._temperature, from_logits=True
        )
        # Rows that fill up a batch, and steps behind a caption's end, count nothing.
        fed = ops.concatenate(inputs["steps"], axis=0)
        live = ops.cast(ops.logical_and(fed != PAD, fed != END), "float32")
        return self._weight * self._temperature**2 * ops.sum(each * live) / ops.sum(live)


def open_teacher(
    folder: str, student: CaptionModel, weight: float, temperature: float, trust: Sequence[str] = ()
) -> Teacher:
    """Loads the model that a student learns from.

    Args:
        folder: str. A model folder.
        student: CaptionModel.
        weight, temperature: see `Teacher`.
        trust: sequence of str, default none; see `captioner.load`.

    Raises:
        BundleError: if it is no whole model folder.
        DataError: if its vocabulary is another one.
        ModelError: if it looks at images of another size, or, where features are kept, with another encoder.
    """
    found = read_of_vocabulary(folder, "the teacher ", student.tokenizer)
    if tuple(found.config["image_size"]) != student.image_size:
        raise ModelError(
            f"expected the teacher {folder} to look at images of {student.image_size}, the student's size, it looks "
            f"at {tuple(found.config['image_size'])}"
        )
    model = network(found, trust)
    if not student.encoder.trainable and not _alike(student.encoder, model.encoder):
        raise ModelError(
            f"expected the teacher {folder} to have the student's encoder, as both see the same kept features, it has "
            f"another: {found.config['encoder']}"
        )
    return Teacher(model, weight, temperature)


def read_of_vocabulary(folder: str, what: str, tokenizer: Tokenizer) -> bundle.Bundle:
    """Reads a model folder whose words must be those of these training captions.

    Args:
        folder: str. A model folder.
        what: str. What the message calls it, before the folder.
        tokenizer: Tokenizer, of the training captions.

    Raises:
        BundleError: if it is no whole model folder.
        DataError: if its vocabulary is another one.
    """
    found = bundle.read(folder)
    if found.tokenizer.fingerprint != tokenizer.fingerprint:
        raise DataError(
            f"expected {what}{folder} to have the vocabulary of these training captions ({len(tokenizer):,} words), "
            f"got another ({len(found.tokenizer):,})"
        )
    return found


def _alike(one: Any, other: Any) -> bool:
    """Whether two encoders give the same features, but for rounding."""
    weights = [encoder.get_weights() for encoder in (one, other)]
    return [w.shape for w in weights[0]] == [w.shape for w in weights[1]] and all(
        np.allclose(a, b, rtol=1e-2, atol=1e-3) for a, b in zip(*weights, strict=True)
    )
