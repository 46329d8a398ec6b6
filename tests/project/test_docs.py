"""What the documents say is so: examples and blocks run, commands parse, names, files and links exist."""

import argparse
import contextlib
import doctest
import functools
import importlib
import importlib.util
import inspect
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import captioner
from captioner.cli import COMMANDS
from captioner.cli import main as captioner_main
from captioner.registry import parse_spec
from tests.support.documents import (
    CONTRIBUTING,
    DOCUMENTS,
    FOLDERS,
    README,
    ROOT,
    TRAINING,
    blocks,
    commands,
    inline_commands,
    name_of,
    prose,
    rows,
    spans,
)
from tests.training.test_recipes import check_specs
from training.data.datasets import DATASETS
from training.recipes import RECIPES
from training.recipes.changes import keys, with_changes

DATASET_GUIDES = [
    path for path in DOCUMENTS if path.name != "extending.md"
]  # which adds a dataset of its own
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
]


# Examples in docstrings.


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0, f"{result.failed} examples of {name} fail, see above"


# Python and shell blocks.


@pytest.mark.parametrize("path", [p for p in (README, TRAINING) if blocks(p, "python")], ids=name_of)
def test_python_blocks_run(path, world, monkeypatch, capsys):
    monkeypatch.chdir(world)
    names: dict = {}
    for number, block in enumerate(blocks(path, "python"), 1):
        exec(compile(block, f"{path.name}, Python block {number}", "exec"), names)
    assert capsys.readouterr().out


def test_the_captions_of_the_readme_make_a_dataset(world, monkeypatch):
    monkeypatch.chdir(world)
    data = DATASETS.build("folder(path='photos')")
    captions = {e.id: e.captions for split in data.splits for e in data.examples(split)}
    assert {name: len(texts) for name, texts in captions.items()} == {"beach.jpg": 2, "dog.jpg": 1}


@functools.cache
def once(folder):
    model = captioner.load(folder)
    model.close = lambda: None  # the next command takes it up again
    return model


@pytest.mark.parametrize("path", [README, TRAINING], ids=name_of)
def test_captioner_commands_run(path, world, monkeypatch, capsys):
    monkeypatch.chdir(world)
    # A model is loaded once, so that there is one graph a strategy.
    monkeypatch.setattr("captioner.cli.caption.load", lambda path: once(str(Path(path).resolve())))
    ran = 0
    for program, *words in commands(path):
        # Adapting and asking a server are run by test_walk.py.
        elsewhere = words[:1] == ["adapt"] or any(word.startswith("http:") for word in words)
        if program == "captioner" and "--official" not in words and not elsewhere:
            target = None
            if ">" in words:
                words, target = words[:-2], words[-1]
            if words[0] == "bench":
                words += ["--processes", "1", "--iterations", "2"]  # more are for measuring
            assert captioner_main(words) == 0, f"captioner {shlex.join(words)}: {capsys.readouterr().err}"
            out = capsys.readouterr().out
            assert out
            if target:
                Path(target).write_text(out)
            ran += 1
    assert ran


class Parsed(BaseException):
    """Raised in place of going on, once a program has understood its arguments."""


def parse(main, words, monkeypatch):
    """What a program makes of its arguments."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        raise Parsed(original(self, args, namespace))

    with monkeypatch.context() as patch, contextlib.suppress(SystemExit):
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        try:
            main(words)
        except Parsed as parsed:
            return parsed.args[0]
    pytest.fail(f"not understood: {shlex.join(words)}")


def check_program(words, monkeypatch):
    """`python FILE ...`: the file is there and understands; a run's recipe, keys and specs exist."""
    if words[:2] == ["-m", "venv"]:
        return
    assert (ROOT / words[0]).is_file(), f"there is no {words[0]}"
    module = importlib.import_module(words[0].removesuffix(".py").replace("/", "."))
    options = parse(module.main, words[1:], monkeypatch)
    if hasattr(options, "changes"):
        check_specs(with_changes(RECIPES.build(getattr(options, "recipe", "tiny")), options.changes))


