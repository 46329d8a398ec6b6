"""The wheel as a device gets it: installed with the extra `lite` alone, in an environment that has nothing else."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.images import odd_images

pytest.importorskip("ai_edge_litert")

import captioner

ROOT = Path(__file__).parents[2]
# Nothing from outside an environment is to be found in it.
BARE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def pip(*command, python=sys.executable):
    """Runs pip; a test that cannot reach a package registry is skipped."""
    ran = subprocess.run(
        [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "--retries", "1", *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=BARE,
    )
    if ran.returncode and "connection broken" in ran.stderr:
        pytest.skip(f"needs a package registry: {ran.stderr.strip().splitlines()[-1]}")
    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Python of an environment with the wheel and what `[lite]` asks for."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", ".", "--no-deps", "--wheel-dir", str(folder))
    (wheel,) = folder.glob("captioner-*.whl")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip("install", f"{wheel}[lite]", python=python)
    return python


def test_a_wheel_with_lite_alone_captions_a_photo(alone, tiny_bundle, tiny_export, tmp_path):
    model = tiny_export("tflite")
    image = tmp_path / "photo.jpg"
    image.write_bytes(odd_images.encoded(odd_images.drawn(90, 70, turn=120), "JPEG"))

    def run(*command):
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=BARE)

    listed = run(alone, "-m", "pip", "list", "--format=freeze").stdout.lower()
    assert "ai-edge-litert" in listed and not any(
        name in listed for name in ("tensorflow", "keras", "h5py", "jax")
    )
    command = alone.parent / "captioner"
    answer = run(command, "caption", image, "--model", model, "--strategy", "beam(width=2, min_length=2)")
    with captioner.load(model) as here:
        wanted = here.caption(image, "beam(width=2, min_length=2)")
    assert (answer.returncode, answer.stdout.strip()) == (0, wanted.text) and wanted.words
    # What needs more says so in one line.
    refused = run(command, "caption", image, "--model", tiny_bundle)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "captioner[tf]" in refused.stderr
    row = run(command, "bench", model, "--iterations", "2", "--processes", "1")
    assert row.returncode == 0 and str(model) in row.stdout
