"""The model folder on disk, read and written without TensorFlow.

    captioner.json      format version, model config as spec strings, checksums; it makes the folder a bundle
    model.weights.h5    the weights, as Keras saves them
    vocab.txt           the vocabulary, one word a line
    card.md             optional, for people: what the model is, and was trained on
    metrics.json        optional, what it scored
    confidence.json     optional, how sure it may be of its captions
    expectation.npz     optional, the fitted parameters of the reranker "cider_regression" (`captioner.rerank`)

Only the weights and the vocabulary carry checksums: people may edit the card. Anything else in the folder
(exports, notes) belongs to others and is never touched. A bundle changes at one moment, when its manifest does (see
`captioner.folders`), so that a reader sees the old one or the new one, whole, whatever stops the writer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from captioner import folders, format1, metadata
from captioner.errors import BundleError, CaptionerError, DataError
from captioner.text import Tokenizer

FORMAT = 2  # 1: decoders that read word and mean feature added the biases of their gates twice
MANIFEST, WEIGHTS, VOCABULARY = "captioner.json", "model.weights.h5", "vocab.txt"
CARD, METRICS, CONFIDENCE = "card.md", "metrics.json", "confidence.json"
# Fitted parameters of rerankers, by their name. The first file keeps the name that format 1 gave it: with another, a
# reader would have to look for both, and a writer to remove the one that it replaces.
RERANKER_FILES = {"cider_regression": "expectation.npz"}
CALIBRATION = "calibration"  # a folder beside a bundle: images to learn the ranges of 8-bit values from
FILES = (WEIGHTS, VOCABULARY, CARD, METRICS, CONFIDENCE, *RERANKER_FILES.values())
_TRIES = 5  # at reading a bundle that is written meanwhile
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
        metrics: dict. What the model scored; empty if not recorded.
        card: str. Empty if there is none.
        captioner: str. The version that wrote it.
        confidence: dict. What `captioner.outputs.confidence.Confidence` takes; empty if it was never calibrated.
        reranker_parameters: dict of a name of `RERANKER_FILES` to the Path of its file, for those that were fitted.
        format: int. Of the folder, 1 to `FORMAT`.
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
    format: int = FORMAT


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
    save_reranker_parameters: Mapping[str, Callable[[str], Any]] | None = None,
) -> Path:
    """Writes a bundle, which replaces the one that is there at one moment.

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
        save_reranker_parameters: mapping of names of `RERANKER_FILES` to callables that are given the path of a file
            to write, default None.

    Returns:
        Path of the folder.

    Raises:
        BundleError: if a model is there and may not be replaced, a file of somebody else is in the way, the config
            or what was measured is no JSON, or the disk refuses: the folder then holds what it held, or, if it
            refuses only after the switch, the new model.
    """
    folder = _path(folder)
    notes = {METRICS: metrics, CONFIDENCE: confidence}
    contents = {name: _json(value, name) for name, value in notes.items() if value is not None}
    manifest = {
        "format": FORMAT,
        "captioner": version(),
        "model": metadata.model_config(
            json.loads(_json(config, "the model's config")), "config of the model"
        ),
        "parameters": dict(parameters or {}),
        "vocabulary": {"size": len(tokenizer), "fingerprint": tokenizer.fingerprint},
    }
    _refuse(folder, overwrite)
    try:
        with folders.staged(folder, MANIFEST, FILES) as stage:
            save_weights(str(stage / WEIGHTS))
            tokenizer.save(stage / VOCABULARY)
            for name, save in (save_reranker_parameters or {}).items():
                save(str(stage / RERANKER_FILES[name]))
            if card is not None:
                (stage / CARD).write_text(card, encoding="utf-8")
            for name, text in contents.items():
                (stage / name).write_text(text, encoding="utf-8")
            manifest["sha256"] = {name: _sha256(stage / name) for name in (WEIGHTS, VOCABULARY)}
            folders.switch(folder, stage, MANIFEST, manifest, FILES, lambda: _refuse(folder, overwrite))
    except (OSError, RuntimeError) as error:
        # HDF5 buries what the system said in an essay of its own, and sometimes raises RuntimeError.
        buried = re.search(r"error message = '([^']*)'", str(error))
        if isinstance(error, RuntimeError) and not buried:
            raise
        reason = buried[1] if buried else getattr(error, "strerror", None) or " ".join(str(error).split())
        raise BundleError(f"cannot write the model to {folder}: {reason}") from None
    except DataError as error:
        raise BundleError(f"cannot write the model to {folder}: {error}") from None
    return folder


def amend(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Changes the manifest of a bundle, alone with it.

    Args:
        folder: Path of a bundle.
        change: callable that is given the manifest and returns the new one.

    Raises:
        BundleError: if the disk refuses, or somebody else writes there for long.
    """
    folders.amend(folder, MANIFEST, FILES, change)


