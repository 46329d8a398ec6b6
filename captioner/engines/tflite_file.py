"""The `.tflite` file of a captioner: a flatbuffer, followed by a zip with metadata and vocabulary. No TensorFlow here.

    <flatbuffer>      the signatures `encode` and `step`, and mostly `caption`
    captioner.json    format version, strategy, sizes, names of tensors, length and SHA-256 of the flatbuffer
    vocab.txt         the vocabulary, one word a line
    ood.npz           optional, what tells images unlike the training images, as in a model folder

An appended zip is how TensorFlow Lite packs associated files: every runtime reads the flatbuffer and ignores the
rest, and `unzip` shows it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from captioner import bundle, metadata
from captioner.errors import CaptionerError, EngineError
from captioner.text import Tokenizer
from captioner.types import SPECIALS

ENCODE, STEP, CAPTION = "encode", "step", "caption"
MEAN_FEATURE = "mean_feature"  # an output of `ENCODE`, where the file has an `ood.npz`

_MOST_OOD_BYTES = 1 << 26


class TFLiteFile(NamedTuple):
    """The contents of a file besides its flatbuffer.

    Attributes:
        metadata: dict with "strategy", "max_length", "image_size", "grid", "quantize", "signatures" and so on.
        tokenizer: Tokenizer.
        ood: bytes or None. What `captioner.outputs.ood.OutOfDistribution.save` writes; None if it was never fitted.
    """

    metadata: dict[str, Any]
    tokenizer: Tokenizer
    ood: bytes | None = None


def pack(graph: bytes, entries: Mapping[str, Any], tokenizer: Tokenizer, ood: bytes | None = None) -> bytes:
    """The flatbuffer with metadata, vocabulary and fitted parameters appended.

    Args:
        graph: bytes. A TensorFlow Lite flatbuffer.
        entries: mapping that JSON can hold. The metadata.
        tokenizer: Tokenizer.
        ood: bytes, default None; see `TFLiteFile`.

    Returns:
        bytes of the file.
    """
    entries = {**entries, "bytes": len(graph), "sha256": hashlib.sha256(graph).hexdigest()}
    buffer = io.BytesIO(graph)
    buffer.seek(0, os.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(bundle.MANIFEST, json.dumps(entries, indent=2, allow_nan=False) + "\n")
        archive.writestr(
            bundle.VOCABULARY, "".join(f"{word}\n" for word in tokenizer.vocabulary[len(SPECIALS) :])
        )
        if ood is not None:
            archive.writestr(bundle.OOD, ood)
    return buffer.getvalue()


def read(path: Path) -> TFLiteFile:
    """Reads and checks a file.

    Args:
        path: Path.

    Returns:
        `TFLiteFile`.

    Raises:
        EngineError: if it is missing, no TensorFlow Lite file, not by captioner, damaged or too new.
    """
    if not path.is_file():
        raise EngineError(
            f"no model {path}: expected a .tflite file; make one with `captioner export --to tflite`"
        )
    try:
        with open(path, "rb") as handle:
            head = handle.read(8)
            handle.seek(max(0, path.stat().st_size - (1 << 16)))
            tail = handle.read()
    except OSError as error:
        raise EngineError(f"cannot read {path}: {error.strerror or error}") from None
    if head[4:] != b"TFL3":
        raise EngineError(f"{path} is no TensorFlow Lite file: its first bytes are {head!r}")
    if b"PK\x05\x06" not in tail:
        raise EngineError(
            f"{path} has nothing of captioner's at its end: it was made by something else, or it is truncated; "
            "make one with `captioner export --to tflite`"
        )
    entries, words, ood = _read_appended(path)
    metadata.check_format(entries, path, bundle.FORMAT, EngineError)
    entries = metadata.export_metadata(entries, str(path), EngineError)
    fields = metadata.Fields(entries, str(path), EngineError)
    for name in ("signatures", "memory", "state"):
        fields.names(name)
    length, digest = fields.integer("bytes", 8, path.stat().st_size), fields.text("sha256")
    try:
        tokenizer = Tokenizer(words.decode("utf-8").split("\n")[:-1])
    except (UnicodeDecodeError, CaptionerError):
        raise EngineError(f"damaged {path}: its vocabulary cannot be read; export it again") from None
    if _digest(path, length) != digest:
        raise EngineError(
            f"damaged {path}: its checksum is another than when it was exported; export it again"
        )
    return TFLiteFile(entries, tokenizer, ood)


def _read_appended(path: Path) -> tuple[dict[str, Any], bytes, bytes | None]:
    """The metadata, the vocabulary and, if any, the fitted parameters at the end of a file, of bounded size."""
    try:
        with zipfile.ZipFile(path) as archive:

            def content(name: str, most: int) -> bytes:
                with archive.open(name) as member:
                    data = member.read(most + 1)
                if len(data) > most:
                    raise EngineError(f"damaged {path}: expected a {name} of at most {most} bytes at its end")
                return data

            entries = content(bundle.MANIFEST, metadata.MOST_BYTES)
            words = content(bundle.VOCABULARY, metadata.MOST_WORDS_BYTES)
            ood = content(bundle.OOD, _MOST_OOD_BYTES) if bundle.OOD in archive.namelist() else None
        return metadata.parse(entries, str(path), EngineError), words, ood
    except EngineError:
        raise
    except Exception:  # damage raises exceptions of any kind
        raise EngineError(
            f"damaged {path}: what captioner put at its end cannot be read; export it again"
        ) from None


def _digest(path: Path, length: int) -> str:
    """SHA-256 of the first `length` bytes of a file, read in blocks to save memory."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while length > 0 and (block := handle.read(min(length, 1 << 18))):
            digest.update(block)
            length -= len(block)
    return digest.hexdigest()
