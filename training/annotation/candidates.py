"""The images of a folder, and those without captions in the order in which their captions would teach a model most."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.caption_files.image_ids import composed
from captioner.cli.image_files import image_files
from captioner.cli.progress import progress_bar
from captioner.engines.base import DEFAULT_STRATEGY, captions_of
from captioner.errors import DataError, ImageError
from captioner.image import loading
from captioner.types import Caption
from training.analysis.active_learning import select, uncertainty, unit_length
from training.data.datasets.image_files import relative_path

_BATCH = 8
_DIGITS = 4  # of an uncertainty


@dataclass
class Photos:
    """The image files of a folder, its sub-folders included.

    Attributes:
        folder: Path.
        names: list of str. Paths relative to the folder with forward slashes, sorted. An image's number is its index.
        notes: list of str. What was left out, a line each.
    """

    folder: Path
    names: list[str]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: str | Path) -> Photos:
        """Lists a folder.

        Raises:
            DataError: if there is no such folder, or no image in it.
        """
        folder = Path(folder).expanduser()
        if not folder.is_dir():
            problem = "it is a file" if folder.exists() else "there is none"
            raise DataError(f"expected a folder of images at {folder}, {problem}")
        files = image_files([str(folder)], recursive=True)
        names, notes = [], [*files.notes(), *(files.errors if files.paths else ())]
        for path in files.paths:
            name = Path(path).relative_to(folder).as_posix()
            fault = relative_path(name)[1] or ("" if relative_path(name)[0] == name else "a backslash in it")
            if fault:
                notes.append(f"{loading.name(path)} skipped, {fault}: rename it")
            else:
                names.append(name)
        if not names:
            raise DataError("; ".join(files.errors or notes) or f"no image in the folder {folder}")
        return cls(folder, sorted(names), notes)

    @property
    def fingerprint(self) -> str:
        """Equal where the names, and so their numbers, are equal."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:16]

    def path(self, number: int) -> Path:
        """The file of an image."""
        return self.folder / self.names[number]


class Candidate(NamedTuple):
    """An image to caption.

    Attributes:
        number: int. Of the image among `Photos.names`.
        proposal: str. The model's caption.
        uncertainty: float. Mean negative log-probability of its words, in nats.
    """

    number: int
    proposal: str
    uncertainty: float


class Ranking(NamedTuple):
    """Images to caption, those that would teach most first.

    Attributes:
        candidates: list of Candidate.
        unreadable: dict of an image's name to the reason.
    """

    candidates: list[Candidate]
    unreadable: dict[str, str]


def uncaptioned(photos: Photos, captions: Iterable[str]) -> list[int]:
    """Numbers of the images without captions.

    Args:
        photos: Photos.
        captions: iterable of str. Names of the images with captions, composed.
    """
    known = set(captions)
    return [number for number, name in enumerate(photos.names) if composed(name) not in known]


def rank(model: Any, photos: Photos, numbers: Sequence[int], count: int) -> Ranking:
    """Captions images and chooses those whose captions would teach the model most; see `select`.

    Args:
        model: `CaptionModel`.
        photos: Photos.
        numbers: sequence of int. Images without captions; all others are captioned, and new ones should be unlike them.
        count: int. Most images to choose.

    Returns:
        `Ranking`; unreadable images are left out and listed. Empty if there are no images without captions.

    Raises:
        DataError: if no image without captions can be read.
    """
    if not numbers:
        return Ranking([], {})
    search, encode = _graphs(model)
    unreadable: dict[str, str] = {}
    batches = _batches(model, photos, numbers, unreadable, "caption")
    readable: list[int] = []
    features: list[np.ndarray] = []
    captions: list[Caption] = []
    for batch, pixels in batches:
        mean, hypotheses = search(pixels)
        readable += batch
        features.append(mean.numpy())
        captions += captions_of(hypotheses, model.tokenizer, model.grid)
    if not readable:
        name, reason = next(iter(unreadable.items()))
        raise DataError(
            f"none of the {len(numbers):,} images without captions can be read ({name}: {reason}): "
            "save them as JPEG or PNG"
        )
    captioned = sorted(set(range(len(photos.names))) - set(numbers))
    labelled = [
        encode(pixels).numpy() for _, pixels in _batches(model, photos, captioned, unreadable, "encode")
    ]
    values = [round(uncertainty(caption), _DIGITS) for caption in captions]
    order = select(
        unit_length(np.concatenate(features)),
        values,
        count,
        unit_length(np.concatenate(labelled)) if labelled else None,
    )
    return Ranking([Candidate(readable[i], captions[i].caption, values[i]) for i in order], unreadable)


def _graphs(model: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """From pixels [B, H, W, 3]: mean features [B, C] and hypotheses; mean features alone."""
    import tensorflow as tf

    from captioner.decoding import STRATEGIES, generate

    strategy = STRATEGIES.build(DEFAULT_STRATEGY)

    def search(pixels: Any) -> Any:
        features = model.encode(pixels)
        hypotheses = generate(model, features, strategy, model.max_length, model.tokenizer)
        return tf.reduce_mean(features, axis=1), hypotheses

    def encode(pixels: Any) -> Any:
        return tf.reduce_mean(model.encode(pixels), axis=1)

    signature = [tf.TensorSpec([None, *model.image_size, 3], tf.float32)]
    return (
        tf.function(search, input_signature=signature, autograph=False),
        tf.function(encode, input_signature=signature, autograph=False),
    )


def _batches(
    model: Any, photos: Photos, numbers: Sequence[int], unreadable: dict[str, str], label: str
) -> Iterable[tuple[list[int], Any]]:
    """(numbers, pixels [B, H, W, 3]) of the readable images; adds the others to `unreadable`."""
    import tensorflow as tf

    from captioner.image import tf_decode

    read = tf_decode.reader(tuple(model.image_size))
    remaining = iter(progress_bar(numbers, desc=label))
    while batch := list(islice(remaining, _BATCH)):
        readable, pixels = [], []
        for number in batch:
            name = photos.names[number]
            try:
                pixels.append(read(loading.to_bytes(os.fspath(photos.path(number)), name)))
            except ImageError as error:
                unreadable[name] = str(error).removeprefix(f"{name}: ")
            else:
                readable.append(number)
        if readable:
            yield readable, tf.stack(pixels)
