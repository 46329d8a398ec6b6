"""Self-critical training (Rennie et al. 2017): policy gradient on CIDEr-D of sampled captions, with a baseline.

For an image with samples c_1 .. c_n of rewards r_i, CIDEr-D against its references, the gradient is that of

    - sum_i (r_i - b_i) log p(c_i)                               (Rennie et al. 2017, section 3)

with the mean reward of the other samples as baseline b_i (Luo 2020, "A better variant of self-critical sequence
training"), or the reward of the greedy caption (Rennie et al. 2017). References may stay in the
loss beside it, which keeps sentences fluent. Document frequencies are those of the training captions, in a mixture
those of the image's source, and the end token counts as a word: without it the model learns to end its captions too
early.

Samples and references are captions of one packed batch, so the network runs as in teacher forcing, with other weights
of the words.
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
from training.data.batches import Batch, ahead, caption_weights, shown_in
from training.data.datasets import Example
from training.data.source import Source


class SelfCriticalBatches:
    """Batches of captions sampled from the model, weighted by their advantage.

    Args:
        settings: SelfCritical.
        source: Source. The data of the run.
        model: CaptionModel. Batches are sampled from its current weights.
        seed: int. Order and samples depend on (seed, epoch, step) alone.

    Attributes:
        profile: row counts n_0 >= n_1 >= ... that batches are filled up to; it grows when captions get longer.
    """

    def __init__(self, settings: SelfCritical, source: Source, model: CaptionModel, seed: int):
        self.settings, self.source, self.model, self.seed = settings, source, model, seed
        examples = source.examples("train")
        self._count = len(examples)
        self.batch = min(settings.batch_images, self._count)
        self.reward = SourceReward(examples, source.tokenizer.vocabulary)
        self._repeats = source.run.data.repeats * np.array([example.repeats for example in examples])
        self._loss_weights = np.array([example.loss_weight for example in examples])
        self._references = [
            [source.tokenizer.encode(caption, model.max_length) for caption in example.captions]
            for example in examples
        ]
        self.group = settings.samples + settings.references
        self.profile: list[int] = []
        self._sample = tf.function(self._sampled, autograph=False)

    def _sampled(self, inputs: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Ids [B, n, T] of samples, and [B, 1, T] of greedy captions if they are the baseline."""
        model, settings = self.model, self.settings
        features = inputs if self.source.key == "features" else model.encode(inputs)
        sample = f"sample(n={settings.samples}, temperature={settings.temperature})"
        samples = generate(model, features, sample, model.max_length, model.tokenizer, seed).ids
        if settings.baseline == "greedy":
            return samples, generate(model, features, "greedy", model.max_length, model.tokenizer).ids
        return samples, samples[:, :0]

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Numbers of the images of each batch of an epoch; the last batch is filled up with those of the first."""
        rng = np.random.default_rng([self.seed, epoch])
        counts = shown_in(epoch, self._repeats)
        rounds = [np.flatnonzero(counts > number) for number in range(counts.max())]
        order = np.concatenate([[], *(shown[rng.permutation(len(shown))] for shown in rounds)]).astype(int)
        order = np.resize(order, -(-len(order) // self.batch) * self.batch)
        return list(order.reshape(-1, self.batch))

    def epoch(
        self, epoch: int, read: Callable[[np.ndarray, Sequence[int]], Any], key: str, skip: int = 0
    ) -> Iterator[Batch]:
        """Batches of an epoch. Images are read ahead; captions are sampled when a batch is asked for."""
        plan = self.plan(epoch)
        numbers = range(skip, len(plan))
        read_ahead = ahead(lambda number: read(plan[number], [self.seed, epoch, number]), numbers)
        for number, inputs in zip(numbers, read_ahead, strict=True):
            seed = np.random.default_rng([self.seed, epoch, number, 1]).integers(0, 2**31 - 1, 2)
            yield self.make(plan[number], inputs, key, seed.astype(np.int32))

    def make(self, images: np.ndarray, inputs: Any, key: str, seed: np.ndarray) -> Batch:
        """Samples captions of images, computes their rewards, and packs them.

        Args:
            images: int [B]. Numbers of the images.
            inputs: features [B, L, C] or pixels [B, H, W, 3].
            key: str. The input of the network that they are.
            seed: int32 [2].
        """
        start = time.perf_counter()
        samples, greedy = (ids.numpy() for ids in self._sample(tf.convert_to_tensor(inputs), seed))
        sampled = time.perf_counter()
        rewards = self.rewards(samples, images)
        advantages = self.advantages(rewards, self.rewards(greedy, images))
        rewarded = time.perf_counter()
        captions = [_until_end(row) for row in samples.reshape(-1, samples.shape[2])]
        owners = np.repeat(np.arange(self.batch), self.settings.samples).tolist()
        # Samples, and likewise references, count by their mean over words.
        words_sampled = self._weighted_words(captions, images[owners])
        advantage = (advantages * self._loss_weights[images, None]).ravel() / words_sampled
        references = self._sample_references(images, seed)
        drawn = [caption for _, caption in references]
        reference_owners = [owner for owner, _ in references]
        reference_weights = self._loss_weights[images[reference_owners]] * self.settings.xe_weight
        reference_weights /= self._weighted_words(drawn, images[reference_owners]) or 1.0
        captions, owners = captions + drawn, owners + reference_owners
        packed = pack(captions, owners, self.batch, self.group, self._fit_profile(captions))
        weights = caption_weights(packed, captions, [*advantage, *reference_weights])
        metrics = {
            "reward": float(rewards.mean()),
            "sample_seconds": sampled - start,
            "reward_seconds": rewarded - sampled,
        }
        return Batch({key: inputs, **packed.as_inputs()}, packed.targets, weights, len(captions), metrics)

    def _weighted_words(self, captions: list[list[int]], images: np.ndarray) -> float:
        """Words of captions, those of each image as often as its loss weight says."""
        return float(np.dot(self._loss_weights[images], [len(caption) for caption in captions]))

    def rewards(self, ids: np.ndarray, images: np.ndarray) -> np.ndarray:
        """CIDEr-D, not x100, of captions [B, n, T]: float64 [B, n]."""
        count, n, length = ids.shape
        if not n:
            return np.zeros((count, 0))
        return self.reward(ids.reshape(-1, length), np.repeat(images, n)).reshape(count, n)

    def advantages(self, rewards: np.ndarray, greedy: np.ndarray) -> np.ndarray:
        """Rewards minus their baseline: [B, n], from rewards [B, n] and greedy rewards [B, 1], or none [B, 0]."""
        if greedy.size:
            return rewards - greedy
        n = rewards.shape[1]
        return (rewards - rewards.mean(axis=1, keepdims=True)) * (n / (n - 1))

    def _sample_references(self, images: np.ndarray, seed: np.ndarray) -> list[tuple[int, list[int]]]:
        """Some references of each image, each with the image's index in the batch."""
        rng = np.random.default_rng(seed)
        return [
            (index, self._references[image][which])
            for index, image in enumerate(images)
            for which in rng.permutation(len(self._references[image]))[: self.settings.references]
        ]

    def _fit_profile(self, captions: list[list[int]]) -> list[int]:
        """The profile, enlarged if these captions need it: the network is traced anew then, so it grows by a margin."""
        counts = row_counts([len(caption) for caption in captions])
        needed, current = (
            np.pad(np.array(rows, int), (0, self.model.max_length - len(rows)))
            for rows in (counts, self.profile)
        )
        if (needed > current).any():
            room = np.minimum(8 * np.ceil((1.15 * needed + 4) / 8), self.batch * self.group)
            grown = np.where(needed, np.maximum(room, current), current).astype(int)
            self.profile = np.trim_zeros(np.maximum.accumulate(grown[::-1])[::-1], "b").tolist()
            # Keras would reuse a function traced for unknown shapes, and the network needs known ones.
            self.model.make_train_function(force=True)
        return self.profile


