"""Checks of numeric arguments."""

import math

import numpy as np
import pytest

from captioner import checks
from captioner.errors import DataError, SpecError


@pytest.mark.parametrize("value", [1, 5, np.int64(3)])
def test_integers_in_the_range_pass(value):
    assert checks.integer(value, "width", 1, 5) == value
    assert type(checks.integer(value, "width", 1, 5)) is int


@pytest.mark.parametrize("value", [0, 6, -1, 2.0, True, "2", None, math.nan, [1]])
def test_others_are_refused(value):
    with pytest.raises(SpecError, match=r"^width expects a whole number from 1 to 5 beams, got "):
        checks.integer(value, "width", 1, 5, "beams")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "1", None, 0.0, 2.0, -1])
def test_numbers_out_of_range_are_refused(value):
    with pytest.raises(DataError, match=r"^p expects a number above 0 and at most 1, got "):
        checks.number(value, "p", 0.0, 1.0, above=True, error=DataError)


@pytest.mark.parametrize("value", [10**400, -(10**400), 16**5000, [0] * 500, "x\ny" * 200], ids=list("abcde"))
def test_huge_values_are_one_short_line(value):
    for check in (lambda: checks.integer(value, "n", 1, 5), lambda: checks.number(value, "n", 0)):
        with pytest.raises(SpecError, match="n expects a .*, got ") as caught:
            check()
        assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


def test_bounds_belong_to_the_range_unless_above():
    assert checks.number(0, "p") == 0.0
    assert checks.number(1.0, "p", 0.0, 1.0, above=True) == 1.0
    with pytest.raises(SpecError, match="p expects a number of at least 0, got -0.1"):
        checks.number(-0.1, "p")
