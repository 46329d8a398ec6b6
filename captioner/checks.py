"""Validation of arguments: numbers, and codes of languages. No TensorFlow here."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from captioner.errors import CaptionerError, SpecError

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{1,8}){0,6}")  # BCP 47, section 2.1, without rare forms


def integer(
    value: Any,
    option: str,
    least: int,
    most: int | None = None,
    unit: str = "",
    error: type[CaptionerError] = SpecError,
) -> int:
    """Checks that an option is a whole number in a range.

    Args:
        value: anything.
        option: str. Name of the option for the message, such as "width" or "--batch-size".
        least: int. The smallest allowed value.
        most: int, default None: no limit. The largest allowed value.
        unit: str, default "". Unit for the message, such as "characters".
        error: subclass of `CaptionerError`, default `SpecError`. The class to raise.

    Returns:
        int.

    Raises:
        CaptionerError: of the class `error`, in one line.

    Example:
        >>> integer(3, "width", 1)
        3
        >>> integer(True, "width", 1)
        Traceback (most recent call last):
        captioner.errors.SpecError: width expects a whole number of at least 1, got True
    """
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise error(f"{option} expects a whole number {bounds}{unit and ' ' + unit}, got {_shown(value)}")
    return int(value)


def number(
    value: Any,
    option: str,
    least: float = 0.0,
    most: float = math.inf,
    above: bool = False,
    error: type[CaptionerError] = SpecError,
) -> float:
    """Checks that an option is a finite number in a range.

    Args:
        value: anything.
        option: str. Name of the option for the message.
        least: float, default 0. The smallest allowed value.
        most: float, default infinity. The largest allowed value.
        above: bool, default False. Whether the value must be above `least`, not equal to it.
        error: subclass of `CaptionerError`, default `SpecError`. The class to raise.

    Returns:
        float.

    Raises:
        CaptionerError: of the class `error`, in one line.

    Example:
        >>> number(0.7, "temperature", 1e-3, 1e3)
        0.7
        >>> number(0, "top_p", 0, 1, above=True)
        Traceback (most recent call last):
        captioner.errors.SpecError: top_p expects a number above 0 and at most 1, got 0
    """
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not (is_number and _finite(value) and least <= value <= most and not (above and value == least)):
        if above:
            bounds = f"above {least:g}" + ("" if math.isinf(most) else f" and at most {most:g}")
        else:
            bounds = f"of at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
        raise error(f"{option} expects a number {bounds}, got {_shown(value)}")
    return float(value)


def language_code(value: Any, option: str = "language", error: type[CaptionerError] = SpecError) -> str:
    """Checks that an option is the code of a language, a tag of BCP 47 such as "en", "de-AT" or "und".

    Args:
        value: anything.
        option: str, default "language". Name of the option for the message.
        error: subclass of `CaptionerError`, default `SpecError`. The class to raise.

    Returns:
        str.

    Raises:
        CaptionerError: of the class `error`, in one line.

    Example:
        >>> language_code("German")
        Traceback (most recent call last):
        captioner.errors.SpecError: language expects a code such as 'en', 'de' or 'und' (undetermined), got 'German'
    """
    if not isinstance(value, str) or not _LANGUAGE.fullmatch(value):
        raise error(
            f"{option} expects a code such as 'en', 'de' or 'und' (undetermined), got {_shown(value)}"
        )
    return value


def _shown(value: Any) -> str:
    """A value for messages: its repr in one line, cut to 100 characters."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python refuses the repr of an int of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:100]}..."


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number larger than any float
        return False
