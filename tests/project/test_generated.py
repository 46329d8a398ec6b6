"""The generated blocks of the documents are those that the code gives today."""

import ast
import shutil

import pytest

from captioner.registry import Table
from tests.project import generated

FOLDERS = ("captioner", "training")


@pytest.mark.parametrize(("document", "name"), generated.BLOCKS, ids=" ".join)
def test_blocks_are_up_to_date(document, name):
    text = (generated.ROOT / document).read_text(encoding="utf-8")
    blocks = generated.pattern(name).findall(text)
    assert blocks == [generated.BLOCKS[document, name]()], f"{document} is out of date: run `make docs`"


def test_every_table_of_the_code_is_documented():
    """`NAME = Table(...)` at the top of a module is a family of parts: it needs its line in `PARTS`."""
    tables = set()
    for folder in FOLDERS:
        for path in (generated.ROOT / folder).rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
                if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "Table":
                    tables.add(ast.literal_eval(value.args[0]))
    documented = {table.kind for table in generated.PARTS.values()}
    assert documented == tables, "a table of parts lacks its line in PARTS of tests/project/generated.py"


def test_every_part_has_a_line_of_documentation():
    for family, table in generated.PARTS.items():
        for name, line in table.describe().items():
            assert line and line[-1] in ".:", (
                f"{family} {name!r}: the docstring begins with {line!r}, no sentence"
            )


def test_a_new_part_makes_its_blocks_out_of_date(tmp_path, monkeypatch):
    for document in {document for document, _ in generated.BLOCKS}:
        (tmp_path / document).parent.mkdir(exist_ok=True)
        shutil.copy(generated.ROOT / document, tmp_path / document)
    assert generated.rewrite(tmp_path) == []

    class Tomorrow:
        """Says tomorrow | today."""

    table = Table("part", {"tomorrow": Tomorrow, **{f"size{i}": Tomorrow for i in range(3)}})
    monkeypatch.setitem(generated.PARTS, "inventions", table)
    assert generated.rewrite(tmp_path) == [(generated.README, "parts"), (generated.PARTS_PAGE, "parts")]
    assert "| inventions | `tomorrow`, `size0` to `size2` |" in (tmp_path / generated.README).read_text()
    page = (tmp_path / generated.PARTS_PAGE).read_text()
    assert "## Inventions" in page and "| `tomorrow` | Says tomorrow \\| today. |" in page
    assert generated.rewrite(tmp_path) == []


def test_a_lost_marker_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text("<!-- parts -->\nno end")
    monkeypatch.setattr(generated, "BLOCKS", {("page.md", "parts"): lambda: "text"})
    with pytest.raises(ValueError, match="got 0"):
        generated.rewrite(tmp_path)
