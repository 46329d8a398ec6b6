"""Specs: their grammar, and no import of code that an untrusted spec names."""

import threading

import pytest

from captioner.errors import SpecError
from captioner.registry import Table, parse_spec, table_specs_only

NUMBERS = Table("number", {"half": "fractions:Fraction"})


@pytest.mark.parametrize(
    "text",
    [
        "beam(width=5)(n_best=2)",
        "beam(width=5).rows",
        "beam(width=5)[0]",
        "beam(width=1, width=2)",
        "beam(**{'width': 1})",
        "beam(5)",
        "beam(width={[]: 1})",
        "beam(width=print())",
        "beam(width=1",
        "beam(width=1);",
        "beam(" * 500,
        "beam(width=" + "(" * 50_000,
        "",
        "(width=1)",
        None,
    ],
)
def test_invalid_specs_are_one_short_line(text):
    with pytest.raises(SpecError, match="^expected a spec such as") as refusal:
        parse_spec(text)
    assert len(str(refusal.value)) < 350
    assert "\n" not in str(refusal.value)


def test_python_callers_may_import_code():
    assert NUMBERS.build("fractions:Fraction(numerator=3)") == 3


@pytest.mark.parametrize(
    "spec",
    ["os.path:join", "builtins:dict", "math:pi", "json:dumps", "missing_module:x", "json:missing", "broken_parts:x",
     "half(numerator=3, 4)", "half(numerators=3)"],
)  # fmt: skip
def test_code_that_cannot_be_built_is_one_line(tmp_path, monkeypatch, spec):
    (tmp_path / "broken_parts.py").write_text("def x(:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SpecError) as refusal:
        NUMBERS.build(spec)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 500


def test_a_missing_argument_is_named():
    with pytest.raises(SpecError, match="number 'os.path:join' cannot be built: missing .* argument: 'a'"):
        NUMBERS.build("os.path:join")


def test_code_named_by_a_file_is_not_imported():
    with table_specs_only():
        assert NUMBERS.build("half(numerator=3)") == 3
        for spec in ("fractions:Fraction(numerator=3)", "os:system(command='true')", "fractions:Fraction"):
            with pytest.raises(SpecError, match="names Python code.*nothing was imported.*trust="):
                NUMBERS.build(spec)
        with pytest.raises(SpecError, match="names Python code"):
            NUMBERS["os:system"]
    assert NUMBERS.build("fractions:Fraction(numerator=3)") == 3


def test_trust_covers_the_modules_of_a_package():
    with table_specs_only(trust=("fractions", "xml")):
        assert NUMBERS.build("fractions:Fraction(numerator=3)") == 3
        assert NUMBERS["xml.dom:Node"]
        for other in ("fractionsx:F", "xmlrpc.client:Fault", "os:system"):
            with pytest.raises(SpecError, match="nothing was imported"):
                NUMBERS[other]


def test_an_inner_block_never_allows_more():
    with table_specs_only(trust=("fractions",)):
        with table_specs_only(trust=("os", "fractions")):
            assert NUMBERS["fractions:Fraction"]
            with pytest.raises(SpecError):
                NUMBERS["os:system"]
        with table_specs_only(), pytest.raises(SpecError):
            NUMBERS["fractions:Fraction"]
        assert NUMBERS["fractions:Fraction"]


def test_the_block_applies_to_one_thread():
    results = []
    with table_specs_only():
        thread = threading.Thread(target=lambda: results.append(NUMBERS["fractions:Fraction"]))
        thread.start()
        thread.join()
    assert len(results) == 1


@pytest.mark.parametrize("trust", ["my_pkg", [""], [None], ("a", 3), 5])
def test_trust_is_a_list_of_names(trust):
    with pytest.raises(SpecError, match="trust expects a list of package names"), table_specs_only(trust):
        pass
