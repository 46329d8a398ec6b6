"""Self-critical training (Rennie et al. 2017): captions are drawn from the model and those above its own average paid.

For an image with samples c_1 .. c_n of reward r_i, CIDEr-D against its references, the gradient is that of

    - sum_i (r_i - b_i) log p(c_i)                               (Rennie et al. 2017, section 3)

with the mean reward of the other samples as baseline b_i (Luo 2020, "A better variant of self-critical sequence
training"), or the reward of the greedy caption (Rennie et al. 2017). The references themselves may stay
in the loss beside it, so that sentences stay sentences. Document frequencies are those of the training captions, and
the end counts as a word: without it the model learns to break off.

Samples and references are captions of one packed batch, so the network runs as in teacher forcing; what differs
are the weights of their words.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from captioner.decoding import generate
from captioner.metrics.cider import CiderD
from captioner.models import CaptionModel
from captioner.models.packing import pack, row_counts
from captioner.text import words
from captioner.types import END
from training.config import SelfCritical
from training.data.batches import Batch, ahead
from training.data.source import Source


class SelfCriticalBatches:
    """Batches of captions that the model itself says, weighted by how much better than expected they are.

    Args:
        settings: SelfCritical.
        source: Source. The data of the run.
        model: CaptionModel. As it is when a batch is made.
        seed: int. Order and draws depend on (seed, epoch, step) alone.

    Attributes:
        profile: row counts n_0 >= n_1 >= ... that batches are filled up to; it grows when captions get longer.
    """

    def __init__(self, settings: SelfCritical, source: Source, model: CaptionModel, seed: int):
        self.settings, self.source, self.model, self.seed = settings, source, model, seed
        examples = source.examples("train")
        self._count = len(examples)
        self.batch = min(settings.batch_images, self._count)
        references = [[words(caption) for caption in example.captions] for example in examples]
        self.reward = CiderD(corpus=references, count_end=True).prepare(
            references, source.tokenizer.vocabulary
        )
        self._references = [
            [source.tokenizer.encode(caption, model.max_length) for caption in example.captions]
            for example in examples
        ]
        self.group = settings.samples + settings.references
        self.profile: list[int] = []
        self._draw = tf.function(self._drawn, autograph=False)

    def _drawn(self, inputs: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids [B, n, T] of samples, and [B, 1, T] of greedy captions if they are the baseline."""
        model, settings = self.model, self.settings
        features = inputs if self.source.key == "features" else model.encode(inputs)
        sample = f"sample(n={settings.samples}, temperature={settings.temperature})"
        drawn = generate(model, features, sample, model.max_length, model.tokenizer, seed).ids
        if settings.baseline == "greedy":
            return drawn, generate(model, features, "greedy", model.max_length, model.tokenizer).ids
        return drawn, drawn[:, :0]

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Which images make up each batch of an epoch; the last batch is filled up with those of the first."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self._count)
        order = np.resize(order, -(-self._count // self.batch) * self.batch)
        return list(order.reshape(-1, self.batch))

    def epoch(
        self, epoch: int, read: Callable[[np.ndarray, Sequence[int]], Any], key: str, skip: int = 0
    ) -> Iterator[Batch]:
        """Batches of an epoch. Images are read ahead; captions are drawn when a batch is asked for."""
        plan = self.plan(epoch)
        numbers = range(skip, len(plan))
        seen = ahead(lambda number: read(plan[number], [self.seed, epoch, number]), numbers)
        for number, inputs in zip(numbers, seen, strict=True):
            seed = np.random.default_rng([self.seed, epoch, number, 1]).integers(0, 2**31 - 1, 2)
            yield self.make(plan[number], inputs, key, seed.astype(np.int32))

    def make(self, images: np.ndarray, inputs: Any, key: str, seed: np.ndarray) -> Batch:
        """Draws captions of images, pays them, and packs them.

        Args:
            images: int [B]. Numbers of the images.
            inputs: features [B, L, C] or pixels [B, H, W, 3].
            key: str. The name the network takes these by.
            seed: int32 [2].
        """
        began = time.perf_counter()
        drawn, greedy = (ids.numpy() for ids in self._draw(tf.convert_to_tensor(inputs), seed))
        drew = time.perf_counter()
        rewards = self.rewards(drawn, images)
        advantages = self.advantages(rewards, self.rewards(greedy, images))
        paid = time.perf_counter()
        captions = [_said(row) for row in drawn.reshape(-1, drawn.shape[2])]
        owners = np.repeat(np.arange(self.batch), self.settings.samples).tolist()
        # Each kind of caption counts by its mean over words.
        worth = (advantages.ravel() / sum(map(len, captions))).tolist()
        told = self._told(images, seed)
        share = self.settings.xe_weight / max(1, sum(len(caption) for _, caption in told))
        captions += [caption for _, caption in told]
        owners += [owner for owner, _ in told]
        worth += [share] * len(told)
        packed = pack(captions, owners, self.batch, self.group, self._fitting(captions))
        weights = np.zeros_like(packed.weights)
        at = np.cumsum([0, *(len(ids) for ids in packed.inputs)])
        for row, caption in zip(packed.order, range(len(captions)), strict=True):
            weights[at[: len(captions[caption])] + row] = worth[caption]
        figures = {
            "reward": float(rewards.mean()),
            "drawing": drew - began,
            "paying": paid - drew,
        }
        return Batch({key: inputs, **packed.as_inputs()}, packed.targets, weights, len(captions), figures)

    def rewards(self, ids: np.ndarray, images: np.ndarray) -> np.ndarray:
        """CIDEr-D, not x100, of captions [B, n, T]: float64 [B, n]."""
        count, n, length = ids.shape
        if not n:
            return np.zeros((count, 0))
        return self.reward(ids.reshape(-1, length), np.repeat(images, n)).reshape(count, n)

    def advantages(self, rewards: np.ndarray, greedy: np.ndarray) -> np.ndarray:
        """How much more than expected each sample earned: [B, n], of rewards [B, n] and [B, 1] or [B, 0]."""
        if greedy.size:
            return rewards - greedy
        n = rewards.shape[1]
        return (rewards - rewards.mean(axis=1, keepdims=True)) * (n / (n - 1))

    def _told(self, images: np.ndarray, seed: np.ndarray) -> list[tuple[int, list[int]]]:
        """Some references of each image, with its place in the batch."""
        chosen = np.random.default_rng(seed)
        return [
            (place, self._references[image][which])
            for place, image in enumerate(images)
            for which in chosen.permutation(len(self._references[image]))[: self.settings.references]
        ]

    def _fitting(self, captions: list[list[int]]) -> list[int]:
        """The profile, grown if these captions need more: then the network is traced anew, so it grows by a margin."""
        counts = row_counts([len(caption) for caption in captions])
        needed, known = (
            np.pad(np.array(each, int), (0, self.model.max_length - len(each)))
            for each in (counts, self.profile)
        )
        if (needed > known).any():
            room = np.minimum(8 * np.ceil((1.15 * needed + 4) / 8), self.batch * self.group)
            grown = np.where(needed, np.maximum(room, known), known).astype(int)
            self.profile = np.trim_zeros(np.maximum.accumulate(grown[::-1])[::-1], "b").tolist()
            # Keras' own function would be traced for any shapes, and the network needs to know them.
            self.model.make_train_function(force=True)
        return self.profile


def _said(ids: np.ndarray) -> list[int]:
    """The ids of a caption up to its end, that included."""
    ended = np.flatnonzero(ids == END)
    return ids[: ended[0] + 1 if len(ended) else len(ids)].tolist()
