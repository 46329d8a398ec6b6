"""The export target `saved_model`: a SavedModel for TensorFlow Serving, encoded images in, sentences out."""

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
from captioner.engines.versions import METADATA_FILE
from captioner.errors import BundleError, ModelError, SpecError
from captioner.exporting import warmup
from captioner.exporting.options import check_finite, export_metadata, resolve_max_length, resolve_strategy
from captioner.exporting.sentences import Sentences
from captioner.exporting.versions import record_export, write_version
from captioner.image import pillow_preprocess, tf_decode
from captioner.outputs.outcome import outcomes
from captioner.signature import ALTERNATIVES, INPUT, SIGNATURES, outputs
from captioner.types import Hypotheses

_LOG = logging.getLogger(__name__)


class Served:
    """The function of each served signature.

    Args:
        model: `CaptionModel`.
        strategy: str. Spec of `STRATEGIES`.
        max_length: int. The most ids of a caption.
        max_pixels: int. The most pixels to decode.
    """

    def __init__(self, model: Any, strategy: str, max_length: int, max_pixels: int):
        self.model, self.max_length, self.max_pixels = model, max_length, max_pixels
        self.strategy = STRATEGIES.build(strategy)
        self._sentences = Sentences(model.tokenizer)
        # All signatures share one graph; outputs that a signature lacks are pruned when it runs.
        signature = [tf.TensorSpec([None], tf.string, name=INPUT)]
        self._search_graph = tf.function(self._search, input_signature=signature, autograph=False)
        self.n_best = self.strategy.n_best

    def outputs(self, signature: str, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs of a signature by name, see `captioner.signature`."""
        hypotheses, errors, judgement = self._search_graph(image_bytes)
        finite = tf.math.is_finite(hypotheses.logp[:, 0]) & tf.math.is_finite(hypotheses.score[:, 0])
        errors = tf.where(tf.equal(errors, "") & ~finite, "the network computed NaN or infinity", errors)
        ok = tf.equal(errors, "")
        captions = {n: self._masked(t, ok) for n, t in self._captions(hypotheses).items()}
        if judgement is not None:
            codes, scores = judgement
            sentences = captions["caption"][:, 0]
            named = self._sentences.outcomes(sentences, codes, scores, self.model.language)
            captions |= {n: self._masked(t, ok)[:, tf.newaxis] for n, t in named.items()}

        def tensor(name: str, axes: Sequence[str]) -> tf.Tensor:
            if name in ("ok", "error"):
                return ok if name == "ok" else errors
            ranked = captions[name.removeprefix(ALTERNATIVES)]  # [B, K, ...]
            return ranked if "K" in axes else ranked[:, 1:] if "K-1" in axes else ranked[:, 0]

        expected = outputs(signature, self.n_best, judgement is not None)
        return {name: tf.identity(tensor(name, output.axes), name=name) for name, output in expected.items()}

    def _search(
        self, image_bytes: tf.Tensor
    ) -> tuple[Hypotheses, tf.Tensor, tuple[tf.Tensor, tf.Tensor] | None]:
        image_bytes = _check_rank(image_bytes)
        model, count = self.model, tf.shape(image_bytes)[0]
        # Not all convolutions accept an empty batch.
        image_bytes = tf.concat([image_bytes, tf.fill([tf.maximum(1 - count, 0)], "")], axis=0)
        images, errors = _reader(tuple(model.image_size), self.max_pixels)(image_bytes)
        features = model.encode(images)
        hypotheses = generate(model, features, self.strategy, self.max_length, model.tokenizer)
        results = hypotheses, errors, outcomes(model, features, hypotheses)
        return tf.nest.map_structure(lambda leaf: None if leaf is None else leaf[:count], results)

    def _captions(self, hypotheses: Hypotheses) -> dict[str, tf.Tensor]:
        """Outputs of all kinds for the captions, each [B, K, ...]."""
        is_word = self._sentences.is_word(hypotheses.ids)
        attention = tf.where(is_word[..., tf.newaxis], hypotheses.attention, 0.0)
        shape = [-1, self.n_best, self.max_length, *self.model.grid]
        return {
            "caption": self._sentences.text(hypotheses.ids),
            "score": hypotheses.score,
            "logp": hypotheses.logp,
            "ids": hypotheses.ids,
            "words": self._sentences.words(hypotheses.ids),
            "word_logp": tf.where(is_word, hypotheses.word_logp, 0.0),
            "attention": tf.reshape(attention, shape),
        }

    @staticmethod
    def _masked(tensor: tf.Tensor, ok: tf.Tensor) -> tf.Tensor:
        """The tensor with zeros or "" in rows that are not ok, and `FORBIDDEN` for numbers that are not finite."""
        if tensor.dtype.is_floating:
            tensor = tf.where(tf.math.is_finite(tensor), tensor, tf.constant(FORBIDDEN, tensor.dtype))
        ok = tf.reshape(ok, tf.concat([tf.shape(ok), tf.ones([tensor.shape.rank - 1], tf.int32)], 0))
        return tf.where(ok, tensor, tf.zeros([], tensor.dtype) if tensor.dtype != tf.string else "")


def _check_rank(image_bytes: tf.Tensor) -> tf.Tensor:
    """Asserts at run time that there is one dimension: a server does not compare inputs with the signature."""
    # The static shape is that of the signature, not of what the client sent.
    sent = tf.raw_ops.PlaceholderWithDefault(input=image_bytes, shape=tf.TensorShape(None))
    rank = tf.rank(sent)
    message = f"expected {INPUT} to be a list of encoded images, one dimension, got dimensions:"
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(rank, 1), [message, rank])]):
        return tf.ensure_shape(tf.reshape(sent, [-1]), [None])


@functools.cache
def _reader(size: tuple[int, int], max_pixels: int) -> Any:
    """`tf_decode.load_rows` as a graph of its own, traced once for any number of exports."""
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
    """Writes a version folder for TensorFlow Serving: encoded images in, sentences out.

    Args:
        model: `CaptionModel`.
        folder: Path. The folder of the model's versions; a model folder, or any other.
        strategy: str, default None, which is that of the model. How words are chosen; fixed by the export.
        max_length: int, default None, which is that of the model. The most ids of a caption, its end token included.
        batch_sizes: sequence of int, default (1, 8). Batch sizes of the warm-up requests.
        max_pixels: int, default 50 million. The most pixels to decode; see `captioner.image.pillow_decode.decode`.

    Returns:
        Path of the new version.

    Raises:
        SpecError: for an option out of range.
        ModelError: if the model cannot be exported.
        BundleError: if the folder cannot be written.
    """
    folder = Path(folder)
    strategy = resolve_strategy(model, strategy)
    max_length = resolve_max_length(model, max_length)
    sizes, max_pixels = _batch_sizes(batch_sizes), checks.integer(max_pixels, "max_pixels", 1)
    check_finite(model)
    served = Served(model, strategy, max_length, max_pixels)
    metadata = export_metadata(model, strategy, max_length, served.n_best)
    metadata |= {"max_pixels": max_pixels, "batch_sizes": sizes}

    def fill(temporary: Path) -> None:
        image = pillow_preprocess.drawn(tuple(model.image_size))
        try:
            _LOG.info("tracing the SavedModel")
            _write_graph(served, temporary)
            extra = (temporary / METADATA_FILE).parent
            extra.mkdir()
            atomic.write_json(temporary / METADATA_FILE, metadata, BundleError)
            warmup.write(extra, folder.resolve().name, sizes, image)
            _LOG.info("checking the SavedModel")
            _check_export(temporary, served, image)
        except tf.errors.OpError as error:
            raise BundleError(f"cannot export to {folder}: {' '.join(error.message.split())[:300]}") from None

    version = write_version(folder, fill)
    record_export(
        folder, version, {k: metadata[k] for k in ("strategy", "max_length", "n_best", "captioner")}
    )
    return version


def _write_graph(served: Served, folder: Path) -> None:
    archive = keras.export.ExportArchive()
    for name in SIGNATURES:
        # No `track()`: it would store every variable twice, and there is no lookup table that needs it.
        archive.add_endpoint(
            name,
            lambda image_bytes, name=name: served.outputs(name, image_bytes),
            input_signature=[tf.TensorSpec([None], tf.string, name=INPUT)],
        )
    archive.write_out(str(folder), verbose=False)


def _check_export(folder: Path, served: Served, image: bytes) -> None:
    """Runs every signature as TensorFlow Serving does: loaded by the V1 loader, in a session."""
    with _without_deprecation_warning(), tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        for name in SIGNATURES:
            signature = meta.signature_def[name]
            feed = {signature.inputs[INPUT].name: [image, b"no image"]}
            results = session.run({key: info.name for key, info in signature.outputs.items()}, feed)
            expected = set(outputs(name, served.n_best, served.model.ood is not None))
            if set(results) != expected or list(results["ok"]) != [True, False]:
                raise ModelError(
                    f"expected ok=[True, False] from the exported signature {name} for an image and a file that is "
                    f"none, got {sorted(results)} with ok={results['ok'].tolist()}: nothing was published"
                )


@contextlib.contextmanager
def _without_deprecation_warning() -> Iterator[None]:
    """Suppresses the warning that the V1 loader is deprecated: TensorFlow Serving uses it."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _batch_sizes(batch_sizes: Any) -> list[int]:
    if isinstance(batch_sizes, int):
        batch_sizes = [batch_sizes]
    if not isinstance(batch_sizes, list | tuple) or not batch_sizes:
        raise SpecError(f"batch_sizes expects numbers such as (1, 8), got {batch_sizes!r}")
    sizes = sorted({checks.integer(size, "batch_sizes", 1) for size in batch_sizes})
    if len(sizes) > warmup.MAX_BATCH_SIZES:
        raise SpecError(f"batch_sizes expects at most {warmup.MAX_BATCH_SIZES} numbers, got {len(sizes)}")
    return sizes
