"""The program of analyses: every command has its module, and only the one that is called is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from training import analyze

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", analyze.COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        analyze.main([name, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and text.startswith(f"usage: analyze.py {name} ")
    assert f"python training/analyze.py {name} " in text, "its docstring shows how it is called"


def test_unknown_command_names_the_nearest(capsys):
    with pytest.raises(SystemExit) as stop:
        analyze.main(["gradient"])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and "did you mean 'gradients'?" in err and err.count("\n") == 1


def test_only_the_named_analysis_is_imported():
    code = (
        "import sys\nfrom training import analyze\n"
        "try: analyze.main(['biases', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m.startswith('training.analysis.') or m == 'tensorflow'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['training.analysis.biases']"


def test_every_command_is_in_the_guide():
    guide = (ROOT / "training/README.md").read_text(encoding="utf-8")
    assert [name for name in analyze.COMMANDS if f"| `{name}` |" not in guide] == []
