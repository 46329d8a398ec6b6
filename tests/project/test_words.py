"""The project speaks the field's language: words and names that it has left behind do not come back.

What a reader meets uses the terms of papers, Keras, TensorFlow and transformers; CONTRIBUTING.md has the glossary.
"""

import ast
import re

import pytest

from tests.support.documents import ROOT

# Options of programs.
OPTIONS = {
    "--least": "--min-count",
    "--check": "--eval-split",
    "--against": "--baseline",
    "--into": "--output-dir",
    "--also": "--extra-model",
    "--starts": "--processes",
    "--rounds": "--iterations",
    "--keep": "--archive-dir",
}
# In any text: expression to what to write instead.
PHRASES = {
    r"(?<!<)(?<!</)\bpictures?\b": "image",
    r"\bthe door to\b": "entry point of",
    r"\bin a mirror\b": "flipped horizontally",
    r"\bseen otherwise\b": "augmented",
    r"\b(no road|roads) led\b": "unreachable hypotheses are returned empty",
    r"\bclose[sd]? a road\b|\bby another road\b": "say what is computed",
    r"\bcosts? (its neighbours|the others?|the rest)\b.* nothing": "fails alone; the batch continues",
    r"\bcosts itself alone\b": "fails alone; the batch continues",
    r"\bas captions are asked for\b": "lazily",
    r"\b[Tt]he image chooses\b|\b[Cc]hoosing by the image\b": "image-conditioned reranking",
    r"\bwhat people say of (an |such )?images?\b": "CIDEr regression from image features",
    **{rf"(?<!format )(?<![\w-]){old}\b(?!-)": new for old, new in OPTIONS.items()},
    r"\b(xe|scst)\.(final|clip|ema)\b": "final_lr_ratio, global_clipnorm, ema_momentum",
    r"\bmodel\.start=": "model.init_from=",
}
# Names in Python code, and in backticks or specs of documents.
NAMES = {
    "side_by_side": "concat",
    "keep_statistics": "freeze_batch_norm",
    "slot_of_row": "PackedLayout",
    "Seeds": "InitialState",
    "makers": "projections",
    "joint": "recurrent_kernel",
    "recur": "recurrent_projection",
    "_uneven": "doubly_stochastic_penalty",
    "lite_file": "tflite_file",
    "noted": "metadata",
    "_OfTheSame": "DatasetWrapper",
    "Viewed": "AugmentedView",
    "Mirrored": "HorizontalFlip",
    "Otherwise": "AugmentedView",
    "paying": "reward_seconds",
    "_told": "sample_references",
    "_recall_best": "load_best_weights",
    "set_aside": "save_representative_images",
    "Gate": "AdmissionControl",
    "_lead": "run_as_leader",
    "Said": "PrecisionRow",
    "fluency": "log-probability weight",
    "sharpness": "posterior temperature",
}
# Variables that say their role in a sentence only: name them after what they hold.
VARIABLES = {"found", "said", "each", "given", "own", "whole", "told"}

# Text that must use an old word: file to the expression that is allowed there, and why.
EXCEPTIONS = {
    "captioner/text/languages.py": r"\bpicture\b",  # captions begin with "a picture of"
    "tests/outputs/test_alt_text.py": r"\bpicture\b",
    "saved_models/default/card.md": r"posing for a picture",  # a caption, quoted
    "training/recipes/default.md": r"posing for a picture",
    "captioner/format1.py": r".*",  # maps the names of model folders of format 1
    "tests/test_format1.py": r".*",
    "tests/training/loop/test_old_names.py": r".*",  # as those of run folders
    "training/loop/old_names.py": r".*",
    "captioner/rerank/cider_regression.py": r'"images": "pictures"',  # an array's name in files of format 1
    "tests/test_hostile_weights.py": r'"pictures": np.array',
    "training/data/feature_cache.py": r'"pictures": dataset.fingerprint',  # in names of caches on disk
    "training/data/transforms.py": r"in a mirror",  # in ids that cache keys and seeds hold
    "training/data/datasets/scenes.py": r"the picture shows",  # captions of the dataset
    "tests/training/data/datasets/test_synthetic_scenes.py": r"the picture shows",
}
# Folders and files that still hold old words. Delete a line when it is done; the set ends empty.
ALLOWED: set[str] = set()

