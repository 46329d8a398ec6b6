"""Knowledge distillation: a loss on another model's distributions over words, beside that on the references.

References say which word came next; a teacher says which others might have (Hinton et al. 2015, "Distilling the
knowledge in a neural network"). A teacher that is an ensemble, or just another seed (Furlanello et al. 2018,
"Born-again neural networks"), keeps a student from overfitting a small dataset.
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
    """The distillation loss of a teacher.

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
            inputs: those of the student, see `CaptionModel`.
            logits: those of the student, [M, V].
        """
        teacher_logits = ops.cast(ops.stop_gradient(self._model(inputs, training=False)), "float32")
        target = ops.softmax(teacher_logits / self._temperature)
        losses = ops.categorical_crossentropy(
            target, ops.cast(logits, "float32") / self._temperature, from_logits=True
        )
        # Padding rows, and steps after a caption's end, count nothing.
        ids = ops.concatenate(inputs["steps"], axis=0)
        mask = ops.cast(ops.logical_and(ids != PAD, ids != END), "float32")
        return self._weight * self._temperature**2 * ops.sum(losses * mask) / ops.sum(mask)


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
        ModelError: if its images have another size, or, for a frozen encoder, its encoder is another one.
    """
    teacher = read_with_vocabulary(folder, "the teacher ", student.tokenizer)
    if tuple(teacher.config["image_size"]) != student.image_size:
        raise ModelError(
            f"expected the teacher {folder} to take images of {student.image_size}, the student's size, it takes "
            f"{tuple(teacher.config['image_size'])}"
        )
    model = network(teacher, trust)
    if not student.encoder.trainable and not _same_features(student.encoder, model.encoder):
        raise ModelError(
            f"expected the teacher {folder} to have the student's encoder, as both read the same cached features, "
            f"it has another: {teacher.config['encoder']}"
        )
    return Teacher(model, weight, temperature)


def read_with_vocabulary(folder: str, what: str, tokenizer: Tokenizer) -> bundle.Bundle:
    """Reads a model folder whose vocabulary must be that of these training captions.

    Args:
        folder: str. A model folder.
        what: str. How the error message begins to name it, before the folder.
        tokenizer: Tokenizer, of the training captions.

    Raises:
        BundleError: if it is no whole model folder.
        DataError: if its vocabulary is another one.
    """
    content = bundle.read(folder)
    if content.tokenizer.fingerprint != tokenizer.fingerprint:
        raise DataError(
            f"expected {what}{folder} to have the vocabulary of these training captions ({len(tokenizer):,} words), "
            f"got another ({len(content.tokenizer):,})"
        )
    return content


def _same_features(one: Any, other: Any) -> bool:
    """Whether two encoders compute the same features, up to rounding."""
    weights = [encoder.get_weights() for encoder in (one, other)]
    return [w.shape for w in weights[0]] == [w.shape for w in weights[1]] and all(
        np.allclose(a, b, rtol=1e-2, atol=1e-3) for a, b in zip(*weights, strict=True)
    )
