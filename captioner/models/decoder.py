"""`Decoder`, the base class and contract of the decoder families, and the layers that they share."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from captioner import checks
from captioner.models.attention import ATTENTIONS
from captioner.models.cells import CELLS, WIDEST, Cell
from captioner.models.packing import PackedLayout
from captioner.registry import Spec, parse_spec


class Decoder(keras.layers.Layer):
    """From features to words, one word a step.

    The contract that training, every search strategy and every export build on:

        start(features [B, L, C]) -> memory, state                  once an image; leaves lead with B
        step(ids [R], memory, state) -> output, attention, state    once a word; R = B * G, state leads with R
        head(output [R, D]) -> logits [R, V]

    `step` is `read`, which depends on the words alone, then `advance`, which needs the state. `read` and `head`
    stand outside the recurrence, so training runs each once over all steps: two large matrix products instead of
    2 T small ones. The memory of an image serves all its G rows and is never copied; a search copies and reorders
    the state alone.

    Args:
        vocabulary_size: int. V.
        max_length: int, default 20. Most words a caption has (only the bidirectional cell depends on it).
        cell: spec of `CELLS`, default "lstm".
        units: int, default 512. Width of the cell.
        embedding: int, default 512. Width of word vectors.
        attention: spec of `ATTENTIONS`, default "additive".
        value_dim: int, default 512. Features are projected to this width (ReLU); 0 leaves them as they are.
        dropout: float, default 0.5. Of features, word vectors and output.
        word_dropout: float or None, default None. Share of words whose vectors training drops (Gal & Ghahramani 2016,
            section 4.2); then no single entries of word vectors are dropped.
        tied: bool, default False. Whether the word vectors are the weights of the logits as well (Press & Wolf 2017).
    """

    def __init__(
        self,
        vocabulary_size: int,
        max_length: int = 20,
        cell: str = "lstm",
        units: int = 512,
        embedding: int = 512,
        attention: str = "additive",
        value_dim: int = 512,
        dropout: float = 0.5,
        word_dropout: float | None = None,
        tied: bool = False,
        **kwargs: Any,
    ):
        super().__init__(name="decoder", **kwargs)
        self.max_length = max_length
        self.units = checks.integer(units, "units", 1, WIDEST)
        self.value_dim = checks.integer(value_dim, "value_dim", 0, WIDEST)
        self.embedding_dim = checks.integer(embedding, "embedding", 1, WIDEST)
        for rate in (dropout, word_dropout or 0.0):
            checks.number(rate, "dropout", 0.0, 1.0)
        self._cell_spec = parse_spec(cell)
        self.embedding = keras.layers.Embedding(vocabulary_size, embedding, name="embedding")
        self.value_projection = (
            keras.layers.Dense(value_dim, activation="relu", name="value_projection") if value_dim else None
        )
        self.attention = ATTENTIONS.build(attention, name="attention")
        self.drop_features = keras.layers.Dropout(dropout, name="drop_features")
        self.drop_words = (
            keras.layers.Dropout(dropout, name="drop_words")
            if word_dropout is None
            else keras.layers.Dropout(word_dropout, noise_shape=(None, 1), name="drop_words")
        )
        self.drop_output = keras.layers.Dropout(dropout, name="drop_output")
        self.logits = (
            Tied(vocabulary_size, name="logits")
            if tied
            else keras.layers.Dense(vocabulary_size, dtype="float32", name="logits")
        )

    def build_on(self, locations: int, channels: int) -> None:
        """Creates every weight, for features [B, L, C] with L = `locations`, C = `channels`."""
        value_dim = self.value_dim or channels
        self.attention.build_on(value_dim, self.query_dim(value_dim))
        features = ops.zeros((1, locations, channels))
        memory, state = self.start(features)
        output, _, _ = self.step(ops.zeros((1,), "int32"), memory, state)
        self.head(output)
        self.built = True

    def from_format_1(self) -> None:
        """Converts weights of a model folder of format 1; most decoders keep theirs."""

    def vocabulary_weights(self) -> list[tuple[Any, int]]:
        """The variables that have an entry for every word, each with the axis of the vocabulary."""
        weights = [(self.embedding.embeddings, 0), (self.logits.bias, 0)]
        return weights if isinstance(self.logits, Tied) else [*weights, (self.logits.kernel, 1)]

    def query_dim(self, value_dim: int) -> int:
        """Width Q of the attention's queries, for values of width D = `value_dim`."""
        raise NotImplementedError

    def start(self, features: Any, training: bool = False, history: int | None = None) -> tuple[Any, Any]:
        """Memory and first state for features [B, L, C].

        `history` is the first length of the bidirectional cell's buffer: `max_length` when None, 0 when the caller
        lets it grow (training).
        """
        raise NotImplementedError

    def read(self, ids: Any, training: bool = False) -> Any:
        """What a step needs of the words ids [R], [R, E']; any number of words at once."""
        raise NotImplementedError

    def advance(
        self, read: Any, memory: Any, state: Any, layout: PackedLayout | None = None
    ) -> tuple[Any, Any, Any]:
        """Output [R, D], attention [R, L] and next state from what `read` returned; training gives a `layout`."""
        raise NotImplementedError

    def step(self, ids: Any, memory: Any, state: Any) -> tuple[Any, Any, Any]:
        """Output [R, D], attention [R, L] and next state after the words ids [R]."""
        return self.advance(self.read(ids), memory, state)

    def head(self, output: Any, training: bool = False) -> Any:
        """Logits [R, V] from output [R, D]."""
        output = self.drop_output(output, training=training)
        if isinstance(self.logits, Tied):
            return self.logits(output, self.embedding.embeddings)
        return self.logits(output)

    def values(self, features: Any, training: bool) -> Any:
        """Features [B, L, C] to values [B, L, D]: a projection with ReLU, then dropout."""
        values = ops.cast(features, self.compute_dtype)
        values = values if self.value_projection is None else self.value_projection(values)
        return self.drop_features(values, training=training)

    def words(self, ids: Any, training: bool) -> Any:
        """Word vectors [R, embedding] of ids [R]."""
        return self.drop_words(self.embedding(ids), training=training)

    def make_cell(self, name: str) -> Cell:
        """A cell of the decoder's kind."""
        spec = Spec(self._cell_spec.name, {"units": self.units, **self._cell_spec.args})
        return CELLS.build(spec, max_length=self.max_length, name=name)


