"""A whole captioner as one SavedModel: encoded images in, sentences out, as TensorFlow Serving takes it."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from captioner import atomic, checks
from captioner.decoding import STRATEGIES, generate
from captioner.decoding.rules import FORBIDDEN
from captioner.engines.base import DEFAULT_STRATEGY
from captioner.engines.versions import FACTS
from captioner.errors import BundleError, ModelError, SpecError
from captioner.exporting import warmup
from captioner.exporting.options import facts, finite, length
from captioner.exporting.sentences import Sentences
from captioner.exporting.versions import publish, record
from captioner.image import pillow_preprocess, tf_decode
from captioner.registry import parse_spec
from captioner.signature import ALTERNATIVES, INPUT, SIGNATURES, outputs
from captioner.types import Hypotheses

_LOG = logging.getLogger(__name__)


class Served:
    """The functions behind the signatures.

    Args:
        model: `CaptionModel`.
        strategy: str. Spec of `STRATEGIES`.
        max_length: int. Most ids of a caption.
        max_pixels: int. The most pixels to decode.
    """

    def __init__(self, model: Any, strategy: str, max_length: int, max_pixels: int):
        self.model, self.max_length, self.max_pixels = model, max_length, max_pixels
        self.strategy = STRATEGIES.build(strategy)
        self._sentences = Sentences(model.tokenizer)
        # One graph behind all signatures; what a signature does not give out is pruned when it runs.
        signature = [tf.TensorSpec([None], tf.string, name=INPUT)]
        self._found = tf.function(self._search, input_signature=signature, autograph=False)
        self.n_best = self.strategy.n_best

    def outputs(self, signature: str, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """What a signature gives, see `captioner.signature`."""
        found, errors = self._found(image_bytes)
        finite = tf.math.is_finite(found.logp[:, 0]) & tf.math.is_finite(found.score[:, 0])
        errors = tf.where(tf.equal(errors, "") & ~finite, "the network computed NaN or infinity", errors)
        fine = tf.equal(errors, "")
        captions = {n: self._hidden(t, fine) for n, t in self._captions(found).items()}

        def tensor(name: str, axes: Sequence[str]) -> tf.Tensor:
            if name in ("ok", "error"):
                return fine if name == "ok" else errors
            ranked = captions[name.removeprefix(ALTERNATIVES)]  # [B, K, ...]
            return ranked if "K" in axes else ranked[:, 1:] if "K-1" in axes else ranked[:, 0]

        wanted = outputs(signature, self.n_best)
        return {name: tf.identity(tensor(name, output.axes), name=name) for name, output in wanted.items()}

    def _search(self, image_bytes: tf.Tensor) -> tuple[Hypotheses, tf.Tensor]:
        image_bytes = _listed(image_bytes)
        model, count = self.model, tf.shape(image_bytes)[0]
        # Convolutions do not all take an empty batch.
        image_bytes = tf.concat([image_bytes, tf.fill([tf.maximum(1 - count, 0)], "")], axis=0)
        pillow_preprocess, errors = _reader(tuple(model.image_size), self.max_pixels)(image_bytes)
        found = generate(
            model, model.encode(pillow_preprocess), self.strategy, self.max_length, model.tokenizer
        )
        return Hypotheses(*(leaf[:count] for leaf in found)), errors[:count]

    def _captions(self, found: Hypotheses) -> dict[str, tf.Tensor]:
        """Everything about N x K captions."""
        said = self._sentences.said(found.ids)
        maps = tf.where(said[..., tf.newaxis], found.attention, 0.0)
        shape = [-1, self.n_best, self.max_length, *self.model.grid]
        return {
            "caption": self._sentences.text(found.ids),
            "score": found.score,
            "logp": found.logp,
            "ids": found.ids,
            "words": self._sentences.words(found.ids),
            "word_logp": tf.where(said, found.word_logp, 0.0),
            "attention": tf.reshape(maps, shape),
        }

    @staticmethod
    def _hidden(tensor: tf.Tensor, fine: tf.Tensor) -> tf.Tensor:
        """The same with nothing in the rows of images that could not be read, and only finite numbers."""
        if tensor.dtype.is_floating:
            tensor = tf.where(tf.math.is_finite(tensor), tensor, tf.constant(FORBIDDEN, tensor.dtype))
        fine = tf.reshape(fine, tf.concat([tf.shape(fine), tf.ones([tensor.shape.rank - 1], tf.int32)], 0))
        return tf.where(fine, tensor, tf.zeros([], tensor.dtype) if tensor.dtype != tf.string else "")


def _listed(image_bytes: tf.Tensor) -> tf.Tensor:
    """The same, after a look at what a client really sent: a server does not compare it with the signature."""
    # What is known of the shape beforehand is only what was asked for.
    sent = tf.raw_ops.PlaceholderWithDefault(input=image_bytes, shape=tf.TensorShape(None))
    rank = tf.rank(sent)
    says = f"expected {INPUT} to be a list of encoded images, one dimension, got dimensions:"
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(rank, 1), [says, rank])]):
        return tf.ensure_shape(tf.reshape(sent, [-1]), [None])


@functools.cache
def _reader(size: tuple[int, int], max_pixels: int) -> Any:
    """`images.load_rows` as a graph of its own, traced once for any number of exports."""
    signature = [tf.TensorSpec([None], tf.string)]
    return tf.function(
        lambda data: tf_decode.load_rows(data, size, max_pixels), input_signature=signature, autograph=False
    )


def write(
    model: Any,
    folder: Path,
    strategy: str | None = None,
    max_length: int | None = None,
    batch_sizes: Sequence[int] = (1, 8),
    max_pixels: int = tf_decode.MAX_PIXELS,
) -> Path:
    """A version folder for TensorFlow Serving: encoded images in, sentences out.

    Args:
        model: `CaptionModel`.
        folder: Path. Where the versions of the model stand; a model folder, or any other.
        strategy: str, default None, which is the one of every engine. How words are chosen, for good.
        max_length: int, default None, which is the model's own. Most ids of a caption, its end token included.
        batch_sizes: sequence of int, default (1, 8). Numbers of images that the server warms up for.
        max_pixels: int, default 50 million. The most pixels to decode; see `captioner.image.pillow_decode.decode`.

    Returns:
        Path of the new version.

    Raises:
        SpecError: for an option out of range.
        ModelError: if the model cannot be exported.
        BundleError: if the disk refuses.
    """
    folder = Path(folder)
    strategy = str(parse_spec(strategy or DEFAULT_STRATEGY))
    most = length(model, max_length)
    sizes, most_pixels = _sizes(batch_sizes), checks.integer(max_pixels, "max_pixels", 1)
    finite(model)
    served = Served(model, strategy, most, most_pixels)
    noted = {**facts(model, strategy, most, served.n_best), "max_pixels": most_pixels, "batch_sizes": sizes}

    def fill(aside: Path) -> None:
        image = pillow_preprocess.drawn(tuple(model.image_size))
        try:
            _LOG.info("tracing the SavedModel")
            _write_graph(served, aside)
            (aside / FACTS).parent.mkdir()
            atomic.write_json(aside / FACTS, noted, BundleError)
            warmup.write((aside / FACTS).parent, folder.resolve().name, sizes, image)
            _LOG.info("checking the SavedModel")
            _try_out(aside, served, image)
        except tf.errors.OpError as error:
            raise BundleError(f"cannot export to {folder}: {' '.join(error.message.split())[:300]}") from None

    version = publish(folder, fill)
    record(folder, version, {k: noted[k] for k in ("strategy", "max_length", "n_best", "captioner")})
    return version


def _write_graph(served: Served, aside: Path) -> None:
    archive = keras.export.ExportArchive()
    for name in SIGNATURES:
        # Nothing is tracked: that would store every variable twice, and there is no table that needs it.
        archive.add_endpoint(
            name,
            lambda image_bytes, name=name: served.outputs(name, image_bytes),
            input_signature=[tf.TensorSpec([None], tf.string, name=INPUT)],
        )
    archive.write_out(str(aside), verbose=False)


def _try_out(aside: Path, served: Served, image: bytes) -> None:
    """Runs every signature as the server will: by the V1 loader, in a session."""
    with _quiet(), tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(aside))
        for name in SIGNATURES:
            signature = meta.signature_def[name]
            feed = {signature.inputs[INPUT].name: [image, b"no image"]}
            found = session.run({key: info.name for key, info in signature.outputs.items()}, feed)
            if set(found) != set(outputs(name, served.n_best)) or list(found["ok"]) != [True, False]:
                raise ModelError(
                    f"the exported signature {name} gives {sorted(found)} with ok={found['ok'].tolist()} for a "
                    f"image and a file that is none: nothing was published"
                )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back that the V1 loader is deprecated: it is the road that the server takes."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _sizes(batch_sizes: Any) -> list[int]:
    if isinstance(batch_sizes, int):
        batch_sizes = [batch_sizes]
    if not isinstance(batch_sizes, list | tuple) or not batch_sizes:
        raise SpecError(f"batch_sizes expects numbers such as (1, 8), got {batch_sizes!r}")
    sizes = sorted({checks.integer(size, "batch_sizes", 1) for size in batch_sizes})
    if len(sizes) > warmup.MOST_SIZES:
        raise SpecError(f"batch_sizes expects at most {warmup.MOST_SIZES} numbers, got {len(sizes)}")
    return sizes
