"""The recurrent cells: from the projected word, the context vector and the states to an output and the next states.

A cell splits its input in two, because half of it need not wait for the recurrence:

    read(words [..., E]) -> gates [..., n * units]         one matrix product for any number of words at once
    call(gates, context [R, D] or None, states) -> output, states

`gates + [context, h] W` is the usual `[words, context, h] W + b`, split where training gains from it: under teacher
forcing words are known beforehand, so their part leaves the loop (and its gradient is one large product).
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from captioner import checks
from captioner.registry import Table

WIDEST = 16384  # of layers: what a file asks for must fit into a machine


class _RecurrentKernelInitializer(keras.initializers.Initializer):
    """Glorot uniform for the rows of the context, orthogonal for the last `units` rows, which are recurrent."""

    def __init__(self, units: int):
        self.units = units

    def __call__(self, shape: tuple[int, int], dtype: Any = None) -> Any:
        context_width, width = shape[0] - self.units, shape[1]
        parts = [keras.initializers.Orthogonal()((self.units, width), dtype)]
        if context_width:
            parts.insert(0, keras.initializers.GlorotUniform()((context_width, width), dtype))
        return ops.concatenate(parts, axis=0)

    def get_config(self) -> dict[str, Any]:
        return {"units": self.units}


def project(dense: keras.layers.Dense, x: Any, bias: bool = True) -> Any:
    """x W + b of a Dense layer, or x W alone: of several summands of a gate only one brings the bias.

    Args:
        dense: Dense, with a bias and without an activation.
        x: [..., E].
        bias: bool, default True.

    Returns:
        [..., units].
    """
    if bias:
        return dense(x)
    if not dense.built:
        dense.build(x.shape)
    return ops.matmul(x, ops.cast(dense.kernel, x.dtype))


class Cell(keras.layers.Layer):
    """Base of the cells: `gates` blocks of `units`, one matrix over context vector and hidden state.

    Args:
        units: int, default 512.
        max_length: int, default 20. Most words of a caption; only the bidirectional cell depends on it.

    Attributes:
        state_sizes: widths of the states that `InitialState` computes from an image; the first is the hidden state.
        output_size: width of the output.
    """

    gates = 1

    def __init__(self, units: int = 512, max_length: int = 20, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.max_length = checks.integer(units, "units", 1, WIDEST), max_length
        self.state_sizes, self.output_size = [units], units
        self.input_projection = keras.layers.Dense(
            self.gates * units, bias_initializer=self._first_bias, name="input_projection"
        )
        self.recurrent_kernel: Any = keras.layers.Dense(
            self.gates * units,
            use_bias=False,
            kernel_initializer=_RecurrentKernelInitializer(units),
            name="recurrent_kernel",
        )

    def _first_bias(self, shape: tuple[int], dtype: Any = None) -> Any:
        return ops.zeros(shape, dtype)

    def build(self, *shapes: Any) -> None:
        """Does nothing: the inner layers create their weights when first called, which `Decoder.build_on` does."""

    def input_projections(self) -> list[keras.layers.Dense]:
        """The layers that project the input to gates, and whose biases are those of the gates."""
        return [self.input_projection]

    def read(self, words: Any, bias: bool = True) -> Any:
        """Gates [..., n * units] of word vectors [..., E]; `bias=False` for what is added to gates that have it."""
        return ops.concatenate([project(layer, words, bias) for layer in self.input_projections()], axis=-1)

    def history(self, like: Any, length: int | None = None) -> list[Any]:
        """Further states, which do not depend on the image, for as many rows as `like` [R, ...] has."""
        return []

    def preactivation(self, gates: Any, context: Any, h: Any) -> Any:
        """gates + [context, h] W."""
        return gates + self.recurrent_kernel(h if context is None else ops.concatenate([context, h], axis=-1))

    def call(self, gates: Any, context: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """Output [R, output_size] and next states, for gates [R, n * units] and context [R, D] or None."""
        raise NotImplementedError


class SimpleRNN(Cell):
    """Elman network: h = tanh(W x + U h), no gates; gradients vanish or explode with length."""

    def call(self, gates: Any, context: Any, states: list[Any]) -> tuple[Any, list[Any]]:  # noqa: D102
        h = ops.tanh(self.preactivation(gates, context, states[0]))
        return h, [h]


def _lstm(preactivation: Any, c: Any) -> tuple[Any, Any]:
    i, f, g, o = ops.split(preactivation, 4, axis=-1)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.tanh(c), c


def _forget_bias(shape: tuple[int], dtype: Any = None) -> Any:
    """Ones for the forget gate, so that an LSTM remembers at first (Jozefowicz et al. 2015), zeros elsewhere."""
    units = shape[0] // 4
    return ops.concatenate([ops.zeros(units, dtype), ops.ones(units, dtype), ops.zeros(2 * units, dtype)])


class LSTM(Cell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997): gates and an additive memory."""

    gates = 4

    def __init__(self, units: int = 512, max_length: int = 20, **kwargs: Any):
        super().__init__(units, max_length, **kwargs)
        self.state_sizes = [units, units]

    def _first_bias(self, shape: tuple[int], dtype: Any = None) -> Any:
        return _forget_bias(shape, dtype)

    def call(self, gates: Any, context: Any, states: list[Any]) -> tuple[Any, list[Any]]:  # noqa: D102
        h, c = _lstm(self.preactivation(gates, context, states[0]), states[1])
        return h, [h, c]


