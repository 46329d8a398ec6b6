"""The examples of docs/extending.md work, and its counts of files are those of the examples."""

import ast
import importlib
import importlib.util
import re
import sys
import types

import pytest

from tests.support.documents import ROOT, rows

PAGE = ROOT / "docs/extending.md"
FILE = re.compile(r"# (\S+\.py)(?:: ([A-Z]+))?\n")


def examples():
    """The sections of the page: title to blocks of Python."""
    _, *sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)
    blocks = {
        text.split("\n", 1)[0]: re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) for text in sections
    }
    return {title.partition(" ")[2]: code for title, code in blocks.items() if code}


def module_name(file):
    return file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def add_module(file, text, monkeypatch):
    """The new file, as a module that can be imported under its name."""
    assert not (ROOT / file).exists(), f"{PAGE.name} adds {file}, which is there already"
    assert (ROOT / file).parent.is_dir(), f"{PAGE.name} adds {file}, whose folder is not there"
    module = types.ModuleType(module_name(file))
    exec(compile(text, file, "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def add_row(file, name, text, monkeypatch):
    """The new line of a table, which must be defined in the file that the page names."""
    assert f"{name} = Table(" in (ROOT / file).read_text(encoding="utf-8"), f"{file} does not define {name}"
    table = getattr(importlib.import_module(module_name(file)), name)
    row = ast.literal_eval("{" + text + "}")
    assert not set(row) & set(table)
    monkeypatch.setattr(table, "_rows", {**table._rows, **row})
    if name == "RULES":  # strategies read the table when they are imported
        for module in [m for m in sys.modules if m.startswith("captioner.decoding.strategies")]:
            monkeypatch.delitem(sys.modules, module)


@pytest.mark.parametrize("part", examples())
def test_an_example_works_with_the_files_that_it_names(part, world, monkeypatch, capsys):
    monkeypatch.chdir(world)
    files, names = set(), {}
    for block in examples()[part]:
        head = FILE.match(block)
        if head is None:
            exec(compile(block, f"{PAGE.name}, {part}", "exec"), names)
            continue
        files.add(head[1])
        (add_row if head[2] else add_module)(*filter(None, head.groups()), block[head.end() :], monkeypatch)
    assert capsys.readouterr().out and names, "an example ends with a block that uses the new part"
    assert len(files) == int(rows(PAGE)[part].strip("| ").split("|")[0])


def test_every_family_with_an_example_is_counted():
    assert set(examples()) == set(rows(PAGE)) - {"part"}
