"""CIDEr regression: image-conditioned reranking by the expected CIDEr-D, predicted from the image's features.

CIDEr-D compares captions as vectors of n-grams, weighted by tf-idf and of unit length (Vedantam et al. 2015, eq. 1-3).
Its mean over an image's references is one product of the caption's vector with their mean vector, and that mean is
predicted here: by linear regression on the mean feature, of low rank, fitted in closed form
(`training/fit_cider_regression.py`). So the expected CIDEr-D of any caption of any image is a sum over its n-grams.
Clipped counts and the length penalty of CIDEr-D (section 6 there) are left out.

That captions of similar images choose well among a model's own is known from Devlin et al. 2015, "Exploring Nearest
Neighbor Approaches for Image Captioning"; regression uses all images instead of the nearest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from captioner import checks
from captioner.decoding.backend import xp
from captioner.decoding.parameters import read_arrays
from captioner.decoding.pooling import mean_feature, unit
from captioner.errors import BundleError
from captioner.rerank.base import Reranker
from captioner.rerank.ngrams import ORDERS, keyed, ngrams
from captioner.types import Hypotheses

_PROGRAM = "training/fit_cider_regression.py"
# Arrays of the file whose names in format 1 are others than here.
_STORED_AS = {"projection": "project", "images": "pictures"}


class CiderRegressionReranker(Reranker):
    """Image-conditioned reranking: the caption of the highest CIDEr-D predicted from the image's features.

    The `score` is the predicted CIDEr-D (not x100) of a caption with the image's references, plus `logp_weight` times
    the mean log-probability of the caption's ids, the end token included. The model must have been fitted with
    `training/fit_cider_regression.py`; a `.tflite` file cannot hold the fitted parameters.

    Args:
        logp_weight: float from 0 to 1000. Weight of the mean log-probability, in CIDEr-D a nat. Defaults to `0.3`.

    Raises:
        SpecError: for an option out of range.

    Example:
        >>> CiderRegressionReranker(logp_weight=0).logp_weight
        0.0
    """

    parameters = "cider_regression"

    def __init__(self, logp_weight: float = 0.3):
        self.logp_weight = checks.number(logp_weight, "logp_weight", 0.0, 1e3)

    @classmethod
    def load(cls, path: str | os.PathLike[str], vocabulary: str, channels: int) -> CiderRegression:
        """See `CiderRegression.load`."""
        return CiderRegression.load(path, vocabulary, channels)

    def score(self, hypotheses: Hypotheses, features: Any, parameters: CiderRegression) -> Any:
        """Predicted CIDEr-D and weighted log-probability, see `Reranker.score`."""
        lengths = xp.cast(xp.maximum(hypotheses.lengths, 1), xp.float32)
        predicted = parameters.predict(parameters.project(features), hypotheses.ids)
        return predicted + self.logp_weight * hypotheses.logp / lengths


@dataclass(frozen=True)
class CiderRegression:
    """A fitted regression from mean features to mean tf-idf vectors, for G n-grams, C channels and rank R.

    It is a sum of S regressions, each with its own centre: one, or that of an initial model and that of what it leaves
    to explain.

    Attributes:
        keys: int32 [G], ascending. The n-grams, see `captioner.rerank.ngrams.keyed`.
        idf: float32 [G]. log(images / images in whose captions the n-gram occurs).
        mean: float32 [G]. Entries of the mean tf-idf vector over all images.
        vectors: float16 [G, S * R]. Their product with the projected image is added to `mean`.
        centre: float32 [S, C]. The mean feature over all images; [C] where S is 1.
        projection: float32 [S, C, R]; [C, R] where S is 1.
        images: int32 []. The number of images it was fitted on.
        vocabulary: str []. The fingerprint of the tokenizer.
    """

    keys: np.ndarray
    idf: np.ndarray
    mean: np.ndarray
    vectors: np.ndarray
    centre: np.ndarray
    projection: np.ndarray
    images: np.ndarray
    vocabulary: np.ndarray

    def project(self, features: Any) -> Any:
        """Images in the regression's dimensions: float32 [B, S * R] of features [B, L, C]."""
        mean = mean_feature(features)
        return xp.concat([xp.matmul(unit(mean - c), p) for c, p in self.terms()], axis=-1)

    def terms(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The centre [C] and the projection [C, R] of each of the S regressions."""
        if self.centre.ndim == 1:
            return [(self.centre, self.projection)]
        return list(zip(self.centre, self.projection, strict=True))

    def predict(self, projected: Any, ids: Any) -> Any:
        """The expected CIDEr-D, not x100, of captions.

        Args:
            projected: float32 [B, S * R], see `project`.
            ids: int32 [B, K, T], `<pad>` after the end.

        Returns:
            float32 [B, K].
        """
        total = 0.0
        k = ids.shape[1]
        for n, grams, real in ngrams(ids):
            positions, keys = grams.shape[2], keyed(grams, n)
            shape = [-1, k, positions]
            flat = xp.reshape(keys, [-1])
            row = xp.minimum(xp.searchsorted(self.keys, flat), len(self.keys) - 1)
            known = xp.reshape(xp.gather(self.keys, row) == flat, shape) & real
            # An n-gram that is not in the table counts as occurring with one image.
            idf = xp.where(known, xp.reshape(xp.gather(self.idf, row), shape), float(np.log(self.images)))
            vectors = xp.cast(
                xp.reshape(xp.gather(self.vectors, row), [-1, k * positions, self.vectors.shape[1]]),
                xp.float32,
            )
            reference = xp.reshape(xp.matmul(vectors, projected[:, :, xp.newaxis]), shape)
            reference = reference + xp.reshape(xp.gather(self.mean, row), shape)
            # Summed over positions, an n-gram that occurs c times counts c times: term frequency times idf.
            dot = xp.reduce_sum(xp.where(known, idf * reference, 0.0), axis=-1)
            same = (keys[..., xp.newaxis] == keys[..., xp.newaxis, :]) & real[..., xp.newaxis, :]
            count = xp.reduce_sum(xp.cast(same, xp.float32), axis=-1)
            squares = xp.reduce_sum(xp.where(real, count * idf**2, 0.0), axis=-1)
            total = total + dot / xp.maximum(squares, 1e-12) ** 0.5
        return 10.0 / ORDERS * total

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a `.npz` file."""
        with open(path, "wb") as file:
            np.savez(file, **{stored: getattr(self, name) for name, stored in _stored_names().items()})

    def _is_sound(self) -> bool:
        """Whether all arrays have the expected types and shapes and are finite."""
        count, width = self.vectors.shape
        terms = 1 if self.centre.ndim == 1 else len(self.centre)
        numbers = (self.idf, self.mean, self.vectors, self.centre, self.projection)
        return bool(
            self.keys.shape == self.idf.shape == self.mean.shape == (count,)
            and count > 0
            and self.centre.ndim in (1, 2)
            and terms > 0
            and self.projection.shape == (*self.centre.shape, width // terms)
            and width % terms == 0
            and self.keys.dtype.kind == self.images.dtype.kind == "i"
            and (self.images.shape, self.vocabulary.shape) == ((), ())
            and self.images > 0
            and self.vocabulary.dtype.kind == "U"
            and all(array.dtype.kind == "f" and np.isfinite(array).all() for array in numbers)
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], vocabulary: str, channels: int) -> CiderRegression:
        """Reads a file written by `save`.

        Args:
            path: str or PathLike.
            vocabulary: str. The fingerprint of the model's tokenizer.
            channels: int. C of the model's features.

        Raises:
            BundleError: if the file is damaged, or was fitted for another vocabulary or encoder.
        """
        try:
            arrays = read_arrays(path, _stored_names().values())
            loaded = cls(**{name: arrays[stored] for name, stored in _stored_names().items()})
            sound = loaded._is_sound()
        except Exception:  # damage raises exceptions of any kind
            sound = False
        if not sound:
            raise BundleError(f"damaged {path}: run {_PROGRAM} again, or delete it")
        if str(loaded.vocabulary) != vocabulary or loaded.centre.shape[-1] != channels:
            raise BundleError(
                f"expected {path} to be fitted for this model ({channels} channels, vocabulary {vocabulary[:12]}), got "
                f"{loaded.centre.shape[-1]} channels, vocabulary {str(loaded.vocabulary)[:12]}: run {_PROGRAM} again"
            )
        return loaded


def _stored_names() -> dict[str, str]:
    """The arrays of a `CiderRegression`, and their names in its file."""
    return {field.name: _STORED_AS.get(field.name, field.name) for field in fields(CiderRegression)}