def check_command(words, monkeypatch):
    """A command of the documents is one that works, as far as can be told without running it."""
    program, *rest = words
    if program in ("python", "python3"):
        check_program(rest, monkeypatch)
    elif program == "captioner":
        parse(captioner_main, rest[:-2] if ">" in rest else rest, monkeypatch)
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert rest[0] in targets
        for name, _, value in (word.partition("=") for word in rest[1:]):
            if (rest[0], name) == ("serve", "MODEL"):
                continue
            assert name == "ARGS"
            if rest[0] == "test":  # options of pytest
                continue
            program = {"demo": "photos", "learn": "demo"}[rest[0]]
            check_program([f"training/{program}.py", *value.split()], monkeypatch)
    elif program == "pip":
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert rest[:2] == ["install", "-e"] and set(re.findall(r"\w+", rest[2])) <= set(known)
    elif program == "tfds":
        import tensorflow_datasets as tfds

        assert rest[0] == "build" and tfds.builder_cls(rest[1])
    else:
        assert words == [".", ".venv/bin/activate"], f"teach this test the program {program!r}"


@pytest.mark.parametrize("path", [README, TRAINING, CONTRIBUTING], ids=name_of)
def test_commands_are_understood(path, monkeypatch):
    parsed = commands(path) + inline_commands(path)
    assert len(parsed) > 2
    for words in parsed:
        check_command(words, monkeypatch)


def test_datasets_of_the_documents_take_these_options():
    specs = re.findall(r'DATASETS\.build\("(.+?)"\)', "".join(p.read_text() for p in DATASET_GUIDES))
    assert specs
    for spec in map(parse_spec, specs):
        inspect.signature(DATASETS[spec.name]).bind(**spec.args)


# Names.


def test_every_key_is_described():
    described = {spans(cell)[0]: rest for cell, rest in rows(TRAINING, "Keys").items() if spans(cell)}
    assert set(described) == set(keys(RECIPES.build("tiny")))
    assert all(len(rest.rstrip("| ").split("|")[-1]) > 5 for rest in described.values())


def test_every_command_and_extra_is_real():
    text = "".join(prose(path) for path in DOCUMENTS)
    assert set(re.findall(r"`captioner (\w+)", text)) <= set(COMMANDS)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {spans(cell)[0] for cell in rows(README, "Install") if spans(cell)} <= set(known)


def test_files_of_a_run_are_those_that_training_writes():
    paths = [path for path in (ROOT / "training").rglob("*.py") if path.name != "demo.py"]
    source = "".join(path.read_text(encoding="utf-8") for path in paths)
    source += (ROOT / "captioner/bundle/files.py").read_text(encoding="utf-8")
    for cell in list(rows(TRAINING, "What a run folder holds"))[1:]:
        for name in spans(cell):
            stem = name.split("_SPLIT")[0].rstrip("/")
            assert f'"{stem}"' in source, f"training does not write {name}"


# Files and links.


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_and_paths_lead_somewhere(path):
    text = prose(path)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), f"{path.name} links to {link}, which is not there"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}
    for span in spans(text) if path.name != "CHANGELOG.md" else []:  # which also names what was there before
        if re.fullmatch(r"(captioner|training|serving|tests|docs)/[\w./-]*", span):
            assert (ROOT / span).exists(), f"{path.name} speaks of {span}, which is not there"


@pytest.mark.parametrize("path", [README, TRAINING], ids=name_of)
def test_results_stand_between_their_marks(path):
    assert re.findall(r"<!-- (/?results) -->", path.read_text()) == ["results", "/results"]


def test_the_targets_of_make_are_told():
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", text, re.M)[1].split()
    assert set(re.findall(r"^([a-z-]+):.*##", text, re.M)) == set(phony)
    assert "http" not in text, "packages come from wherever pip is told, no host belongs here"
