"""Reading of model folders, checked for integrity."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from captioner import format1, metadata
from captioner.bundle import transaction
from captioner.bundle.files import (
    CARD,
    CONFIDENCE,
    FORMAT,
    MANIFEST,
    METRICS,
    OOD,
    RERANKER_FILES,
    VOCABULARY,
    WEIGHTS,
)
from captioner.errors import BundleError, CaptionerError
from captioner.text import Tokenizer
from captioner.text.languages import ENGLISH

_TRIES = 5  # reads of a bundle that another program is writing
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Bundle:
    """A model folder that has passed its checks.

    Attributes:
        folder: Path.
        config: dict. What `CaptionModel.from_config` takes.
        tokenizer: Tokenizer.
        weights: Path of the weights file.
        parameters: dict of str to int. Numbers of weights by part; empty if not recorded.
        metrics: dict. Scores of the model; empty if not recorded.
        card: str. Empty if there is none.
        captioner: str. The version that wrote it.
        confidence: dict. What `captioner.outputs.confidence.Confidence` takes; empty if it was never calibrated.
        reranker_parameters: dict of a name of `RERANKER_FILES` to the Path of its file, for those that were fitted.
        ood: Path of the file of `captioner.outputs.ood.OutOfDistribution`, None if it was never fitted.
        format: int. Format of the folder, 1 to `FORMAT`.
        language: str. The code of its captions' language; English where none is recorded, as in older folders.
        strategy: str. The model's own strategy, a spec that was parsed but not built; "" where none is recorded, which
            is `captioner.engines.base.DEFAULT_STRATEGY`.
    """

    folder: Path
    config: dict[str, Any]
    tokenizer: Tokenizer
    weights: Path
    parameters: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    card: str = ""
    captioner: str = ""
    confidence: dict[str, Any] = field(default_factory=dict)
    reranker_parameters: dict[str, Path] = field(default_factory=dict)
    ood: Path | None = None
    format: int = FORMAT
    language: str = ENGLISH
    strategy: str = ""


def read(folder: str | os.PathLike[str]) -> Bundle:
    """Reads a bundle and checks its integrity.

    Args:
        folder: str or PathLike.

    Returns:
        `Bundle`.

    Raises:
        BundleError: if there is no such folder, it holds no model, a file is missing or does not match its
            checksum, the vocabulary is not that of the weights, or a newer captioner wrote it.
    """
    return opened(folder, lambda model: model)


def opened(folder: str | os.PathLike[str], use: Callable[[Bundle], _Result]) -> _Result:
    """Reads a bundle and applies a function to it, again if another program replaces its files meanwhile.

    Args:
        folder: str or PathLike.
        use: callable that takes the `Bundle`, called once or several times.

    Returns:
        The result of `use` on a bundle that did not change during the call.

    Raises:
        BundleError: see `read`; also if other programs write all the time.
        Exception: any that `use` raises.
    """
    folder = checked_path(folder)
    for attempt in range(_TRIES):
        # The first time without a lock: some file systems have none, and writers are rare.
        with transaction.locked(folder, shared=True) if attempt else nullcontext():
            before = transaction.stamp(folder / MANIFEST)
            try:
                result = use(_read(folder))
            except Exception:
                if transaction.stamp(folder / MANIFEST) == before:
                    raise
                continue
            if transaction.stamp(folder / MANIFEST) == before:
                return result
    raise BundleError(f"{folder} was written again and again while it was read: try again later")


def _read(folder: Path) -> Bundle:
    manifest = read_manifest(folder)
    where = folder / MANIFEST
    fields = metadata.Fields(manifest, str(where))
    config = format1.model_config(metadata.model_config(manifest.get("model"), f"{where}, model"))
    vocabulary = fields.fields("vocabulary")
    fingerprint = vocabulary.text("fingerprint")
    expected = fields.fields("sha256").text(WEIGHTS)
    counts = manifest.get("parameters", {})
    parts = metadata.Fields(counts, f"{where}, parameters")
    parameters = {name: parts.integer(name, 0, 10**12) for name in counts}
    files = transaction.current_files(folder, manifest)
    for name in (WEIGHTS, VOCABULARY):
        if not (files / name).is_file():
            raise BundleError(f"incomplete model {folder}: {name} is missing")
    tokenizer = _vocabulary(files / VOCABULARY)
    if tokenizer.fingerprint != fingerprint:
        raise BundleError(
            f"{files / VOCABULARY} is a vocabulary that does not match the weights: expected "
            f"{vocabulary.integer('size', 1, 10**8)} entries with fingerprint {fingerprint[:12]}, "
            f"got {len(tokenizer)} with {tokenizer.fingerprint[:12]}"
        )
    try:
        if (checksum := sha256(files / WEIGHTS)) != expected:
            raise BundleError(
                f"damaged {files / WEIGHTS}: expected checksum {expected[:12]}, got {checksum[:12]}; "
                f"copy the model again"
            )
        card = (files / CARD).read_text(encoding="utf-8") if (files / CARD).is_file() else ""
    except OSError as error:
        raise BundleError(f"cannot read the model {folder}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise BundleError(f"{files / CARD} is no UTF-8 text: byte {error.start} is not UTF-8") from None
    metrics, confidence = (
        metadata.load(files / n) if (files / n).is_file() else {} for n in (METRICS, CONFIDENCE)
    )
    if confidence:
        metadata.confidence(confidence, str(files / CONFIDENCE))
    return Bundle(
        folder=folder,
        config=config,
        tokenizer=tokenizer,
        weights=files / WEIGHTS,
        parameters=parameters,
        metrics=metrics,
        card=card,
        captioner=str(manifest.get("captioner", ""))[:100],
        confidence=confidence,
        reranker_parameters={
            name: files / file for name, file in RERANKER_FILES.items() if (files / file).is_file()
        },
        ood=files / OOD if (files / OOD).is_file() else None,
        format=manifest["format"],
        language=metadata.language(manifest, str(where)),
        strategy=metadata.own_strategy(manifest, str(where)),
    )


def has_weights(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds weights, complete model or not, and not only exports."""
    return (Path(folder) / WEIGHTS).exists() or any(Path(folder).glob(f".write-*/{WEIGHTS}"))


