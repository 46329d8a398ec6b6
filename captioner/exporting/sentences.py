"""Detokenization inside a graph: ids to words and sentences, by constants and gathers instead of a lookup table."""

from __future__ import annotations

import tensorflow as tf

from captioner.text import Tokenizer
from captioner.text.languages import rules
from captioner.types import DECLINED, END, HEDGED, OUTCOMES, PAD, START

_UNSPACED = "一"


class Sentences:
    """The detokenizer of a `Tokenizer`, in a graph.

    Whether there is a space between two words depends on whether each belongs to a script written without spaces.
    The tokenizer itself tells that of every word of the vocabulary, once.

    Args:
        tokenizer: Tokenizer.

    Example:
        >>> sentences = Sentences(Tokenizer(["一", "狗", "dog"]))
        >>> sentences.text(tf.constant([[4, 5, 6, 2, 0]])).numpy()[0].decode()
        '一狗 dog'
    """

    def __init__(self, tokenizer: Tokenizer):
        words = tokenizer.vocabulary
        self._words = [word.encode() for word in words]
        self._unspaced = [tokenizer.detokenize([_UNSPACED, word]) == _UNSPACED + word for word in words]

    def is_word(self, ids: tf.Tensor) -> tf.Tensor:
        """Which ids are words, `<unk>` among them: bool, shaped like `ids`."""
        return (ids != PAD) & (ids != START) & (ids != END)

    def words(self, ids: tf.Tensor) -> tf.Tensor:
        """The words of ids: string, shaped like `ids`; "" for special tokens other than `<unk>`."""
        return tf.where(self.is_word(ids), tf.gather(self._words, ids), "")

    @staticmethod
    def outcomes(
        sentences: tf.Tensor, codes: tf.Tensor, scores: tf.Tensor, language: str
    ) -> dict[str, tf.Tensor]:
        """The served outputs of outcomes, [B] each: `captioner.outputs.outcome.judged` in a graph.

        Args:
            sentences: string [B].
            codes: int32 [B]. Indices of `OUTCOMES`.
            scores: float32 [B]. Out-of-distribution scores.
            language: str. The language of the sentences.

        Example:
            >>> Sentences.outcomes(tf.constant(["a dog"]), tf.constant([1]), tf.constant([1.7]), "en")["text"].numpy()
            array([b'Perhaps: a dog'], dtype=object)
        """
        spoken = rules(language)
        hedged = (codes == OUTCOMES.index(HEDGED)) & (sentences != "")
        text = tf.where(hedged, tf.strings.join([spoken.hedge, sentences]), sentences)
        text = tf.where(codes == OUTCOMES.index(DECLINED), spoken.declined, text)
        return {"text": text, "outcome": tf.gather(list(OUTCOMES), codes), "ood_score": scores}

    def text(self, ids: tf.Tensor) -> tf.Tensor:
        """Sentences: string [...] of ids [..., T]."""
        unspaced = tf.gather(self._unspaced, ids)
        # No space before the first word.
        first = tf.range(tf.shape(ids)[-1]) == 0
        joined = first | (tf.roll(unspaced, 1, axis=-1) & unspaced) | ~self.is_word(ids)
        return tf.strings.reduce_join(tf.strings.join([tf.where(joined, "", " "), self.words(ids)]), axis=-1)