FOLDERS = ("captioner", "training", "serving", "tests", "docs", "saved_models")
SUFFIXES = {".py", ".md", ".js", ".html", ".css", ".j2", ".sh", ".toml", ".yaml", ".config"}
HISTORY = {"CHANGELOG.md", "tests/project/test_words.py"}
FILES = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*"), *(p for folder in FOLDERS for p in (ROOT / folder).rglob("*"))]
    if path.is_file() and (path.suffix in SUFFIXES or path.name == "Makefile")
)
FILES = [file for file in FILES if file not in HISTORY]


def is_allowed(file: str) -> bool:
    return any(file == entry or file.startswith(f"{entry}/") for entry in ALLOWED)


def old_phrases(file: str, text: str) -> list[str]:
    """Phrases of `PHRASES` in a text, and of `NAMES` in a document."""
    exception = EXCEPTIONS.get(file, r"(?!)")
    patterns = dict(PHRASES)
    if file.endswith(".md"):
        patterns |= {rf"(?<=[`'\"(.= ])({name})(?=[`(=])": remedy for name, remedy in NAMES.items()}
    return [
        f"{file}:{number}: {match[0]!r}, write {remedy}"
        for number, line in enumerate(text.splitlines(), 1)
        for pattern, remedy in patterns.items()
        if (match := re.search(pattern, re.sub(exception, "", line)))
    ]


def identifiers(tree: ast.AST):
    """(line, name, whether it names a variable) of all that a module names."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Name():
                yield line, node.id, isinstance(node.ctx, ast.Store)
            case ast.arg():
                yield line, node.arg, True
            case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar() if node.name:
                yield line, node.name, True
            case ast.Attribute():
                yield line, node.attr, False
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield line, node.name, False
            case ast.keyword() if node.arg:
                yield node.value.lineno, node.arg, False
            case ast.alias():
                yield line, node.asname or node.name.rpartition(".")[2], False


def old_names(file: str, text: str) -> list[str]:
    """Names of `NAMES` and variables of `VARIABLES` in a module."""
    if EXCEPTIONS.get(file) == ".*":
        return []
    messages = []
    for line, name, is_variable in identifiers(ast.parse(text)):
        if name in NAMES:
            messages.append(f"{file}:{line}: {name}, write {NAMES[name]}")
        elif is_variable and name in VARIABLES:
            messages.append(f"{file}:{line}: variable {name}, name it after what it holds")
    return messages


def old_words(file: str) -> list[str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return old_phrases(file, text) + (old_names(file, text) if file.endswith(".py") else [])


@pytest.mark.parametrize("file", [file for file in FILES if not is_allowed(file)])
def test_old_words_do_not_come_back(file):
    assert not (messages := old_words(file)), "\n".join(messages)


def test_what_is_done_is_no_longer_allowed():
    """A line of `ALLOWED` under which nothing is left to do must go."""
    left = {entry for entry in ALLOWED for file in FILES if file.startswith(entry) and old_words(file)}
    assert left >= ALLOWED, f"delete from ALLOWED in {__file__}: {sorted(ALLOWED - left)}"


@pytest.mark.parametrize(
    "code",
    [
        "found = 1",
        "found += 1",
        "for each in rows: pass",
        "rows = [each for each in rows]",
        "with file as whole: pass",
        "def f(given): pass",
        "def f(*, given): pass",
        "def f(**given): pass",
        "f = lambda own: own",
        "(told, rest) = pair",
        "if (said := f()): pass",
        "class Seeds: pass",
        "def set_aside(): pass",
        "f(keep_statistics=True)",
        "from a import Seeds",
        "a.makers",
        "# the door to decoding",
        "'a picture of a dog'",
    ],
)
def test_the_lint_finds(code):
    assert old_phrases("a.py", code) + old_names("a.py", code)


@pytest.mark.parametrize(
    "code", ["x = found", "rows = PackedLayout()", "html = '<picture></picture>'", "a.found"]
)
def test_the_lint_leaves_alone(code):
    assert not old_phrases("a.py", code) + old_names("a.py", code)


@pytest.mark.parametrize(
    "line", ["`side_by_side`", "`xe.clip`", "model.start=runs/x", "captioner x --into y"]
)
def test_the_lint_reads_documents(line):
    assert old_phrases("a.md", line) and not old_phrases("a.md", "`concat` of `ruff format --check`")
