"""From word ids to words and sentences inside a graph, without a lookup table: constants and gathers."""

from __future__ import annotations

import tensorflow as tf

from captioner.text import Tokenizer
from captioner.types import END, PAD, START

_UNSPACED = "一"


class Sentences:
    """Says what a tokenizer says, in a graph.

    Whether a space stands between two words depends on the two words alone, and for each on one thing: whether
    it belongs to a script written without spaces. The tokenizer itself is asked, once for every word.

    Args:
        tokenizer: Tokenizer.

    Example:
        >>> said = Sentences(Tokenizer(["一", "狗", "dog"]))
        >>> said.text(tf.constant([[4, 5, 6, 2, 0]])).numpy()[0].decode()
        '一狗 dog'
    """

    def __init__(self, tokenizer: Tokenizer):
        words = tokenizer.vocabulary
        self._words = [word.encode() for word in words]
        self._unspaced = [tokenizer.detokenize([_UNSPACED, word]) == _UNSPACED + word for word in words]

    def said(self, ids: tf.Tensor) -> tf.Tensor:
        """Which ids are words: bool, shaped like `ids`."""
        return (ids != PAD) & (ids != START) & (ids != END)

    def words(self, ids: tf.Tensor) -> tf.Tensor:
        """The words of ids [..., T] that end as a search ends them; "" for special tokens but `<unk>`."""
        return tf.where(self.said(ids), tf.gather(self._words, ids), "")

    def text(self, ids: tf.Tensor) -> tf.Tensor:
        """The sentences [...] of ids [..., T]."""
        unspaced = tf.gather(self._unspaced, ids)
        # Nothing stands before the first word, and so no space.
        first = tf.range(tf.shape(ids)[-1]) == 0
        glued = first | (tf.roll(unspaced, 1, axis=-1) & unspaced) | ~self.said(ids)
        return tf.strings.reduce_join(tf.strings.join([tf.where(glued, "", " "), self.words(ids)]), axis=-1)
