"""What the server does for its web page, without a browser: files, choices, captions, refusals, and what they cost."""

import base64
import contextlib
import doctest
import importlib
import json
import os
import random
import re
import shutil
import signal
import threading
import time

import httpx
import numpy as np
import pytest

from tests.serving.test_devserver_main import free_ports, run_main
from tests.support import odd_images
from tests.support.probability_worlds import random_world
from tests.support.serving_models import write_line
from tests.support.tiny_model import build_tiny_model

pytest.importorskip("grpc")
pytest.importorskip("starlette")

import captioner
from captioner.decoding import RULES, STRATEGIES, generate
from captioner.errors import SpecError
from captioner.outputs.alt_text import alt_text
from captioner.text import Tokenizer, words
from serving import devserver
from serving.http.app import HttpServer, Limits, RestApp
from serving.protocol.status import ServingError
from serving.runtime.batching import Gate, Queued
from serving.runtime.metrics import Metrics
from serving.runtime.session import SessionVersion
from serving.runtime.versions import Folder, version_folders
from serving.webui.about import About, about, good_for
from serving.webui.choices import Choices, checked
from serving.webui.models import Loaded
from serving.webui.page import FILES, Page

STRATEGY = "beam(width=3, n_best=3, min_length=4)"
PHOTO = odd_images.encoded(odd_images.drawn(), "JPEG")
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(range(256)) * 4
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n"
LARGE = odd_images.png(10000, 6000, 1, 0)


class Server:
    """The development server's own parts on a free port, with real models."""

    def __init__(self, folder, also=(), limit=16, **limits):
        self.gate = Gate(limit, 2)
        self.models = Folder(
            folder.name, self.find, lambda path, number: Queued(SessionVersion(path, number), self.gate)
        )
        self.folder, limits = folder, Limits(**limits)
        assert self.models.refresh()
        self.metrics = Metrics(self.gate)
        app = RestApp(lambda: self.models, self.gate, self.metrics, limits)
        self.choices = Choices(folder.name, lambda: self.models, self.find, self.gate, str(folder), also)
        app.page = Page(self.choices, self.gate, limits.body)
        self.http = HttpServer(app, self.metrics, limits, "127.0.0.1", 0)
        self.http.start()
        self.url = f"http://127.0.0.1:{self.http.port}"

    def find(self):
        return version_folders(self.folder)

    def get(self, path):
        return httpx.get(self.url + path, timeout=120)

    def caption(self, data=PHOTO, headers=None, **query):
        return httpx.post(
            f"{self.url}/page/caption", params=query, content=data, headers=headers, timeout=120
        )

    def close(self):
        self.http.stop(5)
        self.choices.close()
        self.models.close()


def calibrate(version):
    """Notes in an exported version a calibration under which its captions are probably wrong."""
    path = version / "assets.extra" / "captioner.json"
    noted = {"bias": -2.0, "weights": {"mean_logp": 0.1, "least_logp": 0.0, "words": 0.0}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"confidence": noted}))


