"""The model folder on disk, read and written without TensorFlow.

    captioner.json      format version, model config as spec strings, checksums; it makes the folder a bundle
    model.weights.h5    the weights, as Keras saves them
    vocab.txt           the vocabulary, one word a line
    card.md             optional, for people: what the model is, and was trained on
    metrics.json        optional, what it scored
    confidence.json     optional, how sure it may be of its captions
    expectation.npz     optional, what people say of pictures (`captioner.decoding.expectation`)

Only the weights and the vocabulary carry checksums: people may edit the card. Anything else in the folder
(exports, notes) belongs to others and is never touched. A bundle is written aside and renamed, so that no
reader sees half of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captioner.errors import BundleError, CaptionerError
from captioner.text import Tokenizer

FORMAT = 1
MANIFEST, WEIGHTS, VOCABULARY = "captioner.json", "model.weights.h5", "vocab.txt"
CARD, METRICS, CONFIDENCE, EXPECTATION = "card.md", "metrics.json", "confidence.json", "expectation.npz"
_OURS = (WEIGHTS, VOCABULARY, CARD, METRICS, CONFIDENCE, EXPECTATION)
FILES = (MANIFEST, *_OURS)  # all that makes up a bundle


@dataclass(frozen=True)
class Bundle:
    """A model folder that has passed its checks.

    Attributes:
        folder: Path.
        config: dict. What `CaptionModel.from_config` takes.
        tokenizer: Tokenizer.
        weights: Path of the weights file.
        parameters: dict of str to int. Numbers of weights by part; empty if not recorded.
        metrics: dict. What the model scored; empty if not recorded.
        card: str. Empty if there is none.
        captioner: str. The version that wrote it.
        confidence: dict. What `captioner.confidence.Confidence` takes; empty if it was never calibrated.
        expectation: Path of what the model expects people to say; None if it never learnt that.
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
    expectation: Path | None = None


def version() -> str:
    """The version of the installed captioner.

    Returns:
        str, such as "0.1.0"; "unknown" when it runs from a folder that was never installed.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("captioner")
    except PackageNotFoundError:
        return "unknown"


def write(
    folder: str | os.PathLike[str],
    config: Mapping[str, Any],
    tokenizer: Tokenizer,
    save_weights: Callable[[str], Any],
    card: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    parameters: Mapping[str, int] | None = None,
    confidence: Mapping[str, Any] | None = None,
    save_expectation: Callable[[str], Any] | None = None,
) -> Path:
    """Writes a bundle: aside first, then renamed into place.

    Args:
        folder: str or PathLike. Made if need be. A folder with other things in it is fine.
        config: mapping that JSON can hold. What rebuilds the network.
        tokenizer: Tokenizer.
        save_weights: callable that is given the path of a file, ending in ".weights.h5", to write.
        card: str, default None. Markdown for people.
        metrics: mapping that JSON can hold, default None.
        overwrite: bool, default False. Whether a model that is there already may be replaced, with its card
            and metrics. Nothing else in the folder is touched.
        parameters, confidence: mappings that JSON can hold, default None. See `Bundle`.
        save_expectation: callable that is given the path of a file to write, default None.

    Returns:
        Path of the folder.

    Raises:
        BundleError: if a model is there and may not be replaced, if a file of somebody else is in the way, or
            if the disk refuses; the folder is then as it was.
    """
    folder = Path(folder)
    _refuse(folder, overwrite)
    aside = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
        aside.mkdir()
        save_weights(str(aside / WEIGHTS))
        tokenizer.save(aside / VOCABULARY)
        if save_expectation is not None:
            save_expectation(str(aside / EXPECTATION))
        if card is not None:
            (aside / CARD).write_text(card, encoding="utf-8")
        for name, content in ((METRICS, metrics), (CONFIDENCE, confidence)):
            if content is not None:
                _write_json(aside / name, content)
        manifest = {
            "format": FORMAT,
            "captioner": version(),
            "model": dict(config),
            "parameters": dict(parameters or {}),
            "vocabulary": {"size": len(tokenizer), "fingerprint": tokenizer.fingerprint},
            "sha256": {name: _sha256(aside / name) for name in (WEIGHTS, VOCABULARY)},
        }
        _write_json(aside / MANIFEST, manifest)
        _publish(aside, folder)
    except (OSError, RuntimeError) as error:
        # HDF5 buries what the system said in an essay of its own, and sometimes raises RuntimeError.
        buried = re.search(r"error message = '([^']*)'", str(error))
        if isinstance(error, RuntimeError) and not buried:
            raise
        reason = buried[1] if buried else getattr(error, "strerror", None) or " ".join(str(error).split())
        raise BundleError(f"cannot write the model to {folder}: {reason}") from None
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
    return folder


def read(folder: str | os.PathLike[str]) -> Bundle:
    """Reads a bundle and checks that it is whole.

    Args:
        folder: str or PathLike.

    Returns:
        `Bundle`.

    Raises:
        BundleError: if there is no such folder, it holds no model, a file is missing or not the one that was
            written, or the vocabulary is not that of the weights, or a newer captioner wrote it.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    try:
        config, sums = manifest["model"], manifest["sha256"]
        fingerprint, expected = manifest["vocabulary"]["fingerprint"], sums[WEIGHTS]
    except (KeyError, TypeError) as error:
        raise BundleError(f"damaged {folder / MANIFEST}: it lacks the entry {error}") from None
    for name in (WEIGHTS, VOCABULARY):
        if not (folder / name).is_file():
            raise BundleError(f"incomplete model {folder}: {name} is missing")
    try:
        tokenizer = Tokenizer.load(folder / VOCABULARY)
        if tokenizer.fingerprint != fingerprint:
            raise BundleError(
                f"{folder / VOCABULARY} is a vocabulary that does not match the weights: expected "
                f"{manifest['vocabulary'].get('size')} entries with fingerprint {fingerprint[:12]}, "
                f"got {len(tokenizer)} with {tokenizer.fingerprint[:12]}"
            )
        if (found := _sha256(folder / WEIGHTS)) != expected:
            raise BundleError(
                f"damaged {folder / WEIGHTS}: expected checksum {expected[:12]}, got {found[:12]}; "
                f"copy the model again"
            )
        card = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else ""
    except OSError as error:
        raise BundleError(f"cannot read the model {folder}: {error.strerror or error}") from None
    except CaptionerError as error:
        raise error if isinstance(error, BundleError) else BundleError(str(error)) from None
    notes = [_read_json(folder / n) if (folder / n).is_file() else {} for n in (METRICS, CONFIDENCE)]
    return Bundle(
        folder=folder,
        config=config,
        tokenizer=tokenizer,
        weights=folder / WEIGHTS,
        parameters=manifest.get("parameters", {}),
        metrics=notes[0],
        card=card,
        captioner=str(manifest.get("captioner", "")),
        confidence=notes[1],
        expectation=folder / EXPECTATION if (folder / EXPECTATION).is_file() else None,
    )


