"""An ensemble of decoders, which is a decoder itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from captioner.errors import ModelError
from captioner.models.caption_model import CaptionModel
from captioner.models.encoders import Encoder
from captioner.models.packing import PackedLayout
from captioner.registry import Spec, parse_spec


class Ensemble(keras.layers.Layer):
    """An ensemble: word probabilities are the mean of the members', and so is the attention.

    It is a decoder like any other (see `Decoder`), so it is saved, exported and searched like one; members read
    the same features and agree on every word before the next. `joined` makes one of trained models.

    Args:
        vocabulary_size: int. V.
        members: sequence of specs of `DECODERS`. Defaults to `("lstm", "gru")`.
        max_length: int, default 20. Most words of a caption.
        **options: arguments of all members whose specs do not set them.
    """

    def __init__(
        self,
        vocabulary_size: int,
        members: Sequence[str] = ("lstm", "gru"),
        max_length: int = 20,
        **options: Any,
    ):
        from captioner.models.decoders import DECODERS

        super().__init__(name="decoder")
        if isinstance(members, str) or not members:
            raise ModelError(f"ensemble expects members=['lstm', ...], one decoder or more, got {members!r}")
        specs = [parse_spec(member) for member in members]
        self.members = [
            DECODERS.build(
                Spec(spec.name, {**options, **spec.args}),
                vocabulary_size=vocabulary_size,
                max_length=max_length,
            )
            for spec in specs
        ]
        self._ends: list[int] = []

    def build_on(self, locations: int, channels: int) -> None:
        """See `Decoder.build_on`."""
        for member in self.members:
            member.build_on(locations, channels)
        self.built = True

    def from_format_1(self) -> None:
        """See `Decoder.from_format_1`."""
        for member in self.members:
            member.from_format_1()

    def vocabulary_weights(self) -> list[tuple[Any, int]]:
        """See `Decoder.vocabulary_weights`."""
        return [entry for member in self.members for entry in member.vocabulary_weights()]

    def start(self, features: Any, training: bool = False, history: int | None = None) -> tuple[Any, Any]:
        """See `Decoder.start`."""
        started = [member.start(features, training=training, history=history) for member in self.members]
        return [memory for memory, _ in started], [state for _, state in started]

    def read(self, ids: Any, training: bool = False) -> Any:
        """See `Decoder.read`."""
        return [member.read(ids, training=training) for member in self.members]

    def advance(
        self, read: Any, memory: Any, state: Any, layout: PackedLayout | None = None
    ) -> tuple[Any, Any, Any]:
        """See `Decoder.advance`; the outputs of all members, concatenated."""
        steps = [
            member.advance(*inputs, layout)
            for member, *inputs in zip(self.members, read, memory, state, strict=True)
        ]
        outputs, attentions, states = zip(*steps, strict=True)
        self._ends = np.cumsum([output.shape[-1] for output in outputs]).tolist()
        attention = sum(attentions[1:], attentions[0]) / len(attentions)
        return ops.concatenate(outputs, axis=-1), attention, list(states)

    def step(self, ids: Any, memory: Any, state: Any) -> tuple[Any, Any, Any]:
        """See `Decoder.step`."""
        return self.advance(self.read(ids), memory, state)

    def head(self, output: Any, training: bool = False) -> Any:
        """Logarithms of the mean probabilities, [R, V]."""
        parts = ops.split(output, self._ends[:-1], axis=-1)
        heads = zip(self.members, parts, strict=True)
        logits = [member.head(part, training=training) for member, part in heads]
        logp = [scores - ops.logsumexp(scores, axis=-1, keepdims=True) for scores in logits]
        return ops.logsumexp(ops.stack(logp), axis=0) - float(np.log(len(logp)))


def _same_encoder(one: Encoder, two: Encoder) -> bool:
    """Whether two encoders compute the same features, whatever the names of their layers."""
    weights = [encoder.network.get_weights() for encoder in (one, two)]
    return (
        (one.scaling, one.grid, one.image_size) == (two.scaling, two.grid, two.image_size)
        and len(weights[0]) == len(weights[1])
        and all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
    )


def joined(models: Sequence[CaptionModel]) -> CaptionModel:
    """One model of several that share an encoder.

    Args:
        models: sequence of CaptionModel, two or more, with the same vocabulary, encoder and encoder weights.

    Returns:
        `CaptionModel` with an `Ensemble` for its decoder; weights are copied. Its strategy is that of the models if
        all have the same, else `DEFAULT_STRATEGY`.

    Raises:
        ModelError: if they do not fit together.

    Example:
        >>> from captioner.text import Tokenizer
        >>> two = [CaptionModel("small_cnn(width=4)", f"{cell}(units=8, embedding=8, value_dim=8)",
        ...                     Tokenizer(["a", "dog"]), image_size=(32, 32)) for cell in ("lstm", "gru")]
        >>> two[1].encoder.network.set_weights(two[0].encoder.network.get_weights())
        >>> len(joined(two).decoder.members)
        2
    """
    if len(models) < 2:
        raise ModelError(f"expected two models or more to join, got {len(models)}")
    first = models[0]
    for number, model in enumerate(models[1:], 2):
        if model.tokenizer.fingerprint != first.tokenizer.fingerprint:
            raise ModelError(f"expected models of one vocabulary, model {number} has another than the first")
        if not _same_encoder(model.encoder, first.encoder):
            raise ModelError(
                f"expected models with the same encoder and encoder weights, model {number} has others"
            )
    members = [model.get_config()["decoder"] for model in models]
    config = {
        **first.get_config(),
        "decoder": str(Spec("ensemble", {"members": members})),
        "max_length": max(model.max_length for model in models),
    }
    ensemble = CaptionModel.from_config(config, first.tokenizer)
    ensemble.language = first.language
    ensemble.strategy = first.strategy if len({model.strategy for model in models}) == 1 else ""
    ensemble.encoder.network.set_weights(first.encoder.network.get_weights())
    # They depend on what all members share, the encoder and the vocabulary: the first member that has some counts.
    for model in reversed(models):
        ensemble.reranker_parameters |= model.reranker_parameters
        ensemble.ood = model.ood or ensemble.ood
    for member, model in zip(ensemble.decoder.members, models, strict=True):
        for weight, trained in zip(member.weights, model.decoder.weights, strict=True):
            weight.assign(trained)
    return ensemble
