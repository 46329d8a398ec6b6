"""A tiny model that has all three outcomes on drawn images, and captions that have them."""

from dataclasses import replace

import numpy as np

from captioner.decoding.pooling import mean_feature
from captioner.engines.fake import FakeEngine
from captioner.outputs.ood import OutOfDistribution
from captioner.outputs.outcome import judged
from captioner.types import OUTCOMES
from tests.support.images import odd_images
from tests.support.models.tiny_model import build_tiny_model
from training.loop import ood

CALIBRATION = {"bias": 2.0, "weights": {"mean_logp": 1.0, "least_logp": 0.25, "words": 0.0}}
# Of the model's own size, so that no resizing comes between engines.
IMAGES = [odd_images.encoded(odd_images.drawn(32, 32, turn=40 * i), "PNG") for i in range(6)]


def parameters(channels=5, rank=2, seed=0, **changes):
    """An `OutOfDistribution` of random numbers, hedging above 1.5 and declining above 2.5."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(channels, rank)))[0]
    arrays = {
        "centre": random.normal(size=channels).astype(np.float32),
        "axes": axes.astype(np.float16),
        "precisions": random.uniform(1, 4, rank).astype(np.float32),
        "residual_precision": np.array(5, np.float32),
        "hedge": np.array(1.5, np.float32),
        "decline": np.array(2.5, np.float32),
        "least_confidence": np.array(0, np.float32),
        "images": np.array(9, np.int32),
        "figures": np.array(""),
    }
    return OutOfDistribution(**(arrays | changes))


def scores_of(model, images=IMAGES):
    """The out-of-distribution scores of encoded images."""
    from captioner.image import tf_decode

    read = tf_decode.reader(tuple(model.image_size))
    features = model.encode(np.stack([read(image) for image in images]))
    return ood.scored(model.ood, mean_feature(features).numpy())


def build_judging_model(language="en", calibration=None, least_confidence=0.0):
    """A tiny model whose thresholds split `IMAGES` by their score in three pairs: caption, hedged, declined."""
    model = build_tiny_model()
    # Fitted on features that are none of the images'.
    model.ood = ood.fit(np.random.default_rng(0).normal(size=(60, 12)) + 2, rank=4, trim=0)
    scores = np.sort(scores_of(model))
    hedge, decline = (np.array((scores[i] + scores[i + 1]) / 2, np.float32) for i in (1, 3))
    least = np.array(least_confidence, np.float32)
    model.ood = replace(model.ood, hedge=hedge, decline=decline, least_confidence=least)
    model.language, model.calibration = language, calibration
    model.strategy = "beam(width=3, n_best=2, min_length=4)"
    return model


class JudgingEngine(FakeEngine):
    """The fake engine, whose captions have the outcomes "caption", "hedged", "declined", "caption" ... in turn."""

    def __init__(self, language="en"):
        super().__init__()
        self.language, self.count = language, 0

    def predict(self, images, strategy=None):
        return [self._judged(caption) for caption in super().predict(images, strategy)]

    def describe(self):
        return {**super().describe(), "language": self.language}

    def _judged(self, caption):
        if not caption.ok:
            return caption
        caption = replace(caption, alternatives=(replace(caption, text="another one"),))
        code = self.count % len(OUTCOMES)
        self.count += 1
        return judged([caption], [code], [1.25 * (code + 1)], self.language)[0]