class SourceReward:
    """CIDEr-D of captions with the document frequencies of the training captions of their image's source.

    What a word says depends on what is usual where the image is from: among labels "dog" is rare, among photographs of
    dogs it is not. Without a mixture all images are of one source.

    Args:
        examples: the training images.
        vocabulary: sequence of str. `Tokenizer.vocabulary`.
    """

    def __init__(self, examples: Sequence[Example], vocabulary: Sequence[str]):
        names = sorted({example.source for example in examples})
        self._source = np.array([names.index(example.source) for example in examples])
        self._place = np.zeros(len(examples), int)  # of an image among those of its source
        self._rewards = []
        for number in range(len(names)):
            images = np.flatnonzero(self._source == number)
            self._place[images] = np.arange(len(images))
            references = [
                [words(caption) for caption in examples[image].captions] for image in images.tolist()
            ]
            self._rewards.append(CiderD(corpus=references, count_end=True).prepare(references, vocabulary))

    def __call__(self, ids: np.ndarray, images: np.ndarray) -> np.ndarray:
        """float64 [N], not x100, of captions [N, T] for the images [N]; see `CiderReward`."""
        images = np.asarray(images)
        rewards = np.zeros(len(ids))
        for number, reward in enumerate(self._rewards):
            chosen = self._source[images] == number
            if chosen.any():
                rewards[chosen] = reward(ids[chosen], self._place[images[chosen]])
        return rewards


def _until_end(ids: np.ndarray) -> list[int]:
    """The ids of a caption up to its end token, which is included."""
    ends = np.flatnonzero(ids == END)
    return ids[: ends[0] + 1 if len(ends) else len(ids)].tolist()