def models_in(folder):
    """Two models: one with an exported version, and one that does not attend. Returns the Paths of their folders."""
    model = build_tiny_model()
    for variable in model.decoder.weights:
        if variable.path.startswith(("query", "energy")):  # random ones look the same way at every word
            variable.assign(variable * 5.0)
    seeing = captioner.save(model, folder / "tiny")
    version = captioner.export(seeing, ["saved_model(batch_sizes=(1,))"], strategy=STRATEGY)["saved_model"]
    calibrate(version)
    blind = build_tiny_model("show_and_tell(units=12, embedding=10, depth=8)")
    return seeing, captioner.save(blind, folder / "blind")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return models_in(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def server(served):
    folder, blind = served
    found = Server(folder, [str(blind)], body=4 << 20)
    yield found
    found.close()


def test_the_page_and_its_files(server):
    page = server.get("/")
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    linked = set(re.findall(r'(?:src|href)="([^"]+)"', page.text))
    scripts = {path.name for path in FILES.glob("*.js")}
    imported = set(re.findall(r'from "\./(\w+\.js)"', "".join(p.read_text() for p in FILES.glob("*.js"))))
    assert linked == {"web/icon.svg", "web/page.css", "web/main.js"} and imported == scripts - {"main.js"}
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for path in (*FILES.glob("*.js"), *FILES.glob("*.css"), *FILES.glob("*.svg")):
        reply = server.get(f"/web/{path.name}")
        assert reply.status_code == 200 and reply.content == path.read_bytes()
        assert reply.headers["content-type"].startswith(kinds[path.suffix])
        assert reply.headers["x-content-type-options"] == "nosniff"
    for nothing in ("/web/", "/web/index.html", "/web/../page.py", "/web/%2e%2e/page.py", "/page/x"):
        assert server.get(nothing).status_code == 404, nothing
    assert httpx.head(server.url, timeout=60).status_code == 200
    assert httpx.post(server.url, timeout=60).status_code == 405
    assert server.get("/page/caption").status_code == 405


def test_nothing_on_the_page_leaves_the_server(server):
    policy = dict(
        each.strip().split(" ", 1) for each in server.get("/").headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'self'" and policy["img-src"] == "'self' blob: data:"
    for path in FILES.iterdir():
        text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|\burl\(|@import", text), path.name
        assert not re.search(r'\sstyle="|\son\w+="|<style|innerHTML|insertAdjacentHTML|\beval\(', text), (
            path.name
        )
        assert len(text.splitlines()) <= 300, path.name


def test_what_can_be_chosen(server, served):
    found = server.get("/page/models").json()
    own, blind = found["models"]
    assert own["name"] == "tiny" and own["exported_strategy"] == STRATEGY and own["any_strategy"]
    assert blind["name"] == str(served[1]) and blind["any_strategy"] and found["max_bytes"] == 4 << 20
    strategies = {each["name"]: each["options"] for each in found["strategies"]}
    assert list(strategies) == STRATEGIES.names()
    assert strategies["beam"] == {"width": 3, "n_best": 1} and strategies["greedy"] == {}
    assert strategies["sample"] == {"n": 1} and "must_include" in strategies["constrained"]
    assert (
        own["default"] == "beam search, width 3, n best 3, min length 4"
        and blind["default"] == ""  # not loaded yet
    )
    # Every row of the table has words for people, none of them from its docstring.
    described = STRATEGIES.describe()
    assert all(row["label"] != row["name"] for row in found["strategies"] if row["name"] != "greedy")
    assert all(row["about"] not in ("", described[row["name"]]) for row in found["strategies"])


def same(found, caption):
    """An answer of the page is the caption of an engine."""
    assert (found["caption"], tuple(found["words"])) == (caption.text, caption.words)
    numbers = [found["score"], found["logp"], *found["word_logp"]]
    np.testing.assert_allclose(numbers, [caption.score, caption.logp, *caption.word_logp], atol=1e-4)
    if caption.attention is None:
        assert found["attention"] is None
    else:
        np.testing.assert_allclose(found["attention"], caption.attention, atol=1e-4)
    for one, other in zip(found.get("alternatives", ()), caption.alternatives, strict=True):
        same(one, other)


def test_a_caption_is_the_one_of_the_engine(server, served):
    with captioner.load(server.find()[1]) as model:
        expected = model.caption(PHOTO)
    found = server.caption().json()
    same(found, expected)
    assert len(found["words"]) >= 4 and len(found["alternatives"]) == 2 and found["ms"] > 0
    assert np.shape(found["attention"]) == (len(found["words"]), 4, 4)
    same(server.caption(strategy=STRATEGY.replace(", ", ",")).json(), expected)  # the same, written otherwise
    tiff = odd_images.encoded(odd_images.drawn(), "TIFF")
    with captioner.load(server.find()[1]) as model:
        same(server.caption(tiff).json(), model.caption(tiff))


def test_other_strategies_and_models_run_in_the_model_folder(server, served):
    folder, blind = served
    with captioner.load(folder) as model:
        for strategy in ("greedy", "beam(width=5, n_best=2, min_length=3)"):
            same(server.caption(strategy=strategy).json(), model.caption(PHOTO, strategy))
    with captioner.load(blind) as model:
        found = server.caption(model=str(blind), strategy="beam(width=2, min_length=3)").json()
        same(found, model.caption(PHOTO, "beam(width=2, min_length=3)"))
    assert found["attention"] is None and len(found["words"]) >= 3
    known = {each["name"]: each["attention"] for each in server.get("/page/models").json()["models"]}
    assert known == {"tiny": True, str(blind): False}


def test_the_alt_text_and_how_sure_the_model_is(server):
    with captioner.load(server.find()[1]) as model:
        caption = model.caption(PHOTO)
        sure = model.confidence(caption)
    assert sure < 0.5
    found = server.caption().json()["alt_text"]
    plain = alt_text(caption).text  # without the hedge: doubt has a place of its own on the page
    assert found == {"text": plain, "confidence": sure, "flagged": True} and "Perhaps" not in plain
    short = server.caption(max_length=24).json()
    assert len(short["alt_text"]["text"]) <= 24 and short["caption"] == caption.text


def test_wrong_requests_are_told_in_a_sentence(server):
    for data, query, status, said in [
        (HEIC, {}, 400, "got HEIC: save it as JPEG or PNG"),
        (PDF, {}, 400, "got a PDF document: save it as JPEG or PNG"),
        (b"just text", {}, 400, "got text: save it as JPEG or PNG"),
        (b"", {}, 400, "expected an image, got an empty file"),
        (PHOTO[:300], {}, 400, "truncated JPEG"),
        (LARGE, {}, 400, "10000 x 6000 pixels are more than 50 megapixels: make it smaller"),
        (PHOTO, {"model": "tini"}, 404, "unknown model 'tini' (did you mean 'tiny'?)"),
        (PHOTO, {"strategy": "beem"}, 400, "did you mean 'beam'?"),
        (PHOTO, {"strategy": "beam(width=2, n_best=3)"}, 400, "n_best expects at most width=2, got 3"),
        (PHOTO, {"strategy": "beam(width=3.5)"}, 400, "width expects"),
        (PHOTO, {"strategy": "beam(width=)"}, 400, "expected a spec"),
        (PHOTO, {"strategy": "beam(width=65)"}, 400, "at most 64 beams here, got 65: lower the width"),
        (
            PHOTO,
            {"strategy": "sample(n=65)"},
            400,
            "at most 64 beams here, got 65: lower the number of captions",
        ),
        (PHOTO, {"strategy": "sample(n=1000000)"}, 400, "n expects a whole number from 1 to 10000"),
        (
            PHOTO,
            {"strategy": f"constrained(must_include=['{'a ' * 20}b'])"},
            400,
            "got 66: lower the width or the",
        ),
        (PHOTO, {"strategy": "constrained(must_include='dog')"}, 400, "must_include expects a list of words"),
        (
            PHOTO,
            {"strategy": f"beam(banned={[str(i) for i in range(65)]})"},
            400,
            "at most 64 banned words here",
        ),
        (PHOTO, {"strategy": f"beam(banned=[{'0,' * 1000}])"}, 400, "at most 2000 characters here, got 2015"),
        (PHOTO, {"strategy": "constrained(must_include=['zebra'])"}, 400, "zebra"),
        (PHOTO, {"strategy": "constrained(must_include=5)"}, 400, "must_include"),
        (
            PHOTO,
            {"strategy": "os:system(command='true')"},
            400,
            "'os:system' names Python code, which is not for visitors: expected one of greedy",
        ),
        (
            PHOTO,
            {"max_length": "5"},
            400,
            "max_length expects a whole number from 20 to 1000 characters, got 5",
        ),
        (PHOTO, {"max_length": "1001"}, 400, "max_length expects a whole number from 20 to 1000 characters"),
        (
            PHOTO,
            {"max_length": "x"},
            400,
            "max_length expects a whole number from 20 to 1000 characters, got 'x'",
        ),
        (base64.b64encode(PHOTO), {}, 400, "this is base64 text: decode it first"),
        (
            b"data:image/jpeg;base64," + base64.b64encode(PHOTO),
            {},
            400,
            "this is a data: URL: decode the base64 text",
        ),
        (PHOTO, {str(i): "x" for i in range(40)}, 400, "in the query"),
        (bytes((4 << 20) + 1), {}, 413, "at most 4194304 bytes"),
    ]:
        reply = server.caption(data, **query)
        error = reply.json()["error"]
        assert reply.status_code == status and said in error, (query, error)
        assert "\n" not in error and "Traceback" not in error and len(error) < 400
    assert server.caption().status_code == 200


@pytest.mark.parametrize(
    "strategy",
    [
        "greedy(min_length=2)",
        "beam(width=5, n_best=2)",
        "sample(n=7, seed=1)",
        "diverse(width=6, groups=3)",
        "consensus(width=5)",
        "constrained(width=3)",
        "constrained(must_include=['dog'], width=2)",
        "constrained(must_include=['Cat dog', 'bee', 'cat, dog!', 'dog'], width=3)",
        "constrained(must_include=['ant bee cat dog'], width=4, banned=['elk'])",
    ],
)
def test_a_strategys_rows_are_those_that_the_search_runs(strategy):
    tokenizer = Tokenizer(["ant", "bee", "cat", "dog", "elk"])
    world = random_world(size=9, tokenizer=tokenizer)
    rows = set()
    step, world.step = world.step, lambda ids, *rest: rows.add(int(ids.shape[0])) or step(ids, *rest)
    generate(world, world.features([0]), strategy, 9, tokenizer)
    assert rows == {STRATEGIES.build(strategy).search_rows(words)}


def test_no_strategy_of_the_table_is_beyond_the_limit_unnoticed():
    sizes = {"greedy": None, "sample": "n", "constrained": "width"}
    for name in STRATEGIES:
        option = sizes.get(name, "width")
        assert checked(name) == name
        if option is None:
            continue
        groups = ", groups=1" if name == "diverse" else ""
        assert checked(f"{name}({option}=64{groups})")
        with pytest.raises(SpecError, match="at most 64 beams here, got 65"):
            checked(f"{name}({option}=65{groups})")
    assert checked("constrained(width=16, must_include=['a', 'b c'])")
    with pytest.raises(SpecError, match="got 80: lower the width or the number of words"):
        checked("constrained(width=16, must_include=['a', 'b', 'c d'])")
    with pytest.raises(SpecError, match="got 68"):
        checked("constrained(width=4, must_include=['一只狗跑过草地 草地上有一只猫和狗'])")


def test_whatever_a_visitor_asks_for_is_a_strategy_or_a_sentence():
    pick = random.Random(3)
    values = ["None", "True", "-1", "0", "1", "64", "10**9", "1e308", "-0.5", "'dog'", "''", "[]", "['']", "[['dog']]",
              "[1]", "{'a': 1}", "b'x'", "'beam'", "[None]", "9" * 400, "('dog', 'cat')", "lambda: 0"]  # fmt: skip
    options = [*RULES, "width", "n", "n_best", "must_include", "groups", "penalty", "temperature", "top_k", "top_p",
               "seed", "evidence", "sharpness", "fluency", "length_penalty", "unknown", "self"]  # fmt: skip
    good = 0
    for _ in range(3000):
        chosen = pick.sample(options, pick.randint(0, 2))
        spec = f"{pick.choice(list(STRATEGIES))}({', '.join(f'{o}={pick.choice(values)}' for o in chosen)})"
        try:
            good += checked(spec) == spec
        except SpecError as error:
            assert "\n" not in str(error) and "__init__" not in str(error), spec
    assert 300 < good < 2700
    for spec in (
        "",
        "(",
        "beam",
        "beam(",
        "beam(*[1])",
        "beam()()",
        "a.b:c",
        "captioner.decoding.strategies.beam:Beam",
        "x" * 1999,
    ):
        with contextlib.suppress(SpecError):
            assert checked(spec) == "beam"


def test_what_a_model_is_good_for_comes_from_its_folder(server, tmp_path):
    own, blind = server.get("/page/models").json()["models"]
    assert own["good_for"].startswith("For servers: the export that TensorFlow Serving runs.")
    assert "CIDEr" not in own["good_for"] and re.search(r"\d\.\d MB\.$", own["good_for"])
    assert blind["good_for"].startswith("For development: the trained weights, run by Keras.")
    (tmp_path / "a.tflite").write_bytes(bytes(2_100_000))
    (tmp_path / "b.tflite").write_bytes(bytes(1_000_000))
    rows = {
        "a.tflite": {"megabytes": 2.1, "CIDEr-D": 51.23, "median": 9.5},
        "b.tflite": {"megabytes": 1.0, "CIDEr-D": 50.0, "median": 12},
    }
    (tmp_path / "metrics.json").write_text(json.dumps({"test": rows}))
    both = [about(tmp_path / "a.tflite"), about(str(tmp_path / "b.tflite"))]
    lead = "For phones and small computers: needs no TensorFlow."
    assert good_for(both) == [
        f"{lead} The fastest here. 2.1 MB; CIDEr-D 51.2 on test images; 9.5 ms per image.",
        f"{lead} The smallest here. 1.0 MB; CIDEr-D 50.0 on test images; 12 ms per image.",
    ]
    assert good_for(both[:1]) == [f"{lead} 2.1 MB; CIDEr-D 51.2 on test images; 9.5 ms per image."]
    # Times of another machine, or none at all, decide nothing.
    assert "fastest" not in " ".join(good_for([*both, About("remote")]))
    (tmp_path / "a.tflite").write_bytes(bytes(2_500_000))  # exported anew: the figures are another file's
    assert good_for([about(tmp_path / "a.tflite")]) == [f"{lead} 2.5 MB."]
    for text in ("{", "[]", '{"test": 5}', '{"test": {"b.tflite": {"megabytes": "x", "median": NaN}}}'):
        (tmp_path / "metrics.json").write_text(text)
        assert about(tmp_path / "b.tflite") == About("tflite", 1.0)


def test_whatever_a_library_raises_at_an_image_is_that_images_error(server, monkeypatch):
    def explode(*_):
        raise RuntimeError("internal detail")

    monkeypatch.setattr("serving.webui.page.inputs.to_bytes", explode)
    reply = server.caption()
    assert reply.status_code == 400 and reply.json()["error"].startswith(
        "this image cannot be read: it is damaged"
    )
    monkeypatch.undo()
    assert server.caption().status_code == 200


def test_damaged_images_are_the_visitors_fault(server):
    pick = random.Random(5)
    for kind in ("TIFF", "WEBP", "GIF", "PNG", "BMP", "JPEG"):
        data = odd_images.encoded(odd_images.drawn(), kind)
        for _ in range(12):
            wrong = bytearray(data[: pick.randint(1, len(data))])
            for _ in range(pick.randint(0, 20)):
                wrong[pick.randrange(len(wrong))] = pick.randrange(256)
            reply = server.caption(bytes(wrong))
            assert reply.status_code in (200, 400), (kind, reply.text)
            assert reply.status_code == 200 or "\n" not in reply.json()["error"]


def test_pages_of_other_sites_may_not_caption(server):
    for site, status in (("cross-site", 403), ("same-origin", 200), ("none", 200)):
        assert server.caption(headers={"Sec-Fetch-Site": site}).status_code == status
    # Over plain http to another machine browsers send the origin alone.
    here = server.url.rstrip("/")
    for origin, status in (("http://a.example", 403), ("null", 403), (here, 200), (f"{here}0", 403)):
        assert server.caption(headers={"Origin": origin}).status_code == status


def test_what_visitors_ask_is_counted_and_not_logged(server, capsys):
    capsys.readouterr()
    server.caption(strategy="constrained(must_include=['SECRET'])")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (line,) = [each for each in lines if each["event"] == "request"]
    assert (line["path"], line["method"], line["status"]) == ("/page/caption", "caption", 400)
    assert "SECRET" not in json.dumps(lines)
    counted = server.get("/monitoring/prometheus/metrics").text
    assert 'captioner_requests_total{api="rest",code="INVALID_ARGUMENT",method="caption"}' in counted


def test_the_gate_holds_for_the_page(server):
    with server.gate.enter():
        server.gate.limit, limit = 1, server.gate.limit
        try:
            full = server.caption()
            assert full.status_code == 429 and "try again later" in full.json()["error"]
            assert server.get("/").status_code == 200
        finally:
            server.gate.limit = limit
    assert server.caption().status_code == 200


def test_tensorflow_servings_own_paths_are_as_they_were(server):
    assert server.get("/v1/models/tiny").json()["model_version_status"][0]["state"] == "AVAILABLE"
    for path in ("/v2/health/ready", "/pages", "/index.html", "/web", "/page"):
        reply = server.get(path)
        assert reply.status_code == 404 and reply.headers["content-type"] == "text/html"


def test_a_model_that_is_not_ours_is_served_and_not_captioned_with(tmp_path):
    write_line(tmp_path / "line" / "1", 0.5)
    server = Server(tmp_path / "line")
    try:
        (row,) = server.get("/page/models").json()["models"]
        assert "lacks the signature 'explain'" in row["problem"] and not row["any_strategy"]
        reply = server.caption()
        assert reply.status_code == 400 and reply.json()["error"] == row["problem"]
        reply = httpx.post(f"{server.url}/v1/models/line:predict", json={"instances": [4]}, timeout=60)
        assert reply.json() == {"predictions": [4.0]} and server.get("/").status_code == 200
    finally:
        server.close()


def test_a_model_that_is_not_ready_in_time_asks_for_patience(served):
    late = Loaded("late", str(served[0]), Gate(4, 1))
    held = threading.Event()
    late.open = lambda: held.wait(30) and Loaded.open(late)
    with pytest.raises(ServingError, match="the model late is being loaded") as caught:
        late.caption(PHOTO, "greedy", 0.05)
    assert caught.value.http == 503
    held.set()
    assert late.caption(PHOTO, "greedy", 60).words is not None
    with late._gate.running(), pytest.raises(ServingError) as caught:
        late.caption(PHOTO, "greedy", 0.2)
    assert caught.value.http == 504
    late.close()


def test_a_lite_file_in_the_folder_is_a_choice(served, tmp_path):
    pytest.importorskip("ai_edge_litert")
    folder = tmp_path / "tiny"
    shutil.copytree(served[0], folder)
    captioner.export(folder, ["tflite"], strategy="greedy")
    (folder / "broken.tflite").write_bytes(b"none of ours")
    server = Server(folder)
    try:
        rows = server.get("/page/models").json()["models"]
        assert [each["name"] for each in rows] == ["tiny", "model.tflite"]
        assert rows[1]["exported_strategy"] == "greedy"
        with captioner.load(folder / "model.tflite") as model:
            same(server.caption(model="model.tflite").json(), model.caption(PHOTO))
    finally:
        server.close()


def test_the_program_has_the_page(served):
    folder, blind = served
    rest, rpc = free_ports()
    url, replies = f"http://127.0.0.1:{rest}", []

    def client():
        try:
            loaded, end = False, time.monotonic() + 300
            while not loaded and time.monotonic() < end:
                with contextlib.suppress(httpx.TransportError):  # until it listens
                    replies.append(httpx.get(f"{url}/page/models", timeout=60))
                    rows = replies[-1].json().get("models", [])
                    loaded = bool(rows) and rows[-1]["exported_strategy"] is not None
                time.sleep(0.02)
            replies.append(httpx.get(url, timeout=60))
            replies.append(httpx.post(f"{url}/page/caption", content=PHOTO, timeout=120))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=client)
    thread.start()
    code, said = run_main([folder, "--rest-port", rest, "--port", rpc, "--also", blind])
    thread.join()
    assert code == 0 and {each.status_code for each in replies} <= {200, 503}
    models, page, caption = replies[-3:]
    assert len(models.json()["models"]) == 2 and "<title>captioner" in page.text
    assert "being loaded" in replies[0].json()["error"] and caption.json()["attention"] is not None
    events = {line["event"]: line for line in map(json.loads, said.splitlines())}
    assert events["serving"]["page"] == f"{url}/"


def test_a_wrong_model_beside_is_told_at_the_start(served, monkeypatch):
    folder, blind = served
    models = Folder(
        "tiny", lambda: version_folders(folder), lambda path, number: SessionVersion(path, number)
    )
    monkeypatch.setattr(devserver, "_load", lambda *_: models)
    free = ["--port", "0", "--rest-port", "0"]
    for also, said in [
        (["nowhere"], "devserver.py: --also nowhere: "),
        ([blind, blind], "expected each model once"),
        ([blind / "vocab.txt"], "vocab.txt"),
    ]:
        options = [part for source in also for part in ("--also", source)]
        code, told = run_main([folder, *free, *options])
        assert code == 2 and said in told and told.count("\n") == 1, told


@pytest.mark.parametrize("name", ["page", "page_about", "page_choices", "page_models"])
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(f"serving.{name}")).failed == 0
