"""How unlike the training images an image is: its out-of-distribution (OOD) score, from the encoder's features alone.

A Gaussian is fitted to the mean features of the training images, scaled to unit length: `training/fit_ood.py`. Its
covariance is that of probabilistic principal component analysis (Tipping and Bishop 1999, "Probabilistic Principal
Component Analysis", eq. 6 and 8): variances l_1 ... l_R along R axes, and one variance s for all directions besides.
The score is the Mahalanobis distance (Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution
Samples and Adversarial Attacks", eq. 2, here of a single class), divided by the square root of C:

    score^2 = (sum over r of (u_r . x)^2 / l_r  +  (|x|^2 - sum over r of (u_r . x)^2) / s) / C,    x = f / |f| - centre

Training images have scores around 1. Where the graph of an image's caption is TensorFlow's or NumPy's, so is this one.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass, fields
from typing import IO, Any

import numpy as np

from captioner.decoding.backend import xp
from captioner.decoding.parameters import read_arrays
from captioner.decoding.pooling import unit
from captioner.errors import BundleError

PROGRAM = "training/fit_ood.py"
_HIGHEST = 1e6  # of scores, so that none is infinite


@dataclass(frozen=True)
class OutOfDistribution:
    """The Gaussian of the training images, and the thresholds of the outcomes; for C channels and R axes.

    Attributes:
        centre: float32 [C]. The mean of the mean features at unit length.
        axes: float16 [C, R]. The principal axes u, unit vectors.
        precisions: float32 [R]. 1 / l, one an axis.
        residual_precision: float32 []. 1 / s, of the directions besides.
        hedge: float32 []. Above this score a caption is hedged.
        decline: float32 []. Above this score an image is declined; `hedge` at least.
        least_confidence: float32 [], 0 to below 1. A caption of lower calibrated confidence is hedged.
        images: int32 []. The number of training images that it was fitted on.
        figures: str []. JSON: how well it tells images apart, as `training/fit_ood.py` measured it.
    """

    centre: np.ndarray
    axes: np.ndarray
    precisions: np.ndarray
    residual_precision: np.ndarray
    hedge: np.ndarray
    decline: np.ndarray
    least_confidence: np.ndarray
    images: np.ndarray
    figures: np.ndarray

    def score(self, mean: Any) -> Any:
        """Out-of-distribution scores: float32 [B], 0 to 1e6, of mean features float [B, C]; see
        `captioner.decoding.pooling.mean_feature`."""
        x = unit(xp.cast(mean, xp.float32)) - self.centre
        along = xp.matmul(x, xp.cast(self.axes, xp.float32)) ** 2
        residual = xp.maximum(xp.reduce_sum(x * x, axis=-1) - xp.reduce_sum(along, axis=-1), 0.0)
        squares = xp.reduce_sum(along * self.precisions, axis=-1) + residual * self.residual_precision
        return xp.minimum((squares / float(len(self.centre))) ** 0.5, _HIGHEST)

    def save(self, path: str | os.PathLike[str] | IO[bytes]) -> None:
        """Writes a `.npz` file."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        if not isinstance(path, str | os.PathLike):
            np.savez(path, **arrays)
            return
        with open(path, "wb") as file:
            np.savez(file, **arrays)

    def to_bytes(self) -> bytes:
        """The content of the file that `save` writes."""
        buffer = io.BytesIO()
        self.save(buffer)
        return buffer.getvalue()

    def measured(self) -> dict[str, Any]:
        """What `training/fit_ood.py` measured, see `training.loop.ood.figures`; {} where that is not recorded."""
        try:
            figures = json.loads(str(self.figures))
        except (ValueError, RecursionError):
            return {}
        return figures if isinstance(figures, dict) else {}

    def _is_sound(self) -> bool:
        """Whether all arrays have the expected types, shapes and ranges."""
        scalars = (self.residual_precision, self.hedge, self.decline, self.least_confidence)
        numbers = (self.centre, self.axes, self.precisions, *scalars)
        return bool(
            self.centre.ndim == 1
            and self.axes.shape == (len(self.centre), len(self.precisions))
            and self.precisions.ndim == 1
            and 0 < len(self.precisions) <= len(self.centre)
            and all(array.shape == () for array in (*scalars, self.images, self.figures))
            and all(array.dtype.kind == "f" and np.isfinite(array).all() for array in numbers)
            and (self.precisions > 0).all()
            and self.residual_precision > 0
            and 0 < self.hedge <= self.decline
            and 0 <= self.least_confidence < 1
            and self.images.dtype.kind == "i"
            and self.images > 0
            and self.figures.dtype.kind == "U"
        )

    @classmethod
    def load(
        cls, source: str | os.PathLike[str] | IO[bytes], channels: int | None = None, where: str = ""
    ) -> OutOfDistribution:
        """Reads what `save` wrote.

        Args:
            source: path, or a binary file that can seek.
            channels: int, default None, which is any. C of the model's features.
            where: str, default "", which is `source`. Name of the file for messages.

        Raises:
            BundleError: if the file is damaged, or was fitted for another encoder.
        """
        where = where or str(source)
        try:
            loaded = cls(**read_arrays(source, [field.name for field in fields(cls)]))
            sound = loaded._is_sound()
        except Exception:  # damage raises exceptions of any kind
            sound = False
        if not sound:
            raise BundleError(f"damaged {where}: run {PROGRAM} again, or delete it")
        if channels is not None and loaded.centre.shape != (channels,):
            raise BundleError(
                f"expected {where} to be fitted for this model ({channels} channels), got {loaded.centre.size} "
                f"channels: run {PROGRAM} again"
            )
        return loaded
