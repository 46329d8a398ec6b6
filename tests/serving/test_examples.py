"""The client examples: each runs on its own, without captioner or TensorFlow."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_tf_serving import SERVERS, Refusal, World, expected

EXAMPLES = Path(__file__).parents[2] / "serving/examples"
GOOD, OTHER, BAD = b"GIF89a one", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 2000, b"no image"

# Runs an example while some packages cannot be imported.
ALONE = """
import runpy, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}.split():
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def folder(tmp_path):
    for name, data in {"good.gif": GOOD, "other.png": OTHER, "bad.jpg": BAD}.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.fixture
def world():
    return World()


@pytest.fixture(params=["curl.sh", "rest_client.py", "grpc_client.py"])
def ask(request, world, folder):
    """Runs an example on images, against a fake server of its protocol."""
    server = SERVERS["grpc" if "grpc" in request.param else "http"](world)

    def ask(*paths, model="dogs", port=server.port):
        rest = f"http://127.0.0.1:{port}/v1/models/{model}"
        if request.param == "curl.sh":
            if shutil.which("curl") is None:
                pytest.skip("curl.sh needs curl")
            command = ["sh", EXAMPLES / request.param, *paths, rest]
        else:
            names = "tensorflow captioner google numpy" + (" grpc" if "rest" in request.param else "")
            target = [f"127.0.0.1:{port}", model] if "grpc" in request.param else [rest]
            command = [
                sys.executable,
                "-c",
                ALONE.format(names=names),
                EXAMPLES / request.param,
                *target,
                *paths,
            ]
        return subprocess.run(
            command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace", timeout=60
        )

    ask.many, ask.grpc = request.param != "curl.sh", "grpc" in request.param
    yield ask
    server.close()


def test_example_prints_the_caption(ask, world):
    for path, data in {"good.gif": GOOD, "other.png": OTHER}.items():
        done = ask(path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (f"{path}: " if ask.many else "") + f"{expected(data).text}\n"


def test_several_and_invalid_images(ask):
    done = ask("bad.jpg")
    assert "not an image" in done.stdout + done.stderr
    if ask.many:
        done = ask("good.gif", "bad.jpg", "other.png")
        lines = [expected(GOOD).text, "not an image", expected(OTHER).text]
        assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == lines


def test_requests_hold_at_most_one_batch(ask, world, folder):
    if not ask.many:
        pytest.skip("curl.sh takes one image")
    done = ask(*["good.gif"] * 19)
    assert (done.returncode, done.stdout) == (0, f"good.gif: {expected(GOOD).text}\n" * 19)
    assert world.requests == [8, 8, 3]


def test_errors_are_printed(ask, world):
    for done, message in (
        (ask("good.gif", model="cats"), "Servable not found for request: Latest(cats)"),
        (ask("missing.jpg"), "missing.jpg"),
    ):
        assert done.returncode != 0 and done.stdout == ""
        assert message in done.stderr and "Traceback" not in done.stderr
    world.always = Refusal(503, "come back\nlater")
    error = ask("good.gif").stderr
    assert "come back" in error and error.count("\n") == 1


def test_usage():
    for name in ("rest_client.py", "grpc_client.py"):
        done = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and f"python {name}" in done.stderr
    done = subprocess.run(["sh", EXAMPLES / "curl.sh"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "usage: sh curl.sh" in done.stderr


def test_unreachable_server(ask):
    done = ask("good.gif", port=1)
    assert done.returncode != 0 and "Traceback" not in done.stderr and done.stderr.strip()


def test_server_of_the_other_protocol(ask, world):
    other = SERVERS["http" if ask.grpc else "grpc"](world)
    try:
        done = ask("good.gif", port=other.port)
    finally:
        other.close()
    assert done.returncode != 0 and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.strip() and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "answer", [b"hello", b"{}", b'{"predictions": [{}]}', b'{"predictions": 3}', b"\xff\xfe"]
)
def test_invalid_answers_are_one_line(ask, world, answer):
    if ask.grpc:
        pytest.skip("JSON")
    world.always = lambda outputs: answer
    done = ask("good.gif")
    assert done.returncode != 0 and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_readme_names_every_example():
    text = (EXAMPLES / "README.md").read_text()
    files = [path for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")]
    assert len(files) == 4
    for path in files:
        assert f"{path.name} " in text
