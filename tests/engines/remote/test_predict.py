"""Captions, versions and options of remote engines."""

import threading

import numpy as np
import pytest

import captioner
from captioner.engines import ENGINES
from captioner.errors import EngineError, SpecError
from tests.support.fake_tf_serving import SERVERS, World, expected
from tests.support.remote_clients import IMAGES, NOT_AN_IMAGE, assert_same_caption, error_line


def test_captions_are_those_of_the_model(server, load, world):
    images = [*IMAGES[:9], NOT_AN_IMAGE, *IMAGES[9:], b""]
    captions = load(server.source, batch_size=4).predict(images)
    for caption, image in zip(captions, images, strict=True):
        assert_same_caption(caption, expected(image))
    assert {len(caption.alternatives) for caption in captions} == {0, 1, 2}
    assert len({caption.text for caption in captions}) > 5
    assert sorted(world.requests) == [2, 4, 4, 4, 4, 4]


def test_both_protocols_agree(load):
    world = World()
    servers = [SERVERS[name](world) for name in ("grpc", "http")]
    one, other = (load(f"{s.scheme}://127.0.0.1:{s.port}/dogs").predict(IMAGES) for s in servers)
    for a, b in zip(one, other, strict=True):
        assert (a.score, a.logp, a.word_logp, a.words) == (b.score, b.logp, b.word_logp, b.words)
        assert a.attention.dtype == b.attention.dtype and np.array_equal(a.attention, b.attention)
    for server in servers:
        server.close()


def test_captioner_and_command_line(server, tmp_path, images, capsys):
    import PIL.Image

    from captioner.cli import main

    path = tmp_path / "one.png"
    PIL.Image.fromarray(images[0]).save(path)
    (tmp_path / "two.png").write_text("no image")
    with captioner.load(server.source, timeout=20) as model:
        assert model.caption(path).text == expected(path.read_bytes()).text
        captions = list(model.caption_many([path, tmp_path / "two.png", path], batch_size=2))
        assert [caption.ok for caption in captions] == [True, False, True]
    assert main(["caption", str(path), "--model", f"{server.source}?timeout=20"]) == 0
    assert expected(path.read_bytes()).text in capsys.readouterr().out
    assert main(["caption", str(path), "--model", f"{server.source}s"]) == EngineError.exit_code
    assert capsys.readouterr().err.count("\n") == 1


def test_no_request_without_images(server, load, world):
    assert load(server.source).predict([]) == []
    assert world.requests == []


def test_batch_size_and_concurrent_requests(server, load, world):
    together = threading.Barrier(3, timeout=30)
    world.always = lambda outputs: (together.wait(), outputs)[1]
    engine = load(server.source, batch_size=2, in_flight=3)
    captions = engine.predict(IMAGES[:12])
    assert [c.text for c in captions] == [expected(image).text for image in IMAGES[:12]]
    assert world.requests == [2] * 6
    assert world.most_running == 3


def test_requests_are_bounded_in_bytes(server, load, world):
    large = [image + bytes(30_000) for image in IMAGES[:6]]
    huge = IMAGES[0] + bytes(200_000)
    engine = load(server.source, max_bytes=100_000)
    captions = engine.predict([*large[:3], huge, *large[3:]])
    assert [c.ok for c in captions] == [True] * 3 + [False] + [True] * 3
    assert (
        "too large" in captions[3].error and "100,000" in captions[3].error and "\n" not in captions[3].error
    )
    assert len(world.requests) == {"grpc": 2, "http": 3}[engine.name] and sum(world.requests) == 6


def test_many_threads_use_one_engine(server, load):
    engine = load(server.source)
    captions = {}

    def ask(i):
        captions[i] = engine.predict([IMAGES[i], IMAGES[-i]])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for i in range(12):
        assert [c.text for c in captions[i]] == [expected(IMAGES[i]).text, expected(IMAGES[-i]).text]


def test_a_large_response_is_complete(server, load, world):
    def wide(outputs):
        outputs["alternatives_attention"] = np.repeat(outputs["alternatives_attention"], 40, axis=-1)
        outputs["attention"] = np.repeat(outputs["attention"], 40, axis=-1)
        return outputs

    world.always = wide
    captions = load(server.source, batch_size=32).predict(IMAGES * 2)  # 6 MB, more than gRPC takes of itself
    assert captions[-1].attention.shape == (4, 4, 160)


def test_a_version_or_a_label(server, load, world):
    for end, version in {"": 2, "/versions/1": 1, "/labels/stable": 1}.items():
        engine = load(server.source + end)
        assert engine.describe()["version"] == version
        assert_same_caption(engine.predict(IMAGES[:1])[0], expected(IMAGES[0]))


def test_describe(server, load, world):
    described = load(server.source + "?timeout=3").describe()
    assert described == {
        "engine": server.scheme,
        "source": server.source,
        "strategy": "as exported",
        "model": "dogs",
        "version": 2,
        "signatures": {
            "explain": described["signatures"]["explain"],
            "serving_default": ["caption", "error", "ok", "score"],
        },
    }
    assert {"words", "attention", "alternatives_words"} <= set(described["signatures"]["explain"])


def test_grpc_reports_the_version(load, world):
    server = SERVERS["grpc"](world)
    engine = load(f"grpc://127.0.0.1:{server.port}/dogs")
    world.versions[3] = ("AVAILABLE", "")
    engine.predict(IMAGES[:1])
    assert engine.describe()["version"] == 3
    server.close()


def test_the_strategy_is_fixed(server, load):
    engine = load(server.source)
    assert "fixed, got greedy: export again" in error_line(engine.predict, [], "greedy")
    with pytest.raises(SpecError):
        engine.predict([], "beam(width=")


def test_options_are_checked(server):
    with pytest.raises(SpecError, match="did you mean 'timeout'"):
        captioner.load(server.source, timout=3)
    with pytest.raises(SpecError, match="option of engine 'keras': 'timeout'"):
        captioner.load("saved_models/default", timeout=3)


def test_a_closed_engine(server):
    model = captioner.load(server.source)
    model.close()
    model.close()
    assert "closed" in error_line(model.engine.predict, IMAGES[:1])


def test_engines_have_the_names_of_their_rows():
    assert {name: ENGINES[name].name for name in SERVERS} == {name: name for name in SERVERS}
