"""Metadata of model files, validated strictly: a file may come from anybody. No TensorFlow here.

A model folder's `captioner.json`, that of an exported version, and the one inside a `.tflite` file pass through here:
bounded sizes, known types, ranges that a machine can bear. Specs in them are texts until somebody builds them inside
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

MOST_BYTES = 1 << 24  # of a file of JSON; the largest networks of Keras need a tenth of it
LARGEST_SIDE = 4096  # pixels of an image that a network looks at
LONGEST = 1000  # ids of a caption
MOST_WORDS_BYTES = 1 << 26  # of a vocabulary
_CONFIG = ("encoder", "decoder", "max_length", "image_size")


def parse(data: bytes, where: str, error: type[CaptionerError] = BundleError) -> dict[str, Any]:
    """Reads a JSON object.

    Args:
        data: bytes. UTF-8.
        where: str. What to call it in messages.
        error: subclass of `CaptionerError`, default `BundleError`.

    Returns:
        dict.

    Raises:
        CaptionerError: of the class `error`, if it is too long, no JSON, no object, nested too deeply or holds NaN.

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
    """The entries of an object, each read by what it must be.

    Args:
        entries: mapping.
        where: str. What to call it in messages.
        error: subclass of `CaptionerError`. What a wrong entry becomes.
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
        """A text, of a pattern if one is given."""
        value = self._required(name)
        if not isinstance(value, str) or len(value) > longest:
            raise self._wrong(f"a text of at most {longest} characters", value, name)
        if pattern and not re.fullmatch(pattern, value):
            raise self._wrong(f"a text like {pattern}", value, name)
        return value

    def spec(self, name: str) -> str:
        """A spec, which is read but not built."""
        value = self.text(name, longest=100_000)
        try:
            parse_spec(value)
        except SpecError as reason:
            raise self._error(f"damaged {self._where}: {name}: {reason}") from None
        return value

    def names(self, name: str) -> list[str]:
        """A list of texts."""
        value = self._required(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong("a list of texts", value, name)
        return value

    def fields(self, name: str) -> Fields:
        """An object in the object."""
        return Fields(self._required(name), f"{self._where}, {name}", self._error)

    def optional(self, name: str) -> Fields | None:
        """The same where it may be missing or null."""
        return None if self._entries.get(name) is None else self.fields(name)


def model_config(config: Any, where: str, error: type[CaptionerError] = BundleError) -> dict[str, Any]:
    """Checks what rebuilds a network, as `CaptionModel.get_config` gives it.

    Args:
        config: anything.
        where, error: see `parse`.

    Returns:
        dict with "encoder" and "decoder" and, where given, "max_length" and "image_size".

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


def export_facts(facts: dict[str, Any], where: str, error: type[CaptionerError]) -> dict[str, Any]:
    """Checks what every export notes about itself, as `captioner.exporting.options.export_metadata` gives it.

    Args:
        facts: dict.
        where, error: see `parse`.

    Returns:
        dict: the same, its strategy as this version writes it.

    Raises:
        CaptionerError: of the class `error`.
    """
    entries = Fields(facts, where, error)
    try:
        strategy = format1.strategy(entries.spec("strategy"))
    except SpecError as reason:
        raise error(f"damaged {where}: strategy: {reason}") from None
    entries.integer("max_length", 2, LONGEST)
    height, width = entries.pair("image_size", 1, LARGEST_SIDE)
    rows, columns = entries.pair("grid", 1, LARGEST_SIDE)
    if rows > height or columns > width:
        raise error(
            f"damaged {where}: expected a grid no finer than {height} x {width} pixels, got {rows} x {columns}"
        )
    if "max_pixels" in facts:
        entries.integer("max_pixels", 1, 10**10)
    if vocabulary := entries.optional("vocabulary"):
        vocabulary.integer("size", 1, 10**8)
    if facts.get("confidence") is not None:
        confidence(facts["confidence"], where, error)
    return {**facts, "strategy": strategy}


def confidence(noted: Any, where: str, error: type[CaptionerError] = BundleError) -> dict[str, Any]:
    """Checks a calibration; see `captioner.outputs.confidence.Confidence`."""
    try:
        Confidence(noted)
    except BundleError as reason:
        raise error(f"{where}: {reason}") from None
    return noted


def check_format(
    facts: Mapping[str, Any], source: Path, newest: int | None, error: type[CaptionerError] = BundleError
) -> None:
    """Refuses what captioner has not written, or a newer captioner has.

    Args:
        facts: mapping, with "format" and "captioner".
        source: Path. What to call it in messages.
        newest: int. The newest format that is known here; None to take any.
        error: see `parse`.

    Raises:
        CaptionerError: of the class `error`.
    """
    form = facts.get("format")
    if not isinstance(form, int) or isinstance(form, bool) or form < 1:
        raise error(f"{source} was not written by captioner, or is damaged: it has no format version")
    if newest is not None and form > newest:
        # The file may say anything there.
        name = " ".join(f"{str(facts.get('captioner'))[:40]}, format {str(form)[:20]}".split())
        raise error(
            f"{source} was written by a newer captioner ({name}); this one reads up to format {newest}: "
            f"upgrade captioner"
        )
