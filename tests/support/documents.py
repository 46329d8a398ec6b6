"""What is written in the documents: their blocks, commands, tables and paths."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
README, TRAINING, CONTRIBUTING = ROOT / "README.md", ROOT / "training/README.md", ROOT / "CONTRIBUTING.md"
FOLDERS = ("captioner", "training", "serving")
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
DOCUMENTS += [p for folder in (*FOLDERS, "tests") for p in sorted((ROOT / folder).rglob("*.md"))]


def name_of(value):
    """A document's name, for the id of a test."""
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
    parsed = []
    for line in "".join(blocks(path, "sh")).replace("\\\n", " ").splitlines():
        words = words_of(line)
        while "&&" in words:
            end = words.index("&&")
            parsed.append(words[:end])
            words = words[end + 1 :]
        parsed += [words] if words else []
    return parsed


def inline_commands(path):
    """The programs of the project that the prose calls with options."""
    return [words_of(s) for s in spans(prose(path)) if s.startswith(("python training/", "make "))]


def rows(path, heading=None):
    """First cell to the rest of the line, for the tables below a heading; without one, above the first heading."""
    first, *sections = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.M)
    text = first if heading is None else next(part for part in sections if part.startswith(heading + "\n"))
    cells = [line.strip("|").split("|", 1) for line in text.splitlines() if line.startswith("|")]
    return {cell.strip(): rest for cell, rest in cells if not set(cell) <= set("- ")}