def settle(folder: Path) -> None:
    """Puts the files of a bundle under their usual names, where a writer that was stopped has left them elsewhere.

    For those who add a file by its name.

    Args:
        folder: Path of a bundle.

    Raises:
        BundleError: if the disk refuses, or somebody else writes there for long.
    """
    amend(folder, lambda manifest: manifest)


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
    return opened(folder, lambda found: found)


def opened(folder: str | os.PathLike[str], use: Callable[[Bundle], _Result]) -> _Result:
    """Reads a bundle and does something with its files, again if a writer replaces them meanwhile.

    Args:
        folder: str or PathLike.
        use: callable that is given the `Bundle`, once or several times.

    Returns:
        What `use` returned of a bundle that was one and the same all the time.

    Raises:
        BundleError: see `read`; also if others write all the time.
        Exception: what `use` raises.
    """
    folder = _path(folder)
    for attempt in range(_TRIES):
        # The first time without a lock: there may be none to be had, and hardly ever a writer.
        with folders.locked(folder, shared=True) if attempt else nullcontext():
            before = folders.stamp(folder / MANIFEST)
            try:
                result = use(_read(folder))
            except Exception:
                if folders.stamp(folder / MANIFEST) == before:
                    raise
                continue
            if folders.stamp(folder / MANIFEST) == before:
                return result
    raise BundleError(f"{folder} was written again and again while it was read: try again later")


def _read(folder: Path) -> Bundle:
    manifest = _manifest(folder)
    where = folder / MANIFEST
    fields = metadata.Fields(manifest, str(where))
    config = format1.model_config(metadata.model_config(manifest.get("model"), f"{where}, model"))
    vocabulary = fields.fields("vocabulary")
    fingerprint = vocabulary.text("fingerprint")
    expected = fields.fields("sha256").text(WEIGHTS)
    counts = manifest.get("parameters", {})
    parts = metadata.Fields(counts, f"{where}, parameters")
    parameters = {name: parts.integer(name, 0, 10**12) for name in counts}
    files = folders.place(folder, manifest)
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
        if (found := _sha256(files / WEIGHTS)) != expected:
            raise BundleError(
                f"damaged {files / WEIGHTS}: expected checksum {expected[:12]}, got {found[:12]}; "
                f"copy the model again"
            )
        card = (files / CARD).read_text(encoding="utf-8") if (files / CARD).is_file() else ""
    except OSError as error:
        raise BundleError(f"cannot read the model {folder}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise BundleError(f"{files / CARD} is no UTF-8 text: byte {error.start} is not UTF-8") from None
    metrics, noted = (
        metadata.load(files / n) if (files / n).is_file() else {} for n in (METRICS, CONFIDENCE)
    )
    if noted:
        metadata.confidence(noted, str(files / CONFIDENCE))
    return Bundle(
        folder=folder,
        config=config,
        tokenizer=tokenizer,
        weights=files / WEIGHTS,
        parameters=parameters,
        metrics=metrics,
        card=card,
        captioner=str(manifest.get("captioner", ""))[:100],
        confidence=noted,
        reranker_parameters={
            name: files / file for name, file in RERANKER_FILES.items() if (files / file).is_file()
        },
        format=manifest["format"],
    )


def has_weights(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds weights of its own, whole model or not, and not only exports."""
    return (Path(folder) / WEIGHTS).exists() or any(Path(folder).glob(f".write-*/{WEIGHTS}"))


def find(folder: str | os.PathLike[str] = "saved_models") -> list[Path]:
    """Lists the bundles directly inside a folder, by name.

    Args:
        folder: str or PathLike, default "saved_models".

    Returns:
        list of Path; empty when there is no such folder.
    """
    return sorted(path.parent for path in Path(folder).glob(f"*/{MANIFEST}") if path.parent.name[0] != ".")


def _path(folder: str | os.PathLike[str]) -> Path:
    """A folder that may not be there yet, of a name that the system can look for."""
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


def _refuse(folder: Path, overwrite: bool) -> None:
    """Raises unless a bundle may be written there."""
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"expected a folder to write the model to, got a file: {folder}")
    if (folder / MANIFEST).exists():
        if not overwrite:
            raise BundleError(
                f"{folder} already holds a model: pass overwrite=True (--overwrite) to replace it"
            )
        _manifest(folder, newer=True)
        return
    for name in FILES:
        if (folder / name).exists():
            raise BundleError(
                f"{folder} holds a {name} that belongs to no model: move it away or choose another folder"
            )


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
    manifest = metadata.load(path)
    metadata.check_format(manifest, path, None if newer else FORMAT)
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


def _json(value: Mapping[str, Any], name: str) -> str:
    try:
        return json.dumps(dict(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (ValueError, TypeError, RecursionError) as error:
        raise BundleError(
            f"expected {name} to be what JSON can hold, finite numbers among it: {error}"
        ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
