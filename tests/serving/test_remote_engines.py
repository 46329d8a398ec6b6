"""One model in Keras, as a SavedModel, and over gRPC and REST: the same captions."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import captioner
from captioner.types import Caption
from tests.support.images import odd_images
from tests.support.serving.devserver import DevserverProcess

EXAMPLES = Path(__file__).parents[2] / "serving/examples"
BEAM = "beam(width=3, n_best=3, min_length=2)"
IMAGES = [
    odd_images.encoded(odd_images.drawn(40 + i, 30, turn=50 * i), "PNG" if i % 2 else "JPEG")
    for i in range(11)
]
IMAGES[4:4] = [b"no image", b"", IMAGES[1][:200]]


@pytest.fixture(scope="module")
def folder(tiny_export):
    return tiny_export("saved_model(batch_sizes=(1,))", BEAM).parent


@pytest.fixture(scope="module")
def server(folder):
    server = DevserverProcess(folder, "--name", "tiny")
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def expected(tiny_bundle):
    """The captions of the Keras engine, which differ between the images."""
    with captioner.load(tiny_bundle) as model:
        captions = model.engine.predict(IMAGES, BEAM)
    assert [c.ok for c in captions] == [i not in (4, 5, 6) for i in range(len(IMAGES))]
    assert len({c.score for c in captions}) == len(IMAGES) - 2
    assert all(len(c.alternatives) == 2 and c.attention is not None for c in captions if c.ok)
    return captions


def assert_same(actual: Caption, expected: Caption) -> None:
    assert (actual.text, actual.words, actual.error) == (expected.text, expected.words, expected.error)
    assert len(actual.word_logp) == len(expected.word_logp)
    numbers = [[c.score, c.logp, *c.word_logp] for c in (actual, expected)]
    np.testing.assert_allclose(*numbers, atol=1e-4)
    if expected.attention is not None:
        np.testing.assert_allclose(actual.attention, expected.attention, atol=1e-4)
    for alternative, reference in zip(actual.alternatives, expected.alternatives, strict=True):
        assert_same(alternative, reference)


def sources(server):
    return {"grpc": f"grpc://{server.grpc}/tiny", "http": f"{server.url}/tiny"}


@pytest.mark.parametrize("name", ["saved_model", "grpc", "http"])
def test_engines_agree(name, folder, server, expected):
    source = folder if name == "saved_model" else sources(server)[name]
    with captioner.load(source) as model:
        assert model.engine.describe()["engine"] == name
        captions = model.engine.predict(IMAGES)
    for caption, reference in zip(captions, expected, strict=True):
        assert_same(caption, reference)


def test_metadata_of_the_server(server):
    for name, source in sources(server).items():
        with captioner.load(source, batch_size=4) as model:
            metadata = model.engine.describe()
        assert (metadata["engine"], metadata["model"], metadata["version"]) == (name, "tiny", 1)
        assert {"serving_default", "captions", "explain"} <= set(metadata["signatures"])
        for wrong in (source.replace("/tiny", "/huge"), f"{source}/versions/7"):
            with pytest.raises(captioner.CaptionerError, match="no such model"):
                captioner.load(wrong)


def test_examples_run(server, expected, tmp_path):
    for i in (0, 4):
        (tmp_path / f"{i}.bin").write_bytes(IMAGES[i])
    paths = ["0.bin", "4.bin"]
    for command in (
        [sys.executable, EXAMPLES / "rest_client.py", f"{server.url}/v1/models/tiny", *paths],
        [sys.executable, EXAMPLES / "grpc_client.py", server.grpc, "tiny", *paths],
        ["sh", EXAMPLES / "curl.sh", paths[0], f"{server.url}/v1/models/tiny"],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stderr) == (0, "")
        lines = [line.partition(": ")[2] or line for line in done.stdout.splitlines()]
        assert lines == [expected[0].text, expected[4].error][: len(lines)] and lines
