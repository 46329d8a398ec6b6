"""The programs in serving/ as users run them: as files, from any working directory.

`serving/http/` would hide the `http` of the standard library if the folder of the program stayed on the import path.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(path.name for path in (ROOT / "serving").glob("*.py") if path.name != "__init__.py")


def run(tmp_path, *command):
    # The package of this repository, however it is installed here.
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_help(name, tmp_path):
    done = run(tmp_path, ROOT / "serving" / name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {name}")


def test_development_server_imports_the_standard_http(tmp_path):
    """Starlette and uvicorn import `http`; they are imported when the server starts."""
    pytest.importorskip("starlette")
    done = run(tmp_path, ROOT / "serving/devserver.py", "nowhere", "--port", "0", "--rest-port", "0")
    message = "devserver.py: expected a model folder at nowhere, there is none\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_programs_are_listed():
    assert {"devserver.py", "bench.py", "parity.py"} <= set(PROGRAMS)
