"""How large files, functions and folders may get, and that tests stand where their packages do."""

import ast

import pytest

from tests.support.documents import ROOT

LINES_OF_A_FILE, LINES_OF_A_FUNCTION, MODULES_OF_A_FOLDER = 300, 60, 15
PACKAGES, TESTS = ("captioner", "training", "serving"), "tests"
# Tests of no package: of the project as a whole, and what tests share.
NO_PACKAGE = {"project", "support"}

# Files and folders that are still too large. Delete a line when it is done; the set ends empty.
ALLOWED: set[str] = set()

MODULES = sorted(
    str(path.relative_to(ROOT)) for folder in (*PACKAGES, TESTS) for path in (ROOT / folder).rglob("*.py")
)
FOLDERS = sorted({file.rpartition("/")[0] for file in MODULES})


def faults_of_module(file: str) -> list[str]:
    """What is too long in a module."""
    text = (ROOT / file).read_text(encoding="utf-8")
    faults = []
    if (lines := len(text.splitlines())) > LINES_OF_A_FILE:
        faults.append(f"{file}: {lines} lines, at most {LINES_OF_A_FILE}: split it by what its parts know")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > LINES_OF_A_FUNCTION:
                faults.append(
                    f"{file}:{node.lineno}: {node.name} has {lines} lines, at most {LINES_OF_A_FUNCTION}"
                )
    return faults


def faults_of_folder(folder: str) -> list[str]:
    """Too many modules beside each other; tests of no package (tests/decoding are those of captioner/decoding)."""
    faults = []
    count = sum(file.rpartition("/")[0] == folder and not file.endswith("/__init__.py") for file in MODULES)
    if count > MODULES_OF_A_FOLDER:
        faults.append(
            f"{folder}: {count} modules, at most {MODULES_OF_A_FOLDER}: make folders of what belongs together"
        )
    root, *parts = folder.split("/")
    if root == TESTS and parts and parts[0] not in NO_PACKAGE:
        package = "/".join(parts if parts[0] in PACKAGES else ["captioner", *parts])
        if not (ROOT / package).is_dir():
            faults.append(f"{folder} tests no package: expected {package}")
    return faults


def faults(name: str) -> list[str]:
    return faults_of_module(name) if name.endswith(".py") else faults_of_folder(name)


@pytest.mark.parametrize("name", [name for name in (*MODULES, *FOLDERS) if name not in ALLOWED])
def test_files_functions_and_folders_are_small(name):
    assert not (messages := faults(name)), "\n".join(messages)


def test_what_is_done_is_no_longer_allowed():
    done = {name for name in ALLOWED if not (ROOT / name).exists() or not faults(name)}
    assert not done, f"delete from ALLOWED in {__file__}: {sorted(done)}"


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder.split("/")[0] in PACKAGES])
def test_every_package_says_what_it_holds(folder):
    file = ROOT / folder / "__init__.py"
    if not file.exists():
        assert folder == "serving/examples", f"{folder} has modules and no __init__.py"
        return  # programs to copy, each on its own
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    line = text.split("\n")[0]
    assert line.endswith("."), (
        f"{folder}/__init__.py: expected a docstring whose first line is a sentence, got {line!r}"
    )


def test_every_package_of_the_library_is_tested():
    packages = {
        file.split("/")[1] for file in MODULES if file.startswith("captioner/") and file.count("/") > 1
    }
    tested = {file.split("/")[1] for file in MODULES if file.startswith("tests/") and file.count("/") > 1}
    assert packages <= tested, f"packages without a folder in tests/: {sorted(packages - tested)}"