class GRU(Cell):
    """Gated recurrent unit (Cho et al. 2014): gates, no separate memory; the reset gate works after the product."""

    gates = 3

    def __init__(self, units: int = 512, max_length: int = 20, **kwargs: Any):
        super().__init__(units, max_length, **kwargs)
        self.recurrent_projection = keras.layers.Dense(
            3 * units, kernel_initializer="orthogonal", name="recurrent_projection"
        )
        self.context_projection = keras.layers.Dense(3 * units, use_bias=False, name="context_projection")
        self.recurrent_kernel = None  # context and hidden state have a matrix each

    def call(self, gates: Any, context: Any, states: list[Any]) -> tuple[Any, list[Any]]:  # noqa: D102
        h = states[0]
        outer = gates if context is None else gates + self.context_projection(context)
        (z, r, n), (hz, hr, hn) = (
            ops.split(outer, 3, axis=-1),
            ops.split(self.recurrent_projection(h), 3, axis=-1),
        )
        keep = ops.sigmoid(z + hz)
        fresh = ops.tanh(n + ops.sigmoid(r + hr) * hn)
        h = keep * h + (1.0 - keep) * fresh
        return h, [h]


class Bidirectional(LSTM):
    """LSTM over the words so far in both directions: T(T+1)/2 backward steps instead of T.

    The forward half continues from its state. The backward half cannot: with each new word it runs again over all
    words, from the newest to the first. It keeps its
    projected inputs in the state, newest first, so that running again costs one recurrent matrix product a word. The
    state holds max_length x 4 x backward_units numbers a row, which beam search has to move at each step.

    Args:
        units: int, default 512. Width of the forward half.
        max_length: int, default 20. Most words of a caption: the length of the buffer.
        backward_units: int, default half of `units`.
    """

    def __init__(
        self, units: int = 512, max_length: int = 20, backward_units: int | None = None, **kwargs: Any
    ):
        super().__init__(units, max_length, **kwargs)
        self.backward_units = checks.integer(
            backward_units or math.ceil(units / 2), "backward_units", 1, WIDEST
        )
        self.output_size = units + self.backward_units
        width = 4 * self.backward_units
        self.backward_input_projection = keras.layers.Dense(
            width, bias_initializer=_forget_bias, name="backward_input_projection"
        )
        self.backward_context_projection = keras.layers.Dense(
            width, use_bias=False, name="backward_context_projection"
        )
        self.backward_recurrent_projection = keras.layers.Dense(
            width, use_bias=False, kernel_initializer="orthogonal", name="backward_recurrent_projection"
        )

    def build(self, *shapes: Any) -> None:
        """Creates the one matrix that the first word does not need."""
        self.backward_recurrent_projection.build((None, self.backward_units))

    def input_projections(self) -> list[keras.layers.Dense]:  # noqa: D102
        return [self.input_projection, self.backward_input_projection]

    def history(self, like: Any, length: int | None = None) -> list[Any]:
        """An empty buffer [R, max_length, 4 * backward_units] and how much of it is filled [R, 1].

        Training, which asks for a `length` of 0, gets a list instead of the buffer, which grows by a [R, 4 *
        backward_units] a word: the gradient of a slice would be as large as the whole buffer.
        """
        if length == 0:
            return [[]]
        rows = ops.shape(like)[0]
        return [
            ops.zeros((rows, self.max_length, 4 * self.backward_units), like.dtype),
            ops.zeros((rows, 1), "int32"),
        ]

    def call(self, gates: Any, context: Any, states: list[Any]) -> tuple[Any, list[Any]]:  # noqa: D102
        split = 4 * self.units
        output, forward = super().call(gates[:, :split], context, states[:2])
        newest = (
            gates[:, split:]
            if context is None
            else gates[:, split:] + self.backward_context_projection(context)
        )
        if isinstance(states[2], list):
            words = [newest, *states[2]][: self.max_length]
            return ops.concatenate([output, self._backward(words)], axis=-1), [*forward, words]
        buffer, filled = states[2:]
        buffer = ops.concatenate([newest[:, None], buffer[:, : self.max_length - 1]], axis=1)
        back = self._backward(ops.unstack(buffer, axis=1), filled + 1)
        return ops.concatenate([output, back], axis=-1), [*forward, buffer, filled + 1]

    def _backward(self, words: list[Any], filled: Any = None) -> Any:
        """Last output of an LSTM over inputs [R, 4 * backward_units], the first `filled` [R, 1] or all of them.

        Empty slots are computed and discarded: in 8 bits, TFLite does not calibrate a loop in a loop.
        """
        h, c = _lstm(words[0], ops.zeros_like(words[0][:, : self.backward_units]))
        for step, inputs in enumerate(words[1:], start=1):
            next_h, next_c = _lstm(inputs + self.backward_recurrent_projection(h), c)
            if filled is not None:
                live = filled > step
                next_h, next_c = ops.where(live, next_h, h), ops.where(live, next_c, c)
            h, c = next_h, next_c
        return h


CELLS = Table(
    "cell",
    {
        "lstm": "captioner.models.cells:LSTM",
        "gru": "captioner.models.cells:GRU",
        "simple_rnn": "captioner.models.cells:SimpleRNN",
        "bidirectional": "captioner.models.cells:Bidirectional",
    },
)
