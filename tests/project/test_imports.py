"""Who may import whom, and what `import captioner` may cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(p for folder in ("captioner", "training", "serving") for p in (ROOT / folder).rglob("*.py"))

# Lowest first. A module is known by the longest name here that its own starts with.
GROUND = {"captioner.types", "captioner.errors", "captioner.registry", "captioner.checks", "captioner.atomic"}
GROUND |= {f"captioner.{name}" for name in ("metadata", "signals", "programs", "signature", "format1")}
GROUND |= {
    "captioner.outputs.confidence",
    "captioner.image",  # itself, its docstring alone
    "captioner.outputs",  # the same
}
IMAGE = {
    "captioner.image.bit_depths",
    "captioner.image.file_headers",
    "captioner.image.not_images",
    "captioner.image.icc_profiles",
    "captioner.image.pillow_decode",
    "captioner.image.loading",
}
WORDS = GROUND | IMAGE | {"captioner.text", "captioner.caption_files.image_ids"}
DATA = WORDS | {"captioner.bundle", "captioner.metrics", "captioner.caption_files"}
ENGINE = DATA | {"captioner.engines", "captioner.engines.base", "captioner.engines.tensorflow_import"}
# Search takes its arrays from TensorFlow or NumPy, whichever is there: free, and not to be imported lightly.
LITE = ENGINE | {
    "captioner.image.pillow_preprocess",
    "captioner.decoding",
    "captioner.rerank",
    "captioner.outputs.ood",
    "captioner.outputs.outcome",
    "captioner.engines.tflite",
}
TF_IMAGE = {f"captioner.image.{name}" for name in ("tf_bytes", "tf_headers", "tf_formats", "tf_decode")}
HEAVY = TF_IMAGE | {"captioner.models", "captioner.tfrecord"}
TEXTS = {"captioner.outputs.alt_text"}
RUNNERS = (
    LITE | HEAVY | TEXTS | {"captioner.exporting", "captioner.engines.keras", "captioner.engines.saved_model"}
)
ALLOWED = {
    "captioner.image": GROUND,
    "captioner.outputs": GROUND,
    "captioner.types": GROUND,
    "captioner.errors": GROUND,
    "captioner.registry": GROUND,
    "captioner.checks": GROUND,
    "captioner.atomic": GROUND,
    "captioner.signals": GROUND,
    "captioner.programs": GROUND,
    "captioner.outputs.confidence": GROUND,
    "captioner.outputs.ood": GROUND | {"captioner.decoding"},
    "captioner.outputs.outcome": WORDS | {"captioner.decoding", "captioner.outputs.ood"},
    "captioner.metadata": GROUND,
    "captioner.signature": GROUND,
    "captioner.format1": GROUND,
    "captioner.caption_files.image_ids": GROUND,
    "captioner.text": WORDS,
    "captioner.image.file_headers": GROUND,
    "captioner.image.icc_profiles": GROUND,
    "captioner.image.bit_depths": GROUND,
    "captioner.image.not_images": GROUND,
    "captioner.image.pillow_decode": GROUND | IMAGE,
    "captioner.image.loading": GROUND | IMAGE,
    "captioner.bundle": DATA,
    "captioner.metrics": DATA,
    "captioner.caption_files": DATA,
    "captioner.outputs.alt_text": DATA,
    "captioner.outputs.heatmap": WORDS | {"captioner.image.pillow_preprocess"},
    "captioner.reports": DATA
    | {"captioner.outputs.heatmap", "captioner.image.pillow_preprocess", "captioner.reports"},
    "captioner.engines": ENGINE,  # base, start, lite, remote, fake and the table
    "captioner.engines.tflite": LITE,
    "captioner.image.pillow_preprocess": WORDS,
    "captioner.image.tf_bytes": WORDS,
    "captioner.image.tf_headers": WORDS | TF_IMAGE,
    "captioner.image.tf_formats": WORDS | TF_IMAGE,
    "captioner.tfrecord": GROUND,
    "captioner.image.tf_decode": WORDS | TF_IMAGE,
    "captioner.models": WORDS | {"captioner.models"},
    "captioner.decoding": GROUND | {"captioner.decoding", "captioner.rerank"},
    "captioner.rerank": GROUND | {"captioner.decoding", "captioner.rerank"},
    "captioner.engines.keras": RUNNERS,
    "captioner.engines.saved_model": RUNNERS,
    "captioner.exporting": RUNNERS,
    "captioner.captioner": RUNNERS,
    "captioner.api": RUNNERS | {"captioner.captioner"},
    "captioner.benchmark": LITE | {"captioner.api"},
    "captioner.cli": RUNNERS
    | {
        "captioner.api",
        "captioner.benchmark",
        "captioner.cli",
        "captioner.outputs.heatmap",
        "captioner.reports",
    },
    "captioner.__main__": {"captioner.cli"},
    "captioner": {"captioner.bundle"},  # all else by name, when asked for
    "training": {"captioner", "training"},
    "serving": {"captioner", "serving"},
}
FREE = (
    LITE
    | TEXTS
    | {
        "captioner.outputs.heatmap",
        "captioner.reports",
        "captioner",
        "captioner.__main__",
        "captioner.api",
        "captioner.benchmark",
        "captioner.captioner",
        "captioner.cli",
    }
)
FREE_HEAVY = {"tensorflow", "keras", "jax", *HEAVY, "captioner.exporting", "captioner.engines.keras"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit(name: str) -> str:
    """The entry of `ALLOWED` that a module belongs to."""
    parts = name.split(".")
    names = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return next(n for n in names if n in ALLOWED and (n != "captioner" or n == name))


def imports(path: Path, top_only: bool = False) -> list[tuple[int, str]]:
    """(line, module) of every import; with `top_only`, of those that run when the module is imported."""
    modules = []

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                modules.extend((child.lineno, alias.name) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}:{child.lineno}: write the import in full, not relative"
                modules.append((child.lineno, child.module))
                # `from captioner import images` is an import of captioner.image.tf_decode.
                modules.extend(
                    (child.lineno, f"{child.module}.{a.name}") for a in child.names if is_module(child, a)
                )
            lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            if not (top_only and (lazy or typing)):
                visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return modules


def is_module(node: ast.ImportFrom, alias: ast.alias) -> bool:
    path = ROOT.joinpath(*node.module.split("."), alias.name)
    return path.is_dir() or path.with_suffix(".py").exists()


def is_program(path: Path) -> bool:
    """Whether people run the file: it lies directly in training/ or serving/ and has a `__main__` part."""
    return path.parent.name in ("training", "serving") and '__name__ == "__main__"' in path.read_text("utf-8")


PROGRAMS = {module_name(path) for path in FILES if is_program(path)}
NO_PROGRAMS = {"training", "serving", "training.config"}  # the settings of a run, which every program reads


def test_there_is_something_to_check():
    names = {module_name(path) for path in FILES}
    assert {"captioner", "captioner.api", "captioner.image.tf_decode", "captioner.models"} <= names


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_downwards(path):
    mine = unit(module_name(path))
    for line, name in imports(path):
        top = name.split(".")[0]
        if top not in ("captioner", "training", "serving", "tests") or name == "captioner":
            continue
        theirs = unit(name) if top != "tests" else "tests"
        allowed = ALLOWED[mine]
        if theirs.split(".")[0] != mine.split(".")[0]:
            fine = top in allowed
        else:
            fine = theirs in allowed or theirs == mine or mine in ("training", "serving")
        assert fine, (
            f"{path.relative_to(ROOT)}:{line} imports {name}, but {mine} may import only "
            f"{', '.join(sorted(allowed))}: move the code down, or hand what is needed over as an argument"
        )


@pytest.mark.parametrize("path", [p for p in FILES if unit(module_name(p)) in FREE], ids=module_name)
def test_the_free_zone_imports_nothing_heavy(path):
    for line, name in imports(path, top_only=True):
        heavy = [h for h in FREE_HEAVY if name == h or name.startswith(h + ".")]
        assert not heavy, (
            f"{path.relative_to(ROOT)}:{line} imports {name} at module level and so fails without "
            f"TensorFlow: import it inside the function that needs it"
        )


@pytest.mark.parametrize(
    "path", [p for p in FILES if unit(module_name(p)) == "captioner.models"], ids=module_name
)
def test_models_are_written_in_keras_ops(path):
    for line, name in imports(path):
        assert name.split(".")[0] not in ("tensorflow", "jax", "torch"), (
            f"{path.relative_to(ROOT)}:{line} imports {name}: models run on every backend, use keras.ops"
        )


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_module_is_called_utils(path):
    assert not {"utils", "util", "helpers", "common"} & set(module_name(path).split(".")), (
        f"{path.relative_to(ROOT)}: name the module after what it knows"
    )


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent.name in ("training", "serving")], ids=module_name
)
def test_files_beside_the_libraries_are_programs(path):
    name = module_name(path)
    assert name in PROGRAMS | NO_PROGRAMS, f"{name} is no program: a library belongs into a folder"


@pytest.mark.parametrize("path", [path for path in FILES if not is_program(path)], ids=module_name)
def test_libraries_import_no_program(path):
    for line, name in imports(path):
        assert name not in PROGRAMS, (
            f"{path.relative_to(ROOT)}:{line} imports the program {name}: move what it needs into a library"
        )


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_import_captioner_is_light():
    heavy = {"tensorflow", "keras", "numpy", "PIL"}
    also = run("import sys, captioner; print(*sys.modules)").split()
    assert "captioner" in also and not heavy & set(also), f"import captioner also imports {heavy & set(also)}"


@pytest.mark.parametrize(
    "code",
    [
        "import captioner.api, captioner.bundle, captioner.metrics, captioner.text, captioner.engines.fake",
        "from captioner import Captioner, Caption, Tokenizer, evaluate, load, save",
        "from captioner.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from captioner.cli import main\ntry: main(['caption', '--help'])\nexcept SystemExit: pass",
        "from captioner.cli import main\nmain(['caption', 'no.jpg', '--model', 'nowhere'])",
    ],
)
def test_what_needs_no_model_needs_no_tensorflow(code):
    printed = run(f"{code}\nimport sys\nprint([m for m in ('tensorflow', 'keras') if m in sys.modules])")
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("setting", "used"), [(None, "1"), ("0", "0")])
def test_onednn_is_asked_for_unless_the_user_says_otherwise(setting, used, monkeypatch, tmp_path):
    """Before TensorFlow is imported, or it would not hear of it: one that stands in for it says what it hears."""
    (tmp_path / "tensorflow.py").write_text("import os; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])")
    (tmp_path / "keras.py").write_text("class backend:\n    backend = staticmethod(lambda: 'tensorflow')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if setting is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", setting)
    asked = "from captioner.engines.tensorflow_import import import_tensorflow; import_tensorflow('a test')"
    assert run(asked) == used


def test_imports_warn_of_nothing():
    """Each module under `python -W error`; TensorFlow's own warnings would be errors as well, so there are none."""
    code = (
        "import importlib, pkgutil, captioner\n"
        "for module in pkgutil.walk_packages(captioner.__path__, 'captioner.'):\n"
        "    if module.name != 'captioner.__main__':\n"
        "        importlib.import_module(module.name)"
    )
    for imports in ("import captioner", code):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", imports], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert imports == code or done.stderr == ""
