"""Command lines of all programs: options, mistakes, and messages in words of the command line."""

import argparse
import importlib
import re
from pathlib import Path

import pytest

from captioner.cli import COMMANDS, main
from captioner.cli.parser import EXIT_CODES, Parser
from captioner.errors import in_command_line_words

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for folder in ("training", "serving")
    for path in (ROOT / folder).glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)


def parser_of(name):
    """The parser of a command, as `captioner` builds it."""
    module = importlib.import_module(f"captioner.cli.{name}")
    parser = Parser(prog=f"captioner {name}")
    module.arguments(parser)
    return parser


def options_of(name):
    return [action for action in parser_of(name)._actions if action.option_strings]


def refused(capsys, words, start="captioner: "):
    with pytest.raises(SystemExit) as stop:
        main(words)
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count("\n") == 1 and err.startswith(start)
    return err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["capton"], "unknown command 'capton' (did you mean 'caption'?)"),
        (["caption", "a.jpg", "--modle", "x"], "unknown option '--modle' (did you mean '--model'?)"),
        (["caption", "--modle=x"], "unknown option '--modle' (did you mean '--model'?)"),
        (["caption", "-model", "x", "a.jpg"], "unknown option '-model' (did you mean '--model'?)"),
        (["evaluate", "--htlm", "a.html"], "did you mean '--html'?"),
        (["show", "a", "b"], "expected nothing more, got 'b'"),
        (["caption", "a.jpg", "--batch-size", "many"], "--batch-size expects a whole number, got 'many'"),
        (["caption", "a.jpg", "--json=1"], "--json takes no value, got '1'"),
        (["caption", "a.jpg", "--heatmap"], "--heatmap expects a value, got none"),
        (["caption"], "required: IMG; usage: captioner caption [options] IMG [IMG ...]; see"),
        ([], "required: COMMAND; usage: captioner [options] COMMAND"),
    ],
)
def test_mistakes_name_the_nearest(capsys, words, says):
    assert says in refused(capsys, words)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_slip_in_any_option_names_it(capsys, name):
    for action in options_of(name):
        option = action.option_strings[-1]
        slip = option[:-2] + option[-1] + option[-2] if len(option) > 6 else option + "x"
        if slip == option or option == "--help":
            continue
        assert f"did you mean {option!r}?" in refused(capsys, [name, slip])


@pytest.mark.parametrize("name", COMMANDS)
def test_no_number_passes_unchecked(capsys, name, monkeypatch, tmp_path):
    """Numbers out of range are refused under the option's name before a model is loaded."""
    (tmp_path / "a.jpg").write_bytes(b"?")
    monkeypatch.chdir(tmp_path)
    needed = {"caption": ["a.jpg", "--alt-text", "--model", "none"], "bench": ["none"], "export": ["none"]}
    for action in options_of(name):
        if action.type in (int, float):
            option = action.option_strings[-1]
            for value in ("0", "-1"):
                assert main([name, *needed[name], option, value]) == 2
                err = capsys.readouterr().err
                assert (
                    err.startswith(f"captioner: {option} expects a whole number ") and f"got {value}" in err
                )
                assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_lists_exit_codes_and_quiet(capsys, name):
    with pytest.raises(SystemExit) as stop:
        main([*filter(None, [name]), "--help"])
    output = capsys.readouterr().out
    assert stop.value.code == 0 and EXIT_CODES in output
    assert not name or "--quiet" in output


def test_names_after_two_dashes_are_no_options(capsys):
    parser = Parser(prog="x.py")
    parser.add_argument("images", nargs="+")
    assert parser.parse_args(["--", "--odd.jpg"]).images == ["--odd.jpg"]


def test_numbers_and_abbreviations_are_read_as_ever():
    parser = Parser(prog="x.py")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--processes", type=int)
    options = parser.parse_args(["--ra", "1e-3", "--processes", "-1"])
    assert (options.rate, options.processes) == (1e-3, -1)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_name_the_nearest_option(name, capsys, monkeypatch):
    """All programs share the parser, which refuses unknown options first."""
    pytest.importorskip("prometheus_client" if name.startswith("serving.devserver") else "argparse")
    module = importlib.import_module(name)
    with pytest.raises(SystemExit) as stop:
        module.main(["--hepl"])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count("\n") == 1
    assert "unknown option '--hepl' (did you mean '--help'?)" in err


def test_there_is_no_other_parser():
    """No program builds an `argparse.ArgumentParser` directly."""
    files = [p for f in ("captioner", "training", "serving") for p in (ROOT / f).rglob("*.py")]
    others = [p for p in files if "argparse.ArgumentParser(" in p.read_text(encoding="utf-8")]
    assert others == [], "use captioner.cli.parser.Parser: it names the nearest option"


def test_python_words_do_not_reach_the_command_line():
    """All remedies in messages have a form for the command line."""
    sources = [p for f in ("captioner", "training", "serving") for p in (ROOT / f).rglob("*.py")]
    seen = 0
    for path in sources:
        for text in re.findall(
            r'"[^"\n]*(?:pass|say) [^"\n]*overwrite=True[^"\n]*"', path.read_text("utf-8")
        ):
            if "in_command_line_words" not in text and path.name != "errors.py":
                seen += 1
                assert "overwrite=True" not in in_command_line_words(text), f"{path}: {text}"
    assert seen >= 3
    assert (
        in_command_line_words("if you trust it, pass trust=('my_pkg',)")
        == "if you trust it, add --trust my_pkg"
    )
    assert in_command_line_words('pass trust=("a.b",)') == "add --trust a.b"
    assert isinstance(Parser(prog="x"), argparse.ArgumentParser)
