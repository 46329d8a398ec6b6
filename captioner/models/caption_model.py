"""The captioning network: an encoder, a decoder and a vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
from keras import ops

from captioner import checks
from captioner.errors import CaptionerError, ModelError
from captioner.metadata import LARGEST_SIDE, LONGEST
from captioner.models.decoders import DECODERS
from captioner.models.encoders import Encoder, build_encoder
from captioner.models.packing import PackedLayout, for_rows, pack, unpack
from captioner.registry import Spec
from captioner.text import Tokenizer
from captioner.text.languages import ENGLISH
from captioner.types import END, PAD


class CaptionModel(keras.Model):
    """A CNN encoder and a recurrent decoder, with the contract `start / step / head` of `Decoder`.

    Args:
        encoder: spec of `ENCODERS` ("densenet169(weights='imagenet')"), any `keras.Model` from pixels 0..255
            [B, H, W, 3] to a grid [B, h, w, C], or an `Encoder`.
        decoder: spec of `DECODERS`, such as "lstm(units=512)" or "top_down(cell='gru', attention='multi_head')".
        tokenizer: `Tokenizer`.
        max_length: int, default 20. Most ids of a caption, its end token included; 2 to 1000.
        image_size: (height, width), default (224, 224). What images are resized to; a `keras.Model` has its own.
        train_encoder: bool, default False. Whether the encoder's weights are trained too. If not, one built
            from a spec computes in float32 under a mixed precision policy too.

    Raises:
        ModelError: if the encoder or decoder cannot be built.
        SpecError: if a spec names something unknown.

    Call arguments:
        inputs: dict with "features" [B, L, C] or "images" [B, H, W, 3], "steps" (tuple of int32 [n_t]),
            "sorted_indices" and "unsorted_indices": see `captioner.models.packing.Packed`.

    Returns of a call:
        float32 logits [sum of n_t, V].

    Example:
        >>> from captioner.text import Tokenizer
        >>> tokenizer = Tokenizer(["a", "dog", "cat"])
        >>> model = CaptionModel("small_cnn(width=8)", "lstm(units=16, embedding=16, value_dim=16)", tokenizer,
        ...                      image_size=(32, 32))
        >>> model.grid, model.encode(np.zeros((2, 32, 32, 3))).shape
        ((4, 4), TensorShape([2, 16, 32]))
    """

    def __init__(
        self,
        encoder: str | Spec | keras.Model | Encoder | dict,
        decoder: str | Spec,
        tokenizer: Tokenizer,
        max_length: int = 20,
        image_size: tuple[int, int] = (224, 224),
        train_encoder: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.max_length = checks.integer(max_length, "max_length", 2, LONGEST, error=ModelError)
        # Cached features of a frozen encoder serve every run, so they must be the same in each.
        with nullcontext() if train_encoder else _full_precision():
            self.encoder, self._encoder_config = build_encoder(encoder, image_size)
        self.encoder.trainable = train_encoder
        self.image_size, self.grid = self.encoder.image_size, self.encoder.grid
        for side in self.image_size:
            checks.integer(side, "image_size", 1, LARGEST_SIDE, error=ModelError)
        self._decoder_spec = str(decoder)
        try:
            self.decoder = DECODERS.build(decoder, vocabulary_size=len(tokenizer), max_length=self.max_length)
            self.decoder.build_on(self.grid[0] * self.grid[1], self.encoder.channels)
        except CaptionerError:
            raise
        except (TypeError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise ModelError(f"decoder {decoder!s} cannot be built: {reason}") from None
        # Set by training: the weight of doubly stochastic attention (Xu et al. 2015, eq. 14),
        self.attention_penalty = 0.0
        # whether an encoder that is trained keeps its batch statistics and drops no units,
        self.freeze_batch_norm = False
        # and a further loss, a function of the inputs and the logits.
        self.extra_loss: Callable[[dict[str, Any], Any], Any] | None = None
        # The argument of `captioner.outputs.confidence.Confidence`, where the model was calibrated.
        self.calibration: dict[str, Any] | None = None
        # The code of its captions' language, see `captioner.text.languages`.
        self.language = ENGLISH
        # How it chooses words where nobody asks for a strategy, a spec of `captioner.decoding.STRATEGIES`; "" for
        # `captioner.engines.base.DEFAULT_STRATEGY`.
        self.strategy = ""
        # The fitted parameters of rerankers by name, see `captioner.rerank.base.Reranker`.
        self.reranker_parameters: dict[str, Any] = {}
        # The `captioner.outputs.ood.OutOfDistribution` of its encoder and training images, where it was fitted.
        self.ood: Any = None
        self.built = True

    def encode(self, images: Any, training: bool = False) -> Any:
        """Features [B, L, C] of pixels 0..255 [B, H, W, 3], already of `image_size`."""
        return self.encoder(images, training=training)

    def start(self, features: Any) -> tuple[Any, Any]:
        """See `Decoder.start`."""
        return self.decoder.start(features)

    def step(self, ids: Any, memory: Any, state: Any) -> tuple[Any, Any, Any]:
        """See `Decoder.step`."""
        return self.decoder.step(ids, memory, state)

    def head(self, output: Any) -> Any:
        """See `Decoder.head`."""
        return self.decoder.head(output)

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Teacher forcing: logits of every word of a packed batch, the head run once over all steps."""
        features = inputs.get("features")
        if features is None:
            # A frozen encoder also keeps its batch statistics: training and inference must see the same features.
            train_encoder = self.encoder.trainable and not self.freeze_batch_norm
            features = self.encode(inputs["images"], training=training and train_encoder)
        outputs, attentions = self._teacher_force(features, inputs, training)
        if training and self.attention_penalty:
            self.add_loss(
                self.attention_penalty * self.doubly_stochastic_penalty(attentions, inputs["steps"])
            )
        logits = self.decoder.head(ops.concatenate(outputs, axis=0), training=training)
        if training and self.extra_loss is not None:
            self.add_loss(self.extra_loss(inputs, logits))
        return logits

    def _teacher_force(self, features: Any, inputs: dict, training: bool) -> tuple[list[Any], list[Any]]:
        layout, steps = PackedLayout(inputs["sorted_indices"], inputs["unsorted_indices"]), inputs["steps"]
        memory, state = self.decoder.start(features, training=training, history=0)
        state = keras.tree.map_structure(lambda leaf: for_rows(leaf, layout), state)
        counts = [ids.shape[0] for ids in steps]
        read_all = self.decoder.read(ops.concatenate(steps, axis=0), training=training)
        cuts = np.cumsum(counts)[:-1].tolist()
        flat = [ops.split(leaf, cuts, axis=0) for leaf in keras.tree.flatten(read_all)]
        outputs, attentions = [], []
        for step, count in enumerate(counts):
            if step and count != counts[step - 1]:
                state = keras.tree.map_structure(lambda leaf: leaf[:count], state)  # noqa: B023
                layout = layout.first(count)
            read = keras.tree.pack_sequence_as(read_all, [parts[step] for parts in flat])
            output, attention, state = self.decoder.advance(read, memory, state, layout)
            outputs.append(output)
            attentions.append(attention)
        return outputs, attentions

    @staticmethod
    def doubly_stochastic_penalty(attentions: Sequence[Any], steps: Sequence[Any]) -> Any:
        """Mean over captions of sum over locations of (1 - sum over time of attention)^2 (Xu et al. 2015, eq. 14)."""
        alive = [ops.cast(ops.logical_and(ids != PAD, ids != END), "float32") for ids in steps]
        total = ops.zeros_like(attentions[0])
        for attention, rows_alive in zip(attentions, alive, strict=True):
            counted = attention * ops.expand_dims(rows_alive, 1)
            total = total + ops.pad(counted, ((0, total.shape[0] - counted.shape[0]), (0, 0)))
        per_row = ops.sum(ops.square(1.0 - total), axis=-1)
        return ops.sum(per_row * alive[0]) / ops.sum(alive[0])

    def word_logp(
        self, features: Any, captions: Sequence[Sequence[int]], images: Sequence[int] | None = None
    ) -> list:
        """Log-probability of each id of captions under teacher forcing.

        Args:
            features: [B, L, C].
            captions: N id sequences `[w1 .. wn, <end>]`.
            images: N image numbers in 0..B-1; caption i belongs to image i when None.

        Returns:
            N float32 arrays [T_i].
        """
        images = list(range(len(captions))) if images is None else list(images)
        group = int(np.bincount(images).max())
        packed = pack(captions, images, batch=int(features.shape[0]), group=group)
        logits = self({"features": features, **packed.as_inputs()}, training=False)
        logp = ops.log_softmax(logits, axis=-1)
        chosen = ops.take_along_axis(logp, ops.expand_dims(packed.targets, 1), axis=1)[:, 0]
        return unpack(ops.convert_to_numpy(chosen), packed)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the network, weights and vocabulary apart; plain JSON."""
        return {
            "encoder": self._encoder_config,
            "decoder": self._decoder_spec,
            "max_length": self.max_length,
            "image_size": list(self.image_size),
        }

    def __repr__(self) -> str:
        encoder = self._encoder_config if isinstance(self._encoder_config, str) else self.encoder.network.name
        return (
            f"CaptionModel(encoder={encoder!r}, decoder={self._decoder_spec!r}, {len(self.tokenizer)} words, "
            f"max_length={self.max_length}, image_size={tuple(self.image_size)})"
        )

    @classmethod
    def from_config(cls, config: dict[str, Any], tokenizer: Tokenizer | None = None) -> CaptionModel:
        """Rebuilds a network, with random weights, from `get_config()` and its tokenizer."""
        if tokenizer is None:
            raise ModelError("expected a tokenizer beside the config: from_config(config, tokenizer=...)")
        size = tuple(config["image_size"])
        return cls(**{**config, "image_size": size, "tokenizer": tokenizer})


@contextmanager
def _full_precision() -> Iterator[None]:
    """Layers made inside compute in float32, whatever the policy outside."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
