"""The decoder families, each one `start`, `step` and `head` as `Decoder` promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from captioner.errors import ModelError
from captioner.models.cells import project
from captioner.models.decoder import Decoder, InitialState
from captioner.models.packing import PackedLayout
from captioner.registry import Table


class SoftAttention(Decoder):
    """Soft attention with gated context (Xu et al. 2015, Show, Attend and Tell).

    The previous output is the query (eq. 4-6), a gate scales the context vector (section 4.2.1), the cell reads word
    and context (eq. 1-3), and the head sums projections of output, context and word before the vocabulary (eq. 7).
    Arguments as for `Decoder`.
    """

    def __init__(self, vocabulary_size: int, **kwargs: Any):
        super().__init__(vocabulary_size, **kwargs)
        self.cell = self.make_cell("cell")
        self.initial_state = InitialState(self.cell, name="initial_state")
        self.gate = keras.layers.Dense(1, activation="sigmoid", name="gate")
        self.deep_output = keras.layers.Dense(self.embedding_dim, name="deep_output")

    def query_dim(self, value_dim: int) -> int:  # noqa: D102
        return self.cell.output_size

    def start(self, features: Any, training: bool = False, history: int | None = None) -> tuple[Any, Any]:  # noqa: D102
        values = self.values(features, training)
        states, output = self.initial_state(ops.mean(values, axis=1), history=history)
        return self.attention.prepare(values), {"cell": states, "output": output}

    def read(self, ids: Any, training: bool = False) -> Any:  # noqa: D102
        words = self.words(ids, training)
        return {"gates": self.cell.read(words), "words": words}

    def advance(  # noqa: D102
        self, read: Any, memory: Any, state: Any, layout: PackedLayout | None = None
    ) -> tuple[Any, Any, Any]:
        context, attention = self.attention.attend(state["output"], memory, layout)
        context = self.gate(state["output"]) * context
        output, states = self.cell(read["gates"], context, state["cell"])
        head_input = ops.concatenate([output, context, read["words"]], axis=-1)
        return head_input, attention, {"cell": states, "output": output}

    def head(self, output: Any, training: bool = False) -> Any:  # noqa: D102
        return super().head(self.deep_output(output), training)


class Adaptive(Decoder):
    """Adaptive attention with a visual sentinel (Lu et al. 2017, section 2.3): a word may not need the image.

    The output attends to the locations and to a sentinel computed from the cell's memory, s = sigmoid(W x + U h) *
    tanh(m) (eq. 9-10), m being the LSTM's memory, or the state of a cell that has no other. The attention of a word
    sums to 1 - beta, the probability of the image (eq. 11-13). The mean feature is projected to the width of the
    word vectors and added to them. Arguments as for `Decoder`.
    """

    def __init__(self, vocabulary_size: int, **kwargs: Any):
        super().__init__(vocabulary_size, **kwargs)
        self.cell = self.make_cell("cell")
        self.initial_state = InitialState(self.cell, name="initial_state")
        self.image_projection = keras.layers.Dense(
            self.embedding_dim, activation="relu", name="image_projection"
        )
        self.gate_words = keras.layers.Dense(self.cell.units, name="gate_words")
        self.gate_state = keras.layers.Dense(self.cell.units, use_bias=False, name="gate_state")
        self.sentinel: Any = None
        self.deep_output = keras.layers.Dense(self.embedding_dim, activation="tanh", name="deep_output")

    def query_dim(self, value_dim: int) -> int:  # noqa: D102
        self.sentinel = keras.layers.Dense(value_dim, activation="relu", name="sentinel")
        return self.cell.output_size

    def start(self, features: Any, training: bool = False, history: int | None = None) -> tuple[Any, Any]:  # noqa: D102
        values = self.values(features, training)
        mean = ops.mean(values, axis=1)
        states, output = self.initial_state(mean, history=history)
        image = self._gates(self.image_projection(mean), bias=False)
        return self.attention.prepare(values), {"cell": states, "output": output, "image": image}

    def _gates(self, words: Any, bias: bool = True) -> dict[str, Any]:
        return {"cell": self.cell.read(words, bias), "sentinel": project(self.gate_words, words, bias)}

    def from_format_1(self) -> None:  # noqa: D102
        _double_biases([*self.cell.input_projections(), self.gate_words])

    def read(self, ids: Any, training: bool = False) -> Any:  # noqa: D102
        return self._gates(self.words(ids, training))

    def advance(  # noqa: D102
        self, read: Any, memory: Any, state: Any, layout: PackedLayout | None = None
    ) -> tuple[Any, Any, Any]:
        image = state["image"]
        gate = ops.sigmoid(read["sentinel"] + image["sentinel"] + self.gate_state(state["output"]))
        output, states = self.cell(read["cell"] + image["cell"], None, state["cell"])
        cell_memory = states[len(self.cell.state_sizes) - 1]
        sentinel = self.sentinel(gate * ops.tanh(cell_memory))
        context, attention = self.attention.attend(output, memory, layout, extra=sentinel)
        head_input = ops.concatenate([output, context], axis=-1)
        return head_input, attention, {"cell": states, "output": output, "image": image}

    def head(self, output: Any, training: bool = False) -> Any:  # noqa: D102
        return super().head(self.deep_output(output), training)


class TopDown(Decoder):
    """Top-down attention, two layers (Anderson et al. 2018, section 3.2): an attention LSTM and a language LSTM.

    The attention cell reads the language cell's last output, the mean feature and the word (eq. 2); its output is
    the query (eq. 3-5); the language cell reads the context vector and that output (eq. 6). The mean feature is
    projected to the width of the word vectors and added to them. Arguments as for `Decoder`, and

    Args:
        deep_output: bool, default False. Whether the head sums projections of output, context and word before the
            vocabulary, as soft attention does, rather than reading the output alone (eq. 7): a short way from word
            to word.
    """

    def __init__(self, vocabulary_size: int, deep_output: bool = False, **kwargs: Any):
        super().__init__(vocabulary_size, **kwargs)
        self.deep_output = keras.layers.Dense(self.embedding_dim, name="deep_output") if deep_output else None
        self.attention_cell = self.make_cell("attention_cell")
        self.language_cell = self.make_cell("language_cell")
        self.attention_initial_state = InitialState(self.attention_cell, name="attention_initial_state")
        self.language_initial_state = InitialState(self.language_cell, name="language_initial_state")
        self.image_projection = keras.layers.Dense(self.embedding_dim, name="image_projection")

    def query_dim(self, value_dim: int) -> int:  # noqa: D102
        return self.attention_cell.output_size

    def start(self, features: Any, training: bool = False, history: int | None = None) -> tuple[Any, Any]:  # noqa: D102
        values = self.values(features, training)
        mean = ops.mean(values, axis=1)
        attention_states, _ = self.attention_initial_state(mean, history=history)
        language_states, output = self.language_initial_state(mean, history=history)
        image = self.attention_cell.read(self.image_projection(mean), bias=False)
        state = {
            "attention_cell": attention_states,
            "language_cell": language_states,
            "output": output,
            "image": image,
        }
        return self.attention.prepare(values), state

    def from_format_1(self) -> None:  # noqa: D102
        _double_biases(self.attention_cell.input_projections())

    def read(self, ids: Any, training: bool = False) -> Any:  # noqa: D102
        words = self.words(ids, training)
        return {"gates": self.attention_cell.read(words)} | (
            {} if self.deep_output is None else {"words": words}
        )

    def advance(  # noqa: D102
        self, read: Any, memory: Any, state: Any, layout: PackedLayout | None = None
    ) -> tuple[Any, Any, Any]:
        query, attention_states = self.attention_cell(
            read["gates"] + state["image"], state["output"], state["attention_cell"]
        )
        context, attention = self.attention.attend(query, memory, layout)
        # The query depends on the state, so its projection cannot leave the loop as that of the words does.
        output, language_states = self.language_cell(
            self.language_cell.read(query), context, state["language_cell"]
        )
        state = {
            "attention_cell": attention_states,
            "language_cell": language_states,
            "output": output,
            "image": state["image"],
        }
        if self.deep_output is None:
            return output, attention, state
        return ops.concatenate([output, context, read["words"]], axis=-1), attention, state

    def head(self, output: Any, training: bool = False) -> Any:  # noqa: D102
        return super().head(output if self.deep_output is None else self.deep_output(output), training)


class ShowAndTell(Decoder):
    """No attention (Vinyals et al. 2015, Show and Tell): the cell reads the mean feature once, before any word.

    Arguments as for `Decoder`; `attention` is not used, and the attention is all zeros.
    """

    def __init__(self, vocabulary_size: int, **kwargs: Any):
        super().__init__(vocabulary_size, **{**kwargs, "attention": "mean_pool"})
        self.cell = self.make_cell("cell")
        self.image_projection = keras.layers.Dense(self.embedding_dim, name="image_projection")

    def query_dim(self, value_dim: int) -> int:  # noqa: D102
        return self.cell.output_size

    def start(self, features: Any, training: bool = False, history: int | None = None) -> tuple[Any, Any]:  # noqa: D102
        values = self.values(features, training)
        image = self.image_projection(ops.mean(values, axis=1))
        count = ops.shape(image)[0]
        states = [ops.zeros((count, size), image.dtype) for size in self.cell.state_sizes]
        _, states = self.cell(self.cell.read(image), None, states + self.cell.history(image, history))
        return {"locations": ops.zeros_like(values[:, :, 0], dtype="float32")}, states

    def read(self, ids: Any, training: bool = False) -> Any:  # noqa: D102
        return self.cell.read(self.words(ids, training))

    def advance(  # noqa: D102
        self, read: Any, memory: Any, state: Any, layout: PackedLayout | None = None
    ) -> tuple[Any, Any, Any]:
        output, states = self.cell(read, None, state)
        locations = memory["locations"].shape[1]
        return output, ops.zeros((ops.shape(output)[0], locations), "float32"), states


def _double_biases(layers: Sequence[keras.layers.Dense]) -> None:
    """Makes biases what format 1 made of them: it added them with the word and again with the mean feature."""
    for layer in layers:
        layer.bias.assign(2.0 * layer.bias)


def _soft(cell: str, vocabulary_size: int, options: dict[str, Any]) -> Decoder:
    if "cell" in options:
        raise ModelError(
            f"decoder {cell!r} has its cell already, got cell={options['cell']!r}; write "
            f"soft_attention(cell={options['cell']!r})"
        )
    return SoftAttention(vocabulary_size, cell=cell, **options)


def lstm(vocabulary_size: int, **kwargs: Any) -> Decoder:
    """Soft attention with an LSTM."""
    return _soft("lstm", vocabulary_size, kwargs)


def gru(vocabulary_size: int, **kwargs: Any) -> Decoder:
    """Soft attention with a GRU."""
    return _soft("gru", vocabulary_size, kwargs)


def simple_rnn(vocabulary_size: int, **kwargs: Any) -> Decoder:
    """Soft attention with a simple RNN."""
    return _soft("simple_rnn", vocabulary_size, kwargs)


def bidirectional(vocabulary_size: int, **kwargs: Any) -> Decoder:
    """Soft attention with an LSTM that re-reads the words so far in both directions."""
    return _soft("bidirectional", vocabulary_size, kwargs)


DECODERS = Table(
    "decoder",
    {
        "lstm": "captioner.models.decoders:lstm",
        "gru": "captioner.models.decoders:gru",
        "simple_rnn": "captioner.models.decoders:simple_rnn",
        "bidirectional": "captioner.models.decoders:bidirectional",
        "soft_attention": "captioner.models.decoders:SoftAttention",
        "adaptive": "captioner.models.decoders:Adaptive",
        "top_down": "captioner.models.decoders:TopDown",
        "show_and_tell": "captioner.models.decoders:ShowAndTell",
        "ensemble": "captioner.models.ensemble:Ensemble",
    },
)
