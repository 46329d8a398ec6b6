"""Metadata of model files, validated strictly, as a file may come from an untrusted source. No TensorFlow here.

Checks the `captioner.json` of a model folder, of an exported version and inside a `.tflite` file: bounded sizes, known
types, ranges that fit into memory. Specs in them stay strings until they are built inside
`captioner.registry.table_specs_only`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from captioner import checks, format1
from captioner.errors import BundleError, CaptionerError, SpecError
from captioner.outputs.confidence import Confidence
from captioner.registry import parse_spec, unknown

MOST_BYTES = 1 << 24  # of a JSON file; the largest networks of Keras need a tenth of it
LARGEST_SIDE = 4096  # pixels, of a network's input image
LONGEST = 1000  # ids of a caption
MOST_WORDS_BYTES = 1 << 26  # of a vocabulary file
_CONFIG = ("encoder", "decoder", "max_length", "image_size")


def parse(data: bytes, where: str, error: type[CaptionerError] = BundleError) -> dict[str, Any]:
    """Parses a JSON object.

    Caption files are read by `captioner.caption_files.parse_json`, which also refuses duplicate keys and very long
    numbers; in metadata those are accepted, as format 1 does.

    Args:
        data: bytes. UTF-8.
        where: str. Name of the file for messages.
        error: subclass of `CaptionerError`, default `BundleError`. The class to raise.

    Returns:
        dict.

    Raises:
        CaptionerError: of the class `error`, if the data is too long, not JSON, not an object, nested too deeply or
            contains NaN.

    Example:
        >>> parse(b'{"a": NaN}', "notes.json")
        Traceback (most recent call last):
        captioner.errors.BundleError: damaged notes.json: expected JSON, but NaN is no number of it
    """
    if len(data) > MOST_BYTES:
        raise error(f"damaged {where}: expected at most {MOST_BYTES} bytes of JSON, got {len(data)}")

    def constant(name: str) -> None:
        raise ValueError(f"but {name} is no number of it")

    try:
        value = json.loads(data.decode("utf-8"), parse_constant=constant)
    except RecursionError:
        raise error(f"damaged {where}: expected JSON, got lists or objects nested too deeply") from None
    except ValueError as reason:
        raise error(f"damaged {where}: expected JSON, {reason}") from None
    if not isinstance(value, dict):
        raise error(f"damaged {where}: expected a JSON object, got {type(value).__name__}")
    return value


def load(path: Path, error: type[CaptionerError] = BundleError) -> dict[str, Any]:
    """Reads a file that holds a JSON object; see `parse`."""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as reason:
        raise error(f"cannot read {path}: {reason.strerror or reason}") from None
    return parse(data, str(path), error)


class Fields:
    """Typed access to the entries of an object; a missing or wrong entry raises an error of one line.

    Args:
        entries: mapping.
        where: str. Name of the file or entry for messages.
        error: subclass of `CaptionerError`. The class to raise.
    """

    def __init__(self, entries: Any, where: str, error: type[CaptionerError] = BundleError):
        self._where, self._error = where, error
        if not isinstance(entries, Mapping):
            raise self._wrong("an object", entries)
        self._entries = entries

    def _wrong(self, expected: str, value: Any, name: str = "") -> CaptionerError:
        received = repr(value)
        received = received if len(received) <= 60 else f"{received[:60]} ..."
        return self._error(
            f"damaged {self._where}: {name and name + ': '}expected {expected}, got {received}"
        )

    def _required(self, name: str) -> Any:
        if name not in self._entries:
            raise self._error(f"damaged {self._where}: it lacks the entry {name!r}")
        return self._entries[name]

    def integer(self, name: str, least: int, most: int) -> int:
        """A whole number in a range."""
        return self._integer(self._required(name), name, least, most)

    def _integer(self, value: Any, name: str, least: int, most: int) -> int:
        try:
            return checks.integer(value, name, least, most)
        except SpecError:
            raise self._wrong(f"a whole number from {least} to {most}", value, name) from None

    def pair(self, name: str, least: int, most: int) -> tuple[int, int]:
        """Two whole numbers, such as height and width."""
        value = self._required(name)
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise self._wrong("two whole numbers", value, name)
        height, width = (self._integer(side, name, least, most) for side in value)
        return height, width

    def text(self, name: str, longest: int = 1000, pattern: str = "") -> str:
        """A string, matching a regular expression if one is given."""
        value = self._required(name)
        if not isinstance(value, str) or len(value) > longest:
            raise self._wrong(f"a text of at most {longest} characters", value, name)
        if pattern and not re.fullmatch(pattern, value):
            raise self._wrong(f"a text like {pattern}", value, name)
        return value

    def spec(self, name: str) -> str:
        """A spec, parsed but not built."""
        value = self.text(name, longest=100_000)
        try:
            parse_spec(value)
        except SpecError as reason:
            raise self._error(f"damaged {self._where}: {name}: {reason}") from None
        return value

    def names(self, name: str) -> list[str]:
        """A list of strings."""
        value = self._required(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong("a list of texts", value, name)
        return value

    def fields(self, name: str) -> Fields:
        """A nested object."""
        return Fields(self._required(name), f"{self._where}, {name}", self._error)

    def optional(self, name: str) -> Fields | None:
        """A nested object, or None where it is missing or null."""
        return None if self._entries.get(name) is None else self.fields(name)


def model_config(config: Any, where: str, error: type[CaptionerError] = BundleError) -> dict[str, Any]:
    """Checks the config of a network, as `CaptionModel.get_config` returns it.

    Args:
        config: anything.
        where, error: see `parse`.

    Returns:
        dict with "encoder" and "decoder" and, if present, "max_length" and "image_size".

    Raises:
        CaptionerError: of the class `error`.
    """
    entries = Fields(config, where, error)
    for name in config:
        if name not in _CONFIG:
            raise error(f"damaged {where}: {unknown('entry', name, _CONFIG)}")
    entries.spec("decoder")
    if isinstance(config.get("encoder"), Mapping):
        encoder = entries.fields("encoder")
        encoder.text("keras", longest=MOST_BYTES)
        encoder.text("scaling")
    else:
        entries.spec("encoder")
    if "max_length" in config:
        entries.integer("max_length", 2, LONGEST)
    entries.pair("image_size", 1, LARGEST_SIDE)
    return dict(config)


def export_metadata(metadata: dict[str, Any], where: str, error: type[CaptionerError]) -> dict[str, Any]:
    """Checks the metadata of an exported model, as the exporter writes it.

    Args:
        metadata: dict.
        where, error: see `parse`.

    Returns:
        dict: the same, with its strategy and its model converted from format 1.

    Raises:
        CaptionerError: of the class `error`.
    """
    entries = Fields(metadata, where, error)
    try:
        strategy = format1.strategy(entries.spec("strategy"))
    except SpecError as reason:
        raise error(f"damaged {where}: strategy: {reason}") from None
    model = {}
    if isinstance(metadata.get("model"), Mapping):
        config = model_config(metadata["model"], f"{where}, model", error)
        model = {"model": format1.model_config(config)}
    entries.integer("max_length", 2, LONGEST)
    height, width = entries.pair("image_size", 1, LARGEST_SIDE)
    rows, columns = entries.pair("grid", 1, LARGEST_SIDE)
    if rows > height or columns > width:
        raise error(
            f"damaged {where}: expected a grid no finer than {height} x {width} pixels, got {rows} x {columns}"
        )
    if "max_pixels" in metadata:
        entries.integer("max_pixels", 1, 10**10)
    if vocabulary := entries.optional("vocabulary"):
        vocabulary.integer("size", 1, 10**8)
    language(metadata, where, error)
    if metadata.get("confidence") is not None:
        confidence(metadata["confidence"], where, error)
    return {**metadata, **model, "strategy": strategy}


def confidence(metadata: Any, where: str, error: type[CaptionerError] = BundleError) -> dict[str, Any]:
    """Checks a calibration; see `captioner.outputs.confidence.Confidence`."""
    try:
        Confidence(metadata)
    except BundleError as reason:
        raise error(f"{where}: {reason}") from None
    return metadata


def language(metadata: Mapping[str, Any], where: str, error: type[CaptionerError] = BundleError) -> str:
    """The code of the captions' language; English where none is recorded, as in files of older captioners.

    Example:
        >>> language({"language": "de"}, "captioner.json"), language({}, "captioner.json")
        ('de', 'en')
    """
    return checks.language_code(metadata.get("language", "en"), f"language in {where}", error)


def own_strategy(manifest: Mapping[str, Any], where: str) -> str:
    """The strategy that a model folder records as the model's own, parsed but not built; "" where there is none.

    Example:
        >>> own_strategy({"strategy": "beam(width=20)"}, "captioner.json"), own_strategy({}, "captioner.json")
        ('beam(width=20)', '')
    """
    return Fields(manifest, where).spec("strategy") if "strategy" in manifest else ""


def check_format(
    metadata: Mapping[str, Any], source: Path, newest: int | None, error: type[CaptionerError] = BundleError
) -> None:
    """Refuses files that captioner has not written, or that have a newer format.

    Args:
        metadata: mapping, with "format" and "captioner".
        source: Path. Name of the file for messages.
        newest: int. The newest supported format; None to accept any.
        error: see `parse`.

    Raises:
        CaptionerError: of the class `error`.
    """
    version = metadata.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise error(f"{source} was not written by captioner, or is damaged: it has no format version")
    if newest is not None and version > newest:
        # These entries come from the file: shortened, and in one line.
        name = " ".join(f"{str(metadata.get('captioner'))[:40]}, format {str(version)[:20]}".split())
        raise error(
            f"{source} was written by a newer captioner ({name}); this one reads up to format {newest}: "
            f"upgrade captioner"
        )
