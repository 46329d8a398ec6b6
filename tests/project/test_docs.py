"""What the documents say is so: examples and blocks run, commands parse, names, files and links exist."""

import argparse
import contextlib
import doctest
import functools
import importlib
import importlib.util
import inspect
import json
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import captioner
from captioner.cli import COMMANDS
from captioner.cli import main as captioner_main
from captioner.decoding import RULES, STRATEGIES
from captioner.errors import DataError
from captioner.metrics import METRICS
from captioner.models import ATTENTIONS, CELLS, DECODERS, ENCODERS
from captioner.registry import parse_spec
from captioner.rerank import RERANKERS
from captioner.types import END
from tests.support.tiny_model import build_tiny_model
from tests.training.test_recipes import check_specs
from training import fit_cider_regression
from training.config import keys, with_changes
from training.data.datasets import DATASETS
from training.recipes import RECIPES, tables

ROOT = Path(__file__).parents[2]
README, TRAINING = ROOT / "README.md", ROOT / "training/README.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
DOCUMENTS += [
    p
    for folder in ("captioner", "training", "serving", "tests")
    for p in sorted((ROOT / folder).rglob("*.md"))
]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in ("captioner", "training", "serving")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def name_of(value):
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else None


def blocks(path, language):
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)


def prose(path):
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)


def spans(text):
    """What stands in backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def words_of(line):
    """The words of a shell line; && and > stand alone."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def commands(path):
    """The commands of the shell blocks, as lists of words."""
    found = []
    for line in "".join(blocks(path, "sh")).replace("\\\n", " ").splitlines():
        words = words_of(line)
        while "&&" in words:
            cut = words.index("&&")
            found.append(words[:cut])
            words = words[cut + 1 :]
        found += [words] if words else []
    return found


def inline_commands(path):
    """The programs of ours that the prose calls with options."""
    return [words_of(s) for s in spans(prose(path)) if s.startswith(("python training/", "make "))]


def rows(path, heading):
    """First cell to the rest of the line, for the tables below a heading."""
    section = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.M)
    text = next(part for part in section if part.startswith(heading + "\n"))
    cells = [line.strip("|").split("|", 1) for line in text.splitlines() if line.startswith("|")]
    return {first.strip(): rest for first, rest in cells if not set(first) <= set("- ")}


# Examples in docstrings.


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0, f"{result.failed} examples of {name} fail, see above"


# Python and shell blocks.


@pytest.fixture(scope="module")
def world(tmp_path_factory, images):
    """The folder that the documents speak of: models, images, captions."""
    folder = tmp_path_factory.mktemp("world")
    model = build_tiny_model()
    bias = model.decoder.logits.bias
    # Random weights may well say nothing at all.
    bias.assign(bias - 3.0 * np.eye(bias.shape[0])[END])
    # The real default model can rerank by the image, too.
    features = np.random.default_rng(0).normal(size=(1, 9, 12)).astype(np.float32)
    model.reranker_parameters["cider_regression"] = fit_cider_regression.fit(
        features, [["a dog runs"], ["the cat sits"], ["a red cat"]] * 3, model.tokenizer
    )
    for place in ("saved_models/default", "runs/photos/model"):
        captioner.save(model, folder / place)
    for path, image in zip(("photos/beach.jpg", "photos/dog.jpg"), images, strict=False):
        (folder / path).parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(image).save(folder / path)
    (folder / "photos/more").mkdir()
    for number in range(16):  # enough to learn the ranges of 8 bits from
        PIL.Image.fromarray(images[number % len(images)]).resize((40 + number, 40)).save(
            folder / f"photos/more/{number}.png"
        )
    (folder / "photos/captions.csv").write_text(blocks(README, "csv")[0])
    lines = blocks(README, "csv")[0].replace("\nbeach", "\nphotos/beach").replace("\ndog", "\nphotos/dog")
    (folder / "references.csv").write_text(lines)
    scored = folder / "runs/flickr8k_lstm"
    scored.mkdir(parents=True)
    (scored / "predictions_test.json").write_text(json.dumps({"1.jpg": "a dog", "2.jpg": "a cat"}))
    (scored / "references_test.json").write_text(json.dumps({"1.jpg": ["A dog ."], "2.jpg": ["Cats ."]}))
    return folder


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
        if program == "captioner" and "--official" not in words:
            target = None
            if ">" in words:
                words, target = words[:-2], words[-1]
            if words[0] == "bench":
                words += [
                    "--processes",
                    "1",
                    "--iterations",
                    "2",
                ]  # three processes a model are for measuring
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
    given = parse(module.main, words[1:], monkeypatch)
    if hasattr(given, "changes"):
        check_specs(with_changes(RECIPES.build(getattr(given, "recipe", "tiny")), given.changes))


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


@pytest.mark.parametrize("path", [README, TRAINING], ids=name_of)
def test_commands_are_understood(path, monkeypatch):
    found = commands(path) + inline_commands(path)
    assert len(found) > 5
    for words in found:
        check_command(words, monkeypatch)


def test_datasets_of_the_documents_take_these_options():
    found = re.findall(r'DATASETS\.build\("(.+?)"\)', "".join(p.read_text() for p in DOCUMENTS))
    assert {parse_spec(text).name for text in found} == set(DATASETS)
    for spec in map(parse_spec, found):
        inspect.signature(DATASETS[spec.name]).bind(**spec.args)


# Names.

TABLES = {
    "encoders": ENCODERS,
    "decoders": DECODERS,
    "cells": CELLS,
    "attentions": ATTENTIONS,
    "strategies": STRATEGIES,
    "rules": RULES,
    "rerankers": RERANKERS,
    "metrics": METRICS,
    "datasets": DATASETS,
    "recipes": RECIPES,
}


def test_the_readme_lists_every_family():
    assert set(rows(README, "What there is to choose from")) == {"part", *TABLES}


@pytest.mark.parametrize("family", TABLES)
def test_the_readme_names_every_part(family):
    text = rows(README, "What there is to choose from")[family]
    named = set(spans(text))
    for first, last in re.findall(r"`(\w+\d)` to `(\w+\d)`", text):
        named |= {f"{first[:-1]}{i}" for i in range(int(first[-1]), int(last[-1]) + 1)}
    assert named == set(TABLES[family])


def test_tables_of_the_guide_are_generated():
    """Keys and recipes stand in training/README.md as the code has them."""
    text = TRAINING.read_text(encoding="utf-8")
    assert tables.updated(text) == text, (
        "run python -c \"from training.recipes import tables; tables.write('training/README.md')\""
    )
    assert {spans(cell)[0] for cell in rows(TRAINING, "Keys") if spans(cell)} == set(
        keys(RECIPES.build("tiny"))
    )
    meanings = [line.split("|")[-2].strip() for line in tables.keys_table().splitlines()[2:]]
    assert all(len(meaning) > 5 for meaning in meanings)
    assert [spans(line)[0] for line in tables.recipes_table().splitlines()[2:]] == RECIPES.names()


def test_tables_of_the_guide_need_their_marks():
    with pytest.raises(DataError, match="recipes"):
        tables.updated("no marks")


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
    for span in spans(text):
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