class Tied(keras.layers.Layer):
    """Logits whose weights are the word vectors (Press & Wolf 2017, section 2), with a bias.

    An output that is not as wide as they are is projected first.

    Args:
        vocabulary_size: int. V.
        name: str.
    """

    def __init__(self, vocabulary_size: int, name: str):
        super().__init__(name=name, dtype="float32")
        self.bias = self.add_weight(shape=(vocabulary_size,), initializer="zeros", name="bias")
        self.narrow: Any = None

    def build(self, output_shape: Any, vectors_shape: Any) -> None:  # noqa: D102
        if output_shape[-1] != vectors_shape[-1]:
            self.narrow = keras.layers.Dense(vectors_shape[-1], use_bias=False, name="narrow")

    def call(self, output: Any, vectors: Any) -> Any:
        """Logits [R, V] from output [R, D] and word vectors [V, E]."""
        output = output if self.narrow is None else self.narrow(output)
        return ops.matmul(output, ops.transpose(vectors)) + self.bias


class InitialState(keras.layers.Layer):
    """Initial states of a cell from the mean of the values: tanh(W mean + b) (Xu et al. 2015, section 3.1.2).

    Args:
        cell: Cell. The cell whose states these are.
        name: str.
    """

    def __init__(self, cell: Cell, name: str):
        super().__init__(name=name)
        self._start_history, self._output_size = cell.history, cell.output_size
        self.projections = [
            keras.layers.Dense(size, activation="tanh", name=f"state_{i}")
            for i, size in enumerate(cell.state_sizes)
        ]

    def call(self, mean: Any, history: int | None = None) -> tuple[list[Any], Any]:
        """States for the B rows of `mean` [B, D], and the output [B, D'] of a cell in these states."""
        states = [projection(mean) for projection in self.projections]
        missing = self._output_size - states[0].shape[-1]
        output = ops.pad(states[0], ((0, 0), (0, missing))) if missing else states[0]
        return states + self._start_history(mean, history), output