def find(folder: str | os.PathLike[str] = "saved_models") -> list[Path]:
    """Lists the bundles directly inside a folder, by name.

    Args:
        folder: str or PathLike, default "saved_models".

    Returns:
        list of Path; empty when there is no such folder.
    """
    return sorted(path.parent for path in Path(folder).glob(f"*/{MANIFEST}") if path.parent.name[0] != ".")


def checked_path(folder: str | os.PathLike[str]) -> Path:
    """A folder, existing or not, or BundleError for a name that no folder can have."""
    try:
        path = Path(folder)
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, TypeError, ValueError) as error:
        name = repr(folder)
        name = name if len(name) <= 100 else f"{name[:100]}..."
        raise BundleError(
            f"cannot look for the model folder {name}: {getattr(error, 'strerror', None) or error}"
        ) from None
    return path


def read_manifest(folder: Path, any_format: bool = False) -> dict[str, Any]:
    """The manifest of a folder, or BundleError; of a newer format only with `any_format`."""
    path = folder / MANIFEST
    if not folder.exists():
        raise BundleError(f"no such model folder: {folder}")
    if not path.is_file():
        what = "folder" if folder.is_dir() else "file"
        raise BundleError(
            f"expected a model folder with {MANIFEST}, {WEIGHTS} and {VOCABULARY}; the {what} {folder} "
            f"has no {MANIFEST}"
        )
    manifest = metadata.load(path)
    metadata.check_format(manifest, path, None if any_format else FORMAT)
    return manifest


def _vocabulary(path: Path) -> Tokenizer:
    try:
        if (size := path.stat().st_size) > metadata.MOST_WORDS_BYTES:
            raise BundleError(
                f"damaged {path}: expected at most {metadata.MOST_WORDS_BYTES} bytes, got {size}"
            )
        return Tokenizer.load(path)
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from None
    except CaptionerError as error:
        raise BundleError(str(error)) from None


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
