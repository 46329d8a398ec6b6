"""Validation of numeric arguments. No TensorFlow here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from captioner.errors import CaptionerError, SpecError


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
        option: str. What the caller calls it, such as "width" or "--batch-size".
        least: int. The smallest that will do.
        most: int, default None: no limit.
        unit: str, default "". What is counted, for the message, such as "characters".
        error: subclass of `CaptionerError`, default `SpecError`.

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
    good = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not good or value < least or (most is not None and value > most):
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
        option: str. What the caller calls it.
        least: float, default 0. The smallest that will do.
        most: float, default infinity. The largest that will do.
        above: bool, default False. Whether it must be above `least`, not equal to it.
        error: subclass of `CaptionerError`, default `SpecError`.

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
    good = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    good = good and _finite(value) and least <= value <= most and not (above and value == least)
    if not good:
        if above:
            bounds = f"above {least:g}" + ("" if math.isinf(most) else f" and at most {most:g}")
        else:
            bounds = f"of at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
        raise error(f"{option} expects a number {bounds}, got {_shown(value)}")
    return float(value)


def _shown(value: Any) -> str:
    """A value as messages have it: one line of bearable length, also for a number of 5,000 digits."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:100]}..."


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number larger than any float
        return False
