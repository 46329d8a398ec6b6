"""Detokenization in a graph agrees with the tokenizer."""

import numpy as np
import tensorflow as tf

from captioner.exporting.sentences import Sentences
from captioner.text import Tokenizer, words
from captioner.types import END, PAD

TEXTS = [
    "a brown dog runs over the grass",
    "一只狗在草地上跑 und zwei Katzen",
    "犬が走る ドッグ",
    "สุนัขวิ่ง ขาว",
    "ຫມາແລ່ນ",
    "ឆ្កែកំពុងរត់",
    "ခွေးပြေးနေသည်",
    "собака бежит по траве",
    "कुत्ता दौड़ रहा है",
    "كلب يجري على العشب",
    "개가 달린다",
    "🐕 runs 👩‍🚒 🇩🇪 n° 5",
    "l'homme est là",
]


def test_sentences_are_those_of_the_tokenizer():
    vocabulary = list(dict.fromkeys(word for text in TEXTS for word in words(text)))
    tokenizer = Tokenizer(vocabulary)
    sentences = Sentences(tokenizer)
    random = np.random.default_rng(0)
    rows = [tokenizer.encode(text, 12) for text in TEXTS]
    for _ in range(2000):
        row = random.integers(3, len(tokenizer), random.integers(0, 12)).tolist()
        rows.append([*row, END] if random.random() < 0.8 else row)
    ids = np.full((len(rows), 12), PAD, np.int32)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    texts, spelled = sentences.text(tf.constant(ids)).numpy(), sentences.words(tf.constant(ids)).numpy()
    for row, text, one in zip(ids, texts, spelled, strict=True):
        assert text.decode() == tokenizer.decode(row)
        assert tuple(w.decode() for w in one if w) == tokenizer.words(row)
    # Any leading axes, none of them, and no rows at all.
    cube = sentences.text(tf.constant(ids[:6].reshape(2, 3, 12)))
    assert cube.numpy().reshape(-1).tolist() == texts[:6].tolist()
    assert sentences.text(tf.zeros((0, 3, 12), tf.int32)).shape == (0, 3)
