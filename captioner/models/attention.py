"""Attention: a query per row and the values of an image give a context vector and a distribution over locations.

Every attention is a layer with two calls:

    prepare(values [B, L, D]) -> memory dict              once an image
    attend(query [R, Q], memory, layout, extra=None) -> context [R, D], attention [R, L]

`extra` [R, D] is one more value to attend to, a different one for each row (the visual sentinel); its probability is
what the attention over the L locations lacks to 1. Queries are grouped by image, so the memory of an image is read once
for all its captions or beams and never copied.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from captioner import checks
from captioner.models.cells import WIDEST
from captioner.models.packing import PackedLayout, to_images, to_rows
from captioner.registry import Table


class Attention(keras.layers.Layer):
    """Base of the attentions: scores over L locations, softmax, weighted mean of the values.

    A subclass gives `keys(values)`, what it precomputes once an image, and `scores(query, memory)`.

    Args:
        units: int, default 512. Width A of queries and keys.
    """

    def __init__(self, units: int = 512, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = checks.integer(units, "units", 1, WIDEST)

    def build_on(self, value_dim: int, query_dim: int) -> None:
        """Creates the weights for values [B, L, D] and queries [R, Q]."""
        values, query = ops.zeros((1, 1, value_dim)), ops.zeros((1, query_dim))
        self.attend(query, self.prepare(values), None, query @ ops.zeros((query_dim, value_dim)))

    def keys(self, values: Any) -> Any:
        """[B, L, D] to what queries are compared with."""
        raise NotImplementedError

    def scores(self, query: Any, keys: Any) -> Any:
        """Query [B, G, Q] against keys of [B, L, D] or, one a query, of [B, G, 1, D]: [B, G, L] or [B, G, 1]."""
        raise NotImplementedError

    def prepare(self, values: Any) -> dict[str, Any]:
        """What `attend` needs of an image's values [B, L, D]."""
        return {"keys": self.keys(values), "values": values}

    def attend(
        self, query: Any, memory: dict[str, Any], layout: PackedLayout | None = None, extra: Any = None
    ) -> tuple[Any, Any]:
        """Context [R, D] and attention [R, L] for query [R, Q]."""
        values = memory["values"]
        query = to_images(query, values, layout)
        scores = ops.cast(self.scores(query, memory["keys"]), "float32")
        if extra is not None:
            extra = ops.expand_dims(to_images(extra, values, layout), 2)
            extra_scores = ops.cast(self.scores(query, self.keys(extra)), "float32")
            scores = ops.concatenate([scores, extra_scores], axis=-1)
        attention = ops.softmax(scores, axis=-1)
        locations = values.shape[1]
        probabilities = ops.cast(attention, values.dtype)
        context = ops.matmul(probabilities[..., :locations], values)
        if extra is not None:
            context = context + probabilities[..., locations:] * extra[:, :, 0]
        return to_rows(context, layout), to_rows(attention[..., :locations], layout)


class Additive(Attention):
    """Additive attention: v^T tanh(W k + U q) (Bahdanau et al. 2015, eq. in appendix A.1.2)."""

    def __init__(self, units: int = 512, **kwargs: Any):
        super().__init__(units, **kwargs)
        self.key = keras.layers.Dense(units, name="key")
        self.query = keras.layers.Dense(units, use_bias=False, name="query")
        self.energy = keras.layers.Dense(1, use_bias=False, name="energy")

    def keys(self, values: Any) -> Any:  # noqa: D102
        return self.key(values)

    def scores(self, query: Any, keys: Any) -> Any:  # noqa: D102
        if len(keys.shape) == 3:
            keys = ops.expand_dims(keys, 1)
        hidden = ops.tanh(keys + ops.expand_dims(self.query(query), 2))
        return ops.squeeze(self.energy(hidden), -1)


