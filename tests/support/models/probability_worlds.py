"""Models given by tables of probabilities, small enough to enumerate all captions.

They implement the decoder contract (`start`, `step`, `head`), and compute the same log-probabilities in plain NumPy.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from captioner.decoding import generate
from captioner.decoding.backend import numpy_backend
from captioner.types import END, PAD, START, UNK, Hypotheses

LOCATIONS = 3


class World:
    """A model whose next word depends on the image's kind and on the last two ids.

    The state is a tree of dicts and tuples: the last two ids, and a code of the whole history which is the
    attention, so that an attention row identifies its history.

    Args:
        tables: float [kinds, V, V, V], logits of the next id after the last but one and the last.
        tokenizer: a tokenizer with V ids, or None.
    """

    def __init__(self, tables, tokenizer=None):
        self.tables = np.asarray(tables, np.float32)
        self.kinds, self.size = self.tables.shape[0], self.tables.shape[-1]
        self.tokenizer = tokenizer
        exact = self.tables.astype(np.float64)
        exact = exact - exact.max(-1, keepdims=True)
        self._logp = exact - np.log(np.exp(exact).sum(-1, keepdims=True))
        self.embeddings = np.random.default_rng(5).normal(size=(self.size, LOCATIONS)).astype(np.float32)

    def features(self, kinds) -> np.ndarray:
        """Features [B, L, 1] of images of these kinds."""
        return np.tile(np.asarray(kinds, np.float32)[:, None, None], (1, LOCATIONS, 1))

    # The decoder contract.

    def start(self, features):
        kind = tf.cast(features[:, 0, 0], tf.int32)
        state = {
            "last": (tf.fill(tf.shape(kind), START), {"before": tf.fill(tf.shape(kind), START)}),
            "code": tf.zeros([tf.shape(kind)[0], LOCATIONS]),
        }
        return {"kind": kind}, state

    def step(self, ids, memory, state):
        rows = tf.shape(ids)[0] // tf.shape(memory["kind"])[0]
        kind = tf.repeat(memory["kind"], rows)
        last = state["last"][0]
        code = 0.5 * state["code"] + tf.gather(self.embeddings, ids)
        output = tf.gather_nd(tf.constant(self.tables), tf.stack([kind, last, ids], axis=-1)) * 2.0
        return output, code, {"last": (ids, {"before": last}), "code": code}

    def head(self, output):
        return output / 2.0

    # The same by enumeration.

    def logp(self, kind: int, ids) -> np.ndarray:
        """Log-probabilities of the ids of one caption, each given those before it; float64 [n]."""
        history = [START, START, *ids]
        return self._logp[kind, history[:-2], history[1:-1], history[2:]]

    def attention(self, ids) -> np.ndarray:
        """The attention for each id of a caption: [n, L]."""
        code, rows = np.zeros(LOCATIONS), []
        for word in [START, *ids][: len(ids)]:
            code = 0.5 * code + self.embeddings[word]
            rows.append(code)
        return np.array(rows)

    def captions(self, max_length: int, words) -> Iterator[tuple[int, ...]]:
        """Every caption over these words: ended within `max_length` ids, or cut there."""
        for n in range(max_length + 1):
            for ids in itertools.product(words, repeat=n):
                if n < max_length:
                    yield (*ids, END)
                else:
                    yield ids

    def ranked(self, kind: int, max_length: int, words, alpha: float = 0.0, keep=lambda ids: True):
        """All captions for which `keep` is true, best first: (score, logp, ids)."""
        captions = []
        for ids in filter(keep, self.captions(max_length, words)):
            logp = self.logp(kind, ids).sum()
            captions.append((logp / ((5 + len(ids)) / 6) ** alpha, logp, ids))
        return sorted(captions, reverse=True)


def random_world(size=8, kinds=2, seed=0, spread=1.5, words=None, tokenizer=None) -> World:
    """A world with random logits; with `words`, only these and `<end>` are likely."""
    rng = np.random.default_rng(seed)
    tables = rng.normal(scale=spread, size=(kinds, size, size, size))
    # The forbidden ids are likely, so that a search which does not forbid them fails.
    tables[..., [PAD, START, UNK]] += 2.0
    if words is not None:
        unlikely = np.ones(size, bool)
        unlikely[[END, *words]] = False
        tables[..., unlikely] -= 30.0
    return World(tables, tokenizer)


def garden_path() -> World:
    """A world where the likeliest first word leads to poor captions, and wider beams find better ones.

    The likeliest first word is 4, then 5, 6, 7; the later in that order, the likelier the end after it.
    """
    size = 9
    table = np.full((1, size, size, size), -30.0)
    table[0, START, START, 4:8] = np.log([0.4, 0.3, 0.2, 0.1])
    for word, p_end in zip((4, 5, 6, 7), (0.1, 0.2, 0.45, 1.0), strict=True):
        # After its first word a caption ends with probability `p_end`, else any word follows.
        table[0, START, word, END] = np.log(p_end)
        table[0, START, word, 4:] = np.log((1 - p_end + 1e-9) / 5)
    table[0, 4:, 4:, END] = np.log(0.5)
    table[0, 4:, 4:, 4:] = np.log(0.1)
    return World(table)


def decode(world: World, spec, max_length=5, kinds=None, **options) -> Hypotheses:
    features = world.features(range(world.kinds) if kinds is None else kinds)
    hypotheses = generate(world, features, spec, max_length, world.tokenizer, **options)
    return Hypotheses(*(x.numpy() for x in hypotheses))


class NumpyWorld:
    """A world that takes and returns NumPy arrays, as a model without TensorFlow does."""

    def __init__(self, world: World):
        self.world = world

    def start(self, features):
        return to_numpy(self.world.start(features))

    def step(self, ids, memory, state):
        assert type(ids) is np.ndarray and ids.dtype == np.int32
        return to_numpy(self.world.step(ids, memory, state))

    def head(self, output):
        return output / np.float32(2)


def to_numpy(tree):
    return tf.nest.map_structure(np.asarray, tree)


def decode_in_numpy(world: World, spec, max_length=5, kinds=None, **options) -> Hypotheses:
    features = world.features(range(world.kinds) if kinds is None else kinds)
    with numpy_backend():
        hypotheses = generate(NumpyWorld(world), features, spec, max_length, world.tokenizer, **options)
    assert {type(x) for x in hypotheses} == {np.ndarray}
    return hypotheses


def captions(hypotheses: Hypotheses, image: int) -> list[tuple[int, ...]]:
    return [
        tuple(ids[:n].tolist())
        for ids, n in zip(hypotheses.ids[image], hypotheses.lengths[image], strict=True)
    ]


def words_of(ids) -> tuple[int, ...]:
    return tuple(i for i in ids if i != END)


def assert_same(a: Hypotheses, b: Hypotheses):
    np.testing.assert_array_equal(a.ids, b.ids)
    np.testing.assert_array_equal(a.lengths, b.lengths)
    for x, y in zip(a[2:], b[2:], strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)
