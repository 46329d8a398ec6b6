"""Engines that ask a server: the same captions, and one clear line for whatever goes wrong."""

import dataclasses
import json
import re
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import captioner
from captioner.engines import ENGINES
from captioner.engines.remote.address import VARIABLE
from captioner.errors import CaptionerError, EngineError, SpecError
from tests.support.fake_tf_serving import SERVERS, Refusal, Relay, World, expected

GOOD = [b"\xff\xd8\xff image %d" % i for i in range(20)]
BAD, GIF = b"no image", b"GIF89a image"


@pytest.fixture(autouse=True)
def no_authorization(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def world():
    return World()


@pytest.fixture(params=list(SERVERS))
def server(request, world):
    server = SERVERS[request.param](world)
    server.source = f"{server.scheme}://127.0.0.1:{server.port}/dogs"
    yield server
    server.close()


@pytest.fixture
def load():
    """Opens engines, and closes them in the end."""
    opened = []

    def load(source, **options):
        opened.append(captioner.load(source, **options))
        return opened[-1].engine

    yield load
    for model in opened:
        model.close()


def refused(call, *args, **options):
    """The one line with which a call fails."""
    with pytest.raises(CaptionerError) as caught:
        call(*args, **options)
    assert isinstance(caught.value, EngineError) and "\n" not in str(caught.value)
    # Nothing else hangs on it, where headers might show.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def assert_same(one, other):
    assert (one.text, one.words, one.error) == (other.text, other.words, other.error)
    assert len(one.alternatives) == len(other.alternatives)
    if one.ok:
        numbers = [(c.score, c.logp, *c.word_logp) for c in (one, other)]
        np.testing.assert_allclose(*numbers, rtol=1e-6)
        np.testing.assert_array_equal(one.attention, other.attention)
    for mine, theirs in zip(one.alternatives, other.alternatives, strict=True):
        assert_same(mine, theirs)


# The captions.


def test_captions_are_those_of_the_model(server, load, world):
    images = [*GOOD[:9], BAD, *GOOD[9:], b""]
    captions = load(server.source, batch_size=4).predict(images)
    for caption, image in zip(captions, images, strict=True):
        assert_same(caption, expected(image))
    assert {len(caption.alternatives) for caption in captions} == {0, 1, 2}
    assert len({caption.text for caption in captions}) > 5
    assert sorted(world.requests) == [2, 4, 4, 4, 4, 4]


def test_both_protocols_say_the_very_same(load):
    world = World()
    servers = [SERVERS[name](world) for name in ("grpc", "http")]
    one, other = (load(f"{s.scheme}://127.0.0.1:{s.port}/dogs").predict(GOOD) for s in servers)
    for a, b in zip(one, other, strict=True):
        assert (a.score, a.logp, a.word_logp, a.words) == (b.score, b.logp, b.word_logp, b.words)
        assert a.attention.dtype == b.attention.dtype and np.array_equal(a.attention, b.attention)
    for server in servers:
        server.close()


def test_a_captioner_on_a_server_is_like_any_other(server, tmp_path, images, capsys):
    import PIL.Image

    from captioner.cli import main

    path = tmp_path / "one.png"
    PIL.Image.fromarray(images[0]).save(path)
    (tmp_path / "two.png").write_text("no image")
    with captioner.load(server.source, timeout=20) as model:
        assert model.caption(path).text == expected(path.read_bytes()).text
        found = list(model.caption_many([path, tmp_path / "two.png", path], batch_size=2))
        assert [caption.ok for caption in found] == [True, False, True]
    assert main(["caption", str(path), "--model", f"{server.source}?timeout=20"]) == 0
    assert expected(path.read_bytes()).text in capsys.readouterr().out
    assert main(["caption", str(path), "--model", f"{server.source}s"]) == EngineError.exit_code
    assert capsys.readouterr().err.count("\n") == 1


def test_no_images_no_request(server, load, world):
    assert load(server.source).predict([]) == []
    assert world.requests == []


def test_requests_are_bounded_in_number_and_overlap(server, load, world):
    together = threading.Barrier(3, timeout=30)
    world.always = lambda found: (together.wait(), found)[1]
    engine = load(server.source, batch_size=2, in_flight=3)
    captions = engine.predict(GOOD[:12])
    assert [c.text for c in captions] == [expected(image).text for image in GOOD[:12]]
    assert world.requests == [2] * 6
    assert world.busiest == 3


def test_requests_are_bounded_in_size(server, load, world):
    large = [image + bytes(30_000) for image in GOOD[:6]]
    huge = GOOD[0] + bytes(200_000)
    engine = load(server.source, max_bytes=100_000)
    found = engine.predict([*large[:3], huge, *large[3:]])
    assert [c.ok for c in found] == [True] * 3 + [False] + [True] * 3
    assert "too large" in found[3].error and "100,000" in found[3].error and "\n" not in found[3].error
    assert len(world.requests) == {"grpc": 2, "http": 3}[engine.name] and sum(world.requests) == 6


def test_many_threads_may_use_one_engine(server, load):
    engine = load(server.source)
    found = {}

    def ask(i):
        found[i] = engine.predict([GOOD[i], GOOD[-i]])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for i in range(12):
        assert [c.text for c in found[i]] == [expected(GOOD[i]).text, expected(GOOD[-i]).text]


def test_a_long_answer_comes_whole(server, load, world):
    def wide(found):
        found["alternatives_attention"] = np.repeat(found["alternatives_attention"], 40, axis=-1)
        found["attention"] = np.repeat(found["attention"], 40, axis=-1)
        return found

    world.always = wide
    captions = load(server.source, batch_size=32).predict(GOOD * 2)  # 6 MB, more than gRPC takes of itself
    assert captions[-1].attention.shape == (4, 4, 160)


# What is asked for.


def test_a_version_or_label_may_be_asked_for(server, load, world):
    for end, version in {"": 2, "/versions/1": 1, "/labels/stable": 1}.items():
        engine = load(server.source + end)
        assert engine.describe()["version"] == version
        assert_same(engine.predict(GOOD[:1])[0], expected(GOOD[0]))


def test_an_engine_describes_itself(server, load, world):
    said = load(server.source + "?timeout=3").describe()
    assert said == {
        "engine": server.scheme,
        "source": server.source,
        "strategy": "as exported",
        "model": "dogs",
        "version": 2,
        "signatures": {
            "explain": said["signatures"]["explain"],
            "serving_default": ["caption", "error", "ok", "score"],
        },
    }
    assert {"words", "attention", "alternatives_words"} <= set(said["signatures"]["explain"])


def test_grpc_tells_which_version_answered(load, world):
    server = SERVERS["grpc"](world)
    engine = load(f"grpc://127.0.0.1:{server.port}/dogs")
    world.versions[3] = ("AVAILABLE", "")
    engine.predict(GOOD[:1])
    assert engine.describe()["version"] == 3
    server.close()


def test_the_strategy_is_fixed(server, load):
    engine = load(server.source)
    assert "fixed, got greedy: export again" in refused(engine.predict, [], "greedy")
    with pytest.raises(SpecError):
        engine.predict([], "beam(width=")


def test_options_are_checked(server):
    with pytest.raises(SpecError, match="did you mean 'timeout'"):
        captioner.load(server.source, timout=3)
    with pytest.raises(SpecError, match="option of engine 'keras': 'timeout'"):
        captioner.load("saved_models/default", timeout=3)


def test_a_closed_engine_says_so(server):
    model = captioner.load(server.source)
    model.close()
    model.close()
    assert "closed" in refused(model.engine.predict, GOOD[:1])


# Servers that do not have it.


@pytest.mark.parametrize(
    "end, message",
    [
        ("-and-cats", "no such model .*not (be )?f"),
        ("/versions/7", "no such model .*version 7"),
        ("/labels/best", "knows no such label .*label: best; there are the versions 2, 1.*version_labels"),
    ],
)
def test_a_wrong_name_version_or_label(server, end, message):
    line = refused(captioner.load, server.source + end)
    assert re.search(message, line) and line.startswith(server.source.split("/dogs")[0])


@pytest.mark.parametrize("state", ["START", "LOADING"])
def test_a_version_that_is_not_loaded_yet(server, world, load, state):
    world.versions = {3: (state, "")}
    assert f"not loaded yet, version 3 is {state}" in refused(captioner.load, server.source)
    world.versions = {3: (state, ""), 2: ("AVAILABLE", "")}
    load(server.source)
    assert "not loaded yet" in refused(captioner.load, server.source + "/versions/3")


def test_a_version_that_cannot_be_loaded(server, world):
    world.versions = {3: ("END", "no such\nvariable")}
    assert "version 3 is not served, its state is END (no such variable)" in refused(
        captioner.load, server.source
    )


def test_a_model_of_somebody_else(server, world):
    del world.signatures["explain"]
    assert "no signature 'explain' (it has serving_default)" in refused(captioner.load, server.source)
    world.signatures["explain"] = ["caption", "score"]
    assert "lacks logp, ids" in refused(captioner.load, server.source)


def test_a_model_that_is_replaced_by_somebody_elses(server, load, world):
    engine = load(server.source)
    del world.signatures["explain"]
    line = refused(engine.predict, GOOD[:1])
    assert "explain" in line and "captioner export" in line


def test_a_model_that_goes_away_later(server, load, world):
    engine = load(server.source)
    world.versions = {}
    assert "Servable not found" in refused(engine.predict, GOOD[:1])


# Servers that are away, slow, overloaded.


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize("scheme", list(SERVERS))
def test_nobody_there(scheme):
    start = time.monotonic()
    line = refused(captioner.load, f"{scheme}://127.0.0.1:{free_port()}/dogs", retries=1)
    assert "cannot reach the server" in line and "refused" in line
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("scheme", list(SERVERS))
def test_a_host_that_does_not_exist(scheme):
    assert "cannot reach the server" in refused(
        captioner.load, f"{scheme}://nowhere.invalid:80/dogs", retries=0
    )


@pytest.mark.parametrize("scheme", list(SERVERS))
def test_a_server_that_starts_a_moment_later(scheme, world, load):
    port, started = free_port(), []
    timer = threading.Timer(0.3, lambda: started.append(SERVERS[scheme](world, port)))
    timer.start()
    engine = load(f"{scheme}://127.0.0.1:{port}/dogs", retries=8)
    assert_same(engine.predict(GOOD[:1])[0], expected(GOOD[0]))
    started[0].close()


@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_server_is_asked_again(server, load, world, status):
    engine = load(server.source, retries=2)
    world.faults = [Refusal(status, "too busy"), Refusal(status, "too busy")]
    assert_same(engine.predict(GOOD[:1])[0], expected(GOOD[0]))
    assert len(world.requests) == 3
    world.always = Refusal(status, "too\n busy")
    assert "too busy" in refused(engine.predict, GOOD[:1])
    assert len(world.requests) == 6


FULL = "The batch scheduling queue to which this task was submitted is full"


@pytest.mark.parametrize(
    "status, words, said",
    [
        (503, FULL, f"the server is busy: its queue is full (.*{FULL}); raise max_enqueued_batches"),
        (503, f"{FULL}; task size is 8 but scheduling capacity is only 3", "its queue is full"),
        (429, "64 requests are waiting or running already: try again later", "its queue is full"),
        (429, "no more threads", "the server is busy .*no more threads"),
        (503, "the model is being loaded: try again soon", "the server is not ready .*being loaded"),
    ],
)
def test_a_busy_server_is_told_from_one_that_is_away(server, load, world, status, words, said):
    engine = load(server.source, retries=0)
    world.always = Refusal(status, words)
    line = refused(engine.predict, GOOD[:1])
    assert re.search(said.replace("(.*", r"\(.*").replace("); raise", r"\); raise"), line), line
    assert "cannot reach" not in line


@pytest.mark.parametrize(
    "status, headers, kind, detail",
    [
        (502, {}, "away", "HTTP 502"),
        (503, {"retry-after": "7"}, "busy", "HTTP 503"),  # somebody answers: it can be reached
        (504, {}, "time", "HTTP 504"),
        (302, {"location": "https://login.example/"}, "foreign", "HTTP 302: go to https://login.example/"),
        (404, {}, "foreign", "HTTP 404"),
        (413, {}, "large", "HTTP 413"),
    ],
)
def test_answers_of_a_proxy_are_told_apart(status, headers, kind, detail):
    from captioner.engines.remote.rest import _failure

    failure = _failure(status, b"<html>nginx</html>", headers)
    assert (failure.kind, failure.detail, failure.after) == (
        kind,
        detail,
        float(headers.get("retry-after", 0)),
    )


def test_a_busy_server_is_asked_until_the_time_is_up(server, load, world):
    engine = load(server.source, timeout=30)  # and without `retries`
    world.faults = [Refusal(503, FULL)] * 6  # more often than one that is away is asked
    assert_same(engine.predict(GOOD[:1])[0], expected(GOOD[0]))
    assert len(world.requests) == 7
    engine._options = dataclasses.replace(engine._options, timeout=0.6)
    world.always, start = Refusal(503, FULL), time.monotonic()
    assert "its queue is full" in refused(engine.predict, GOOD[:1])
    assert 0.1 < time.monotonic() - start < 10


@pytest.mark.parametrize("status", [400, 500, 504])
def test_what_would_not_help_is_not_repeated(server, load, world, status):
    engine = load(server.source)
    world.always = Refusal(status, "it is\nbroken {detail}")
    assert "it is broken {detail}" in refused(engine.predict, GOOD[:3])
    assert len(world.requests) == 1


def test_a_server_that_hangs(server, load, world):
    engine = load(server.source)
    engine._options = dataclasses.replace(engine._options, timeout=0.3)
    world.always = 60
    start = time.monotonic()
    assert "no answer within 0.3 seconds" in refused(engine.predict, GOOD[:1])
    assert time.monotonic() - start < 20
    assert len(world.requests) == 1


def test_repeats_end_with_the_time(server, load, world):
    engine = load(server.source, retries=50)
    engine._options = dataclasses.replace(engine._options, timeout=0.5)
    world.always = Refusal(503, "away")
    start = time.monotonic()
    refused(engine.predict, GOOD[:1])
    assert time.monotonic() - start < 10
    assert 1 <= len(world.requests) < 10


def test_an_answer_that_drips(load, world):
    """Each byte comes in time, and the whole does not."""
    listener = socket.create_server(("127.0.0.1", 0))

    def drip():
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            while True:
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            pass

    threading.Thread(target=drip, daemon=True).start()
    start = time.monotonic()
    line = refused(captioner.load, f"http://127.0.0.1:{listener.getsockname()[1]}/dogs", timeout=0.4)
    assert "no answer within" in line and time.monotonic() - start < 20
    listener.close()


@pytest.mark.parametrize("after", [0, 150])
def test_a_connection_that_is_cut(server, load, world, after):
    """Before the answer, and in the middle of it, on new connections and on old ones."""
    relay = Relay(server.port, 0, after)
    engine = load(f"{server.scheme}://127.0.0.1:{relay.port}/dogs", retries=6)
    relay.cuts = 10**6
    assert "cannot reach" in refused(
        captioner.load, f"{server.scheme}://127.0.0.1:{relay.port}/dogs", retries=1
    )
    assert relay.cut >= 1
    relay.cuts = relay.cut + 1
    fresh = load(f"{server.scheme}://127.0.0.1:{relay.port}/dogs", retries=6)
    relay.close()
    for each in (engine, fresh):
        assert_same(each.predict(GOOD[:1])[0], expected(GOOD[0]))


def test_a_restarted_server_is_found_again(load, world):
    for name in SERVERS:
        first = SERVERS[name](world)
        engine = load(f"{name}://127.0.0.1:{first.port}/dogs", retries=8)
        engine.predict(GOOD[:1])
        first.close()
        second = SERVERS[name](world, first.port)
        assert_same(engine.predict(GOOD[:1])[0], expected(GOOD[0]))
        second.close()


# Limits.


def test_a_request_that_the_server_finds_too_large_goes_in_parts(server, load, world):
    def most_three(found):
        if len(found["ok"]) > 3:
            raise Refusal(400, "Task size 8 is larger than maximum input batch size 3")
        return found

    world.always = most_three
    captions = load(server.source).predict(GOOD[:8])
    assert [c.text for c in captions] == [expected(image).text for image in GOOD[:8]]


def test_an_image_that_the_server_finds_too_large_costs_the_others_nothing(server, load, world):
    world.faults = [Refusal(429 if server.scheme == "grpc" else 413, "Received message larger than max")] * 2
    first, second = load(server.source).predict(GOOD[:2])
    assert "too large" in first.error and "larger than max" in first.error
    assert_same(second, expected(GOOD[1]))


def test_an_answer_beyond_the_limit(server, load, world):
    engine = load(server.source, max_bytes=9000)
    caption = engine.predict(GOOD[:1])[0]
    if caption.ok:  # one answer fits, eight do not
        assert len(world.requests) == 1
    captions = engine.predict(GOOD[:8])
    assert [c.ok for c in captions] == [caption.ok] * 8
    assert caption.ok or "too large" in caption.error


# Answers that are not ours.


def without(name):
    return lambda found: {key: value for key, value in found.items() if key != name}


@pytest.mark.parametrize(
    "change, message",
    [
        (without("words"), "expected the output 'words'"),
        (
            lambda found: {key: value[:1] for key, value in found.items()},
            "expected 2 captions in the answer, got 1",
        ),
        (lambda found: {**found, "words": found["ids"]}, "expected strings"),
        (lambda found: {**found, "attention": found["attention"][..., 0]}, r"attention"),
        (lambda found: {**found, "score": found["score"][:, None]}, r"score"),
        (lambda found: {**found, "score": found["score"] * np.float32("nan")}, "NaN"),
    ],
)
def test_an_answer_that_is_not_ours(server, load, world, change, message):
    engine = load(server.source)
    world.always = change
    line = refused(engine.predict, GOOD[:2])
    assert message in line and "captioner export" in line
    assert len(world.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>hello</html>",
        b'{"predictions": [',
        b"[1, 2]",
        b'{"predictions": 7}',
        b'{"predictions": []}',
        b'{"predictions": [1, 2]}',
        b'{"predictions": [{"ok": true}, {"fine": true}]}',
        b'{"predictions": [{"ok": [1]}, {"ok": [[1], 2]}]}',
        b'{"outputs": {}}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"predictions": [{"score": Infinity}]}',
    ],
    ids=lambda data: repr(data[:30]),
)
def test_json_that_is_not_ours(load, world, answer):
    server = SERVERS["http"](world)
    engine = load(f"http://127.0.0.1:{server.port}/dogs")
    world.always = lambda _: answer
    line = refused(engine.predict, GOOD[:2])
    assert "TensorFlow Serving" in line and len(line) < 600
    server.close()