class ScaledDot(Attention):
    """Scaled dot product: q . k / sqrt(A) (Vaswani et al. 2017, eq. 1)."""

    def __init__(self, units: int = 512, **kwargs: Any):
        super().__init__(units, **kwargs)
        self.key = keras.layers.Dense(units, use_bias=False, name="key")
        self.query = keras.layers.Dense(units, name="query")

    def keys(self, values: Any) -> Any:  # noqa: D102
        # Transposed here, once, rather than at each step.
        return ops.swapaxes(self.key(values), -1, -2)

    def scores(self, query: Any, keys: Any) -> Any:  # noqa: D102
        query = self.query(query) * (self.units**-0.5)
        if len(keys.shape) == 3:
            return ops.matmul(query, keys)
        return ops.sum(ops.expand_dims(query, 2) * ops.swapaxes(keys, -1, -2), axis=-1)


class MultiHead(Attention):
    """Several scaled dot products in parallel (Vaswani et al. 2017, section 3.2.2); the attention is their mean.

    Args:
        units: int, default 512. Width A over all heads.
        heads: int, default 8. Divides `units`.
    """

    def __init__(self, units: int = 512, heads: int = 8, **kwargs: Any):
        super().__init__(units, **kwargs)
        if units % checks.integer(heads, "heads", 1, WIDEST):
            raise ValueError(f"expected heads to divide units, got heads={heads}, units={units}")
        self.heads = heads
        self.key = keras.layers.Dense(units, use_bias=False, name="key")
        self.query = keras.layers.Dense(units, name="query")
        self.value = keras.layers.Dense(units, name="value")
        self.merge: Any = None

    def build_on(self, value_dim: int, query_dim: int) -> None:  # noqa: D102
        self.merge = keras.layers.Dense(value_dim, name="merge")
        super().build_on(value_dim, query_dim)

    def keys(self, values: Any) -> Any:  # noqa: D102
        return self.key(values)

    def _split(self, x: Any) -> Any:
        """[B, N, A] to [B, heads, N, A / heads]."""
        # Of two sizes that a graph may not know, -1 stands for one; L is always known and must stay so.
        count, length = (-1, x.shape[1]) if x.shape[1] is not None else (ops.shape(x)[0], -1)
        return ops.swapaxes(ops.reshape(x, (count, length, self.heads, x.shape[-1] // self.heads)), 1, 2)

    def prepare(self, values: Any) -> dict[str, Any]:  # noqa: D102
        keys = ops.swapaxes(self._split(self.keys(values)), 2, 3)
        return {"keys": keys, "values": self._split(self.value(values))}

    def attend(  # noqa: D102
        self, query: Any, memory: dict[str, Any], layout: PackedLayout | None = None, extra: Any = None
    ) -> tuple[Any, Any]:
        values = memory["values"]
        locations, head_size = values.shape[2], self.units // self.heads
        split = self._split(self.query(to_images(query, values, layout)) * (head_size**-0.5))
        scores = ops.cast(ops.matmul(split, memory["keys"]), "float32")
        if extra is not None:
            extra = to_images(extra, values, layout)
            extra_scores = ops.sum(split * self._split(self.keys(extra)), axis=-1, keepdims=True)
            scores = ops.concatenate([scores, ops.cast(extra_scores, "float32")], axis=-1)
        attention = ops.softmax(scores, axis=-1)
        probabilities = ops.cast(attention, values.dtype)
        context = ops.matmul(probabilities[..., :locations], values)
        if extra is not None:
            context = context + probabilities[..., locations:] * self._split(self.value(extra))
        shape = ops.shape(context)
        context = ops.reshape(ops.swapaxes(context, 1, 2), (shape[0], -1, self.units))
        attention = ops.mean(attention, axis=1)[..., :locations]
        return to_rows(self.merge(context), layout), to_rows(attention, layout)


class MeanPool(Attention):
    """Uniform attention: the mean of the values, whatever the query. The baseline of the others."""

    def keys(self, values: Any) -> Any:  # noqa: D102
        return ops.zeros_like(values[..., :1])

    def scores(self, query: Any, keys: Any) -> Any:  # noqa: D102
        flat = ops.squeeze(keys, -1)
        if len(flat.shape) == 2:
            flat = ops.expand_dims(flat, 1)
        return flat + ops.zeros_like(query[..., :1])


ATTENTIONS = Table(
    "attention",
    {
        "additive": "captioner.models.attention:Additive",
        "scaled_dot": "captioner.models.attention:ScaledDot",
        "multi_head": "captioner.models.attention:MultiHead",
        "mean_pool": "captioner.models.attention:MeanPool",
    },
)