def find(folder: str | os.PathLike[str] = "saved_models") -> list[Path]:
    """Lists the bundles directly inside a folder, by name.

    Args:
        folder: str or PathLike, default "saved_models".

    Returns:
        list of Path; empty when there is no such folder.
    """
    return sorted(path.parent for path in Path(folder).glob(f"*/{MANIFEST}") if path.parent.name[0] != ".")


def _refuse(folder: Path, overwrite: bool) -> None:
    """Raises unless a bundle may be written there."""
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"expected a folder to write the model to, got a file: {folder}")
    if (folder / MANIFEST).exists():
        if not overwrite:
            raise BundleError(
                f"{folder} already holds a model: pass overwrite=True (--overwrite) to replace it",
                command_line=f"{folder} already holds a model: add --overwrite to replace it",
            )
        _manifest(folder, newer=True)
        return
    for name in _OURS:
        if (folder / name).exists():
            raise BundleError(
                f"{folder} holds a {name} that belongs to no model: move it away or choose another folder"
            )


def _publish(aside: Path, folder: Path) -> None:
    """Moves a finished bundle into place, the manifest last."""
    for path in aside.iterdir():
        _flush(path)
    if not folder.exists():
        os.rename(aside, folder)
    else:
        # Other things may live in the folder, a server's versions among them: replace file by file.
        for name in (*_OURS, MANIFEST):
            if (aside / name).exists():
                os.replace(aside / name, folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    _flush(folder)


def _flush(path: Path) -> None:
    """Has the disk really hold a file or folder, before a rename makes others rely on it."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # folders cannot be opened everywhere
        if path.is_dir():
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _manifest(folder: Path, newer: bool = False) -> dict[str, Any]:
    path = folder / MANIFEST
    if not folder.exists():
        raise BundleError(f"no such model folder: {folder}")
    if not path.is_file():
        what = "folder" if folder.is_dir() else "file"
        raise BundleError(
            f"expected a model folder with {MANIFEST}, {WEIGHTS} and {VOCABULARY}; the {what} {folder} "
            f"has no {MANIFEST}"
        )
    manifest = _read_json(path)
    found = manifest.get("format")
    if not isinstance(found, int):
        raise BundleError(f"{path} was not written by captioner: it has no format version")
    if found > FORMAT and not newer:
        raise BundleError(
            f"{folder} was written by a newer captioner ({manifest.get('captioner')}, format {found}); "
            f"this one reads up to format {FORMAT}: upgrade captioner"
        )
    return manifest


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise BundleError(f"damaged {path}: expected JSON, {error}") from None
    if not isinstance(value, dict):
        raise BundleError(f"damaged {path}: expected a JSON object, got {type(value).__name__}")
    return value


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(dict(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
