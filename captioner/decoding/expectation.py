"""What people would say of an image, in expectation: the CIDEr-D that a caption may hope for, before anybody captions.

CIDEr-D compares captions as vectors of n-grams, weighted by tf-idf and of unit length (Vedantam et al. 2015, eq. 1-3).
Its mean over an image's references is one product of the caption's vector with their mean vector, and that mean is
predicted here: by linear regression on the mean feature, of low rank, learnt in closed form (`training/expect.py`). So
the expected CIDEr-D of any caption of any image is a sum over its n-grams. What CIDEr-D does besides, clipping counts
and punishing other lengths (section 6 there), is left out.

That captions of similar images choose well among a model's own is known from Devlin et al. 2015, "Exploring Nearest
Neighbor Approaches for Image Captioning"; regression uses all images instead of the nearest.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from captioner.decoding.backend import tf
from captioner.decoding.ngrams import ORDERS, ngrams
from captioner.errors import BundleError

_MIX = 31  # n-grams of different orders share one table


@dataclass(frozen=True)
class Expectation:
    """A learnt expectation, for G n-grams, features of C channels and rank R.

    Attributes:
        keys: int32 [G], ascending. The n-grams' numbers, see `keyed`.
        idf: float32 [G]. log(images / images in whose captions the n-gram occurs).
        mean: float32 [G]. Entries of the mean vector over all images.
        vectors: float16 [G, R]. What the image adds: the product with what `seen` gives.
        centre: float32 [C]. The mean feature over all images.
        project: float32 [C, R].
        images: int32 []. How many it was learnt from.
        vocabulary: str []. The fingerprint of the tokenizer whose ids it reads.
    """

    keys: np.ndarray
    idf: np.ndarray
    mean: np.ndarray
    vectors: np.ndarray
    centre: np.ndarray
    project: np.ndarray
    images: np.ndarray
    vocabulary: np.ndarray

    def seen(self, features: Any) -> Any:
        """What an image says of its captions: float32 [B, R] of features [B, L, C]."""
        mean = tf.reduce_sum(tf.cast(features, tf.float32), axis=1) / float(features.shape[1])
        return tf.matmul(unit(mean - self.centre), self.project)

    def gain(self, seen: Any, ids: Any) -> Any:
        """The expected CIDEr-D, not x100, of captions.

        Args:
            seen: float32 [B, R], see `seen`.
            ids: int32 [B, K, T], `<pad>` behind the end.

        Returns:
            float32 [B, K].
        """
        total = 0.0
        k = ids.shape[1]
        for n, grams, real in ngrams(ids):
            places, keys = grams.shape[2], keyed(grams, n)
            flat = tf.reshape(keys, [-1])
            place = tf.minimum(tf.searchsorted(self.keys, flat), len(self.keys) - 1)
            shape = [-1, k, places]
            known = tf.reshape(tf.gather(self.keys, place) == flat, shape) & real
            # What is not in the table occurs with hardly an image.
            rarity = tf.where(
                known, tf.reshape(tf.gather(self.idf, place), shape), float(np.log(self.images))
            )
            vectors = tf.cast(
                tf.reshape(tf.gather(self.vectors, place), [-1, k * places, self.vectors.shape[1]]),
                tf.float32,
            )
            said = tf.reshape(tf.matmul(vectors, seen[:, :, tf.newaxis]), shape)
            said = said + tf.reshape(tf.gather(self.mean, place), shape)
            dot = tf.reduce_sum(tf.where(known, rarity * said, 0.0), axis=-1)
            same = (keys[..., tf.newaxis] == keys[..., tf.newaxis, :]) & real[..., tf.newaxis, :]
            times = tf.reduce_sum(tf.cast(same, tf.float32), axis=-1)
            squares = tf.reduce_sum(tf.where(real, times * rarity**2, 0.0), axis=-1)
            total = total + dot / tf.maximum(squares, 1e-12) ** 0.5
        return 10.0 / ORDERS * total

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a `.npz` file."""
        with open(path, "wb") as file:
            np.savez(file, **{each.name: getattr(self, each.name) for each in fields(self)})

    def _sound(self) -> bool:
        """Whether all arrays are of the kinds and shapes that they should be, and finite."""
        count, rank = self.vectors.shape
        numbers = (self.idf, self.mean, self.vectors, self.centre, self.project)
        return bool(
            self.keys.shape == self.idf.shape == self.mean.shape == (count,)
            and count > 0
            and self.project.shape == (*self.centre.shape, rank)
            and self.keys.dtype.kind == self.images.dtype.kind == "i"
            and (self.images.shape, self.vocabulary.shape) == ((), ())
            and self.images > 0
            and self.vocabulary.dtype.kind == "U"
            and all(array.dtype.kind == "f" and np.isfinite(array).all() for array in numbers)
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], vocabulary: str, channels: int) -> Expectation:
        """Reads what `save` wrote.

        Args:
            path: str or PathLike.
            vocabulary: str. The fingerprint of the model's tokenizer.
            channels: int. C of the model's features.

        Raises:
            BundleError: if the file is damaged, or was learnt for another vocabulary or encoder.
        """
        try:
            with zipfile.ZipFile(
                path
            ) as archive:  # `save` compresses nothing: no member is larger than the file
                whole = all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
            if whole:
                with np.load(path, allow_pickle=False) as file:
                    found = cls(**{each.name: file[each.name] for each in fields(cls)})
                whole = found._sound()
        except Exception:  # damage shows in as many ways as there are bytes
            whole = False
        if not whole:
            raise BundleError(f"damaged {path}: run training/expect.py again, or delete it")
        if str(found.vocabulary) != vocabulary or found.centre.shape != (channels,):
            raise BundleError(
                f"expected {path} to be learnt for this model ({channels} channels, vocabulary {vocabulary[:12]}), got "
                f"{found.centre.size} channels, vocabulary {str(found.vocabulary)[:12]}: run training/expect.py again"
            )
        return found


def keyed(grams: Any, n: int) -> Any:
    """Numbers of n-grams of order n, as `Expectation.keys` holds them."""
    return grams * _MIX + n


def unit(x: Any) -> Any:
    """Rows [N, C] at unit length."""
    return x / tf.maximum(tf.reduce_sum(x * x, axis=-1, keepdims=True), 1e-12) ** 0.5
