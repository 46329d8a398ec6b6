"""Writing of model folders, each change atomic."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from captioner import atomic, checks, metadata
from captioner.bundle import transaction
from captioner.bundle.files import (
    CARD,
    CONFIDENCE,
    FILES,
    FORMAT,
    MANIFEST,
    METRICS,
    OOD,
    RERANKER_FILES,
    VOCABULARY,
    WEIGHTS,
)
from captioner.bundle.reading import checked_path, read_manifest, sha256
from captioner.errors import BundleError, DataError, SpecError
from captioner.registry import Spec, parse_spec
from captioner.text import Tokenizer
from captioner.text.languages import ENGLISH


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
    language: str = ENGLISH,
    strategy: str = "",
    save_ood: Callable[[str], Any] | None = None,
) -> Path:
    """Writes a bundle, which replaces an existing one atomically.

    Args:
        folder: str or PathLike. Created if missing. It may hold other files.
        config: mapping that JSON can hold. The config of the network.
        tokenizer: Tokenizer.
        save_weights: callable that takes the path of a file, ending in ".weights.h5", and writes it.
        card: str, default None. Markdown for people.
        metrics: mapping that JSON can hold, default None.
        overwrite: bool, default False. Whether an existing model may be replaced, with its card and metrics. Other
            files in the folder are never changed.
        parameters, confidence: mappings that JSON can hold, default None. See `Bundle`.
        save_reranker_parameters: mapping of names of `RERANKER_FILES` to callables that write to a path, default None.
        language, strategy: str, defaults "en" and "". See `Bundle`.
        save_ood: callable that writes the parameters of `captioner.outputs.ood` to a path, default None.

    Returns:
        Path of the folder.

    Raises:
        BundleError: if a model exists and may not be replaced, a file that belongs to no model is in the way, the
            config, metrics or confidence is not JSON, the strategy is no spec, or the disk refuses: the folder then
            holds the old content, or, if the disk refuses only after the commit, the new model.
    """
    folder = checked_path(folder)
    contents = {METRICS: metrics, CONFIDENCE: confidence}
    texts = {name: _json(value, name) for name, value in contents.items() if value is not None}
    if card is not None:
        texts[CARD] = card
    manifest = _manifest(config, tokenizer, parameters, language, strategy)
    _check_writable(folder, overwrite)
    with _disk_errors(folder), transaction.staging(folder, MANIFEST, FILES) as stage:
        save_weights(str(stage / WEIGHTS))
        tokenizer.save(stage / VOCABULARY)
        fitted = {RERANKER_FILES[name]: save for name, save in (save_reranker_parameters or {}).items()}
        for name, save in (fitted | ({OOD: save_ood} if save_ood else {})).items():
            save(str(stage / name))
        for name, text in texts.items():
            (stage / name).write_text(text, encoding="utf-8")
        manifest["sha256"] = {name: sha256(stage / name) for name in (WEIGHTS, VOCABULARY)}
        transaction.commit(
            folder, stage, MANIFEST, manifest, FILES, lambda: _check_writable(folder, overwrite)
        )
    return folder


def amend(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Changes the manifest of a bundle under the lock of writers.

    Args:
        folder: Path of a bundle.
        change: callable that takes the manifest and returns the new one.

    Raises:
        BundleError: if the disk refuses, or another program keeps the lock for long.
    """
    transaction.amend(folder, MANIFEST, FILES, change)


def recover(folder: Path) -> None:
    """Completes a write that was interrupted, so that all files of a bundle have their usual names.

    Args:
        folder: Path of a bundle.

    Raises:
        BundleError: if the disk refuses, or another program keeps the lock for long.
    """
    amend(folder, lambda manifest: manifest)


def check_free(path: Path, overwrite: bool) -> None:
    """Raises BundleError if a file exists and may not be replaced; to call before long work."""
    if path.exists() and not overwrite:
        raise BundleError(f"{path} is there already: pass overwrite=True (--overwrite) to replace it")


def add_file(folder: Path, name: str, save: Callable[[Path], Any], overwrite: bool = False) -> Path:
    """Adds a file to a bundle atomically: the calibration, or fitted parameters.

    Args:
        folder: Path of a bundle.
        name: str. One of `FILES`.
        save: callable that takes the path of a temporary file and writes it.
        overwrite: bool, default False. Whether an existing file may be replaced.

    Returns:
        Path of the file.

    Raises:
        BundleError: if the file exists and may not be replaced, the disk refuses, or another program keeps the lock
            for long.
    """
    path = folder / name
    check_free(path, overwrite)
    recover(folder)
    with atomic.replacing(path, BundleError) as temporary:
        save(temporary)
    return path


def _manifest(
    config: Mapping[str, Any],
    tokenizer: Tokenizer,
    parameters: Mapping[str, int] | None,
    language: str,
    strategy: str,
) -> dict[str, Any]:
    """The manifest of a new bundle, without checksums."""
    config = json.loads(_json(config, "the model's config"))
    return {
        "format": FORMAT,
        "captioner": version(),
        "model": metadata.model_config(config, "config of the model"),
        "parameters": dict(parameters or {}),
        "language": checks.language_code(language, error=BundleError),
        **({"strategy": _spec(strategy)} if strategy else {}),
        "vocabulary": {"size": len(tokenizer), "fingerprint": tokenizer.fingerprint},
    }


def _spec(strategy: str | Spec) -> str:
    """The text of a strategy, or BundleError if it is no spec."""
    try:
        return str(parse_spec(strategy))
    except SpecError as reason:
        raise BundleError(f"strategy: {reason}") from None


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turns errors of the disk within the block into a BundleError of one line."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # HDF5 hides the system's message in a long text of its own, and sometimes raises RuntimeError.
        system_message = re.search(r"error message = '([^']*)'", str(error))
        if isinstance(error, RuntimeError) and not system_message:
            raise
        reason = (
            system_message[1]
            if system_message
            else getattr(error, "strerror", None) or " ".join(str(error).split())
        )
        raise BundleError(f"cannot write the model to {folder}: {reason}") from None
    except DataError as error:
        raise BundleError(f"cannot write the model to {folder}: {error}") from None


def _check_writable(folder: Path, overwrite: bool) -> None:
    """Raises BundleError unless a bundle may be written to the folder."""
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"expected a folder to write the model to, got a file: {folder}")
    if (folder / MANIFEST).exists():
        if not overwrite:
            raise BundleError(
                f"{folder} already holds a model: pass overwrite=True (--overwrite) to replace it"
            )
        read_manifest(folder, any_format=True)
        return
    for name in FILES:
        if (folder / name).exists():
            raise BundleError(
                f"{folder} holds a {name} that belongs to no model: move it away or choose another folder"
            )


def _json(value: Mapping[str, Any], name: str) -> str:
    try:
        return json.dumps(dict(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (ValueError, TypeError, RecursionError) as error:
        raise BundleError(
            f"expected {name} to be what JSON can hold, with finite numbers only: {error}"
        ) from None