@pytest.mark.parametrize("scheme, other", [("grpc", "http"), ("http", "grpc")])
def test_the_port_of_the_other_protocol(scheme, other, world):
    server = SERVERS[other](world)
    line = refused(captioner.load, f"{scheme}://127.0.0.1:{server.port}/dogs", retries=0)
    assert "is this its" in line or "TensorFlow Serving" in line
    server.close()


def test_a_web_server_that_is_something_else():
    import http.server

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=pages.serve_forever, args=(0.02,), daemon=True).start()
    line = refused(captioner.load, f"http://127.0.0.1:{pages.server_address[1]}/dogs")
    assert "HTTP 404" in line and "expected TensorFlow Serving" in line
    pages.shutdown()
    pages.server_close()


# Encryption and authorisation.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=captioner -keyout key.pem -out cert.pem"
    )
    try:
        subprocess.run(
            [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"],
            cwd=folder,
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("making a certificate needs openssl")
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(params=list(SERVERS))
def safe(request, world, certificate):
    cert, key = certificate
    if request.param == "grpc":
        import grpc

        trusted = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
    else:
        import ssl

        trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trusted.load_cert_chain(cert, key)
    server = SERVERS[request.param](world, 0, trusted)
    server.source = f"{server.scheme}s://127.0.0.1:{server.port}/dogs"
    yield server
    server.close()


def test_an_encrypted_connection(safe, load, certificate):
    engine = load(safe.source, root_certificate=str(certificate[0]))
    assert_same(engine.predict(GOOD[:1])[0], expected(GOOD[0]))
    engine = load(f"{safe.source}?root_certificate={certificate[0]}")
    assert_same(engine.predict(GOOD[:1])[0], expected(GOOD[0]))


def test_a_certificate_that_nobody_vouches_for(safe):
    assert "no safe connection" in refused(captioner.load, safe.source)


def test_a_certificate_of_another_host(safe, certificate):
    line = refused(
        captioner.load,
        safe.source.replace("127.0.0.1", "localhost"),
        root_certificate=str(certificate[0]),
        retries=0,
    )
    assert "no safe connection" in line


def test_encrypted_and_plain_do_not_mix(safe, server):
    assert refused(captioner.load, safe.source.replace("s://", "://"), retries=0)
    line = refused(captioner.load, server.source.replace("://", "s://"), retries=0)
    assert "no safe connection" in line


def test_root_certificates_that_are_none(server, tmp_path):
    for content in (None, "no certificate"):
        path = tmp_path / "roots.pem"
        if content:
            path.write_text(content)
        line = refused(captioner.load, server.source.replace("://", "s://"), root_certificate=str(path))
        assert "expected a PEM file" in line and str(path) in line


def test_authorization_is_sent_and_never_shown(server, load, world, caplog, monkeypatch):
    caplog.set_level("DEBUG")
    world.token = "Bearer s3cret"
    assert "authorization=" in refused(captioner.load, server.source)
    # This server even repeats what it was sent.
    line = refused(captioner.load, server.source, authorization="Bearer wr0ng")
    assert "refuses us" in line and "wr0ng" not in line and "who is ...?" in line
    world.rude = "x" * 280  # and cuts must not leave a part of it
    assert "wr0" not in refused(captioner.load, server.source, authorization="Bearer wr0ng")
    engine = load(server.source, authorization="Bearer s3cret")
    assert_same(engine.predict(GOOD[:1])[0], expected(GOOD[0]))
    assert set(world.asked[-3:]) == {"Bearer s3cret"}
    monkeypatch.setenv(VARIABLE, "Bearer s3cret")
    load(server.source)
    shown = [caplog.text, json.dumps(engine.describe()), repr(vars(engine))]
    assert not any("s3cret" in text or "wr0ng" in text for text in shown)


# Without TensorFlow.

BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}.split():
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Block())
import captioner
"""


def run(code, names):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(names=names) + code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_asking_a_server_needs_no_tensorflow(world):
    servers = [SERVERS[name](world) for name in SERVERS]
    sources = [f"{server.scheme}://127.0.0.1:{server.port}/dogs" for server in servers]
    code = f"for s in {sources!r}: print(captioner.load(s).caption({GIF!r}).text)"
    said = run(code, "tensorflow keras tensorflow_serving jax h5py")
    assert said.splitlines() == [expected(GIF).text] * 2
    for server in servers:
        server.close()


def test_packages_that_are_missing_are_named_with_their_extra():
    code = """
from captioner.errors import MissingDependency
from captioner.engines import ENGINES
ENGINES.describe()
for source in ("grpc://127.0.0.1:9/dogs", "http://127.0.0.1:9/dogs"):
    try:
        captioner.load(source)
    except MissingDependency as error:
        print(error)
"""
    for names, missing in (("grpc httpx", "grpc httpx"), ("google httpx", "google.protobuf httpx")):
        said = run(code, f"tensorflow keras h5py {names}").splitlines()
        for line, name in zip(said, missing.split(), strict=True):
            assert name.split(".")[0] in line and "pip install 'captioner[serve]'" in line


def test_both_engines_are_in_the_table():
    assert {name: ENGINES[name].name for name in SERVERS} == {name: name for name in SERVERS}
