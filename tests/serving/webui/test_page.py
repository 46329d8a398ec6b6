"""The web page without a browser: its files, invalid requests, damaged images, and other sites."""

import base64
import json
import random
import re

import httpx
import pytest

from tests.support.images import odd_images

pytest.importorskip("grpc")
pytest.importorskip("starlette")
import captioner
from captioner.outputs.alt_text import alt_text
from serving.webui.page import FILES
from tests.support.serving.page_server import HEIC, LARGE, PDF, PHOTO


def test_static_files(server):
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


def test_page_makes_no_external_requests(server):
    header = server.get("/").headers["content-security-policy"]
    policy = dict(directive.strip().split(" ", 1) for directive in header.split(";"))
    assert policy["default-src"] == "'self'" and policy["img-src"] == "'self' blob: data:"
    for path in FILES.iterdir():
        text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|\burl\(|@import", text), path.name
        assert not re.search(r'\sstyle="|\son\w+="|<style|innerHTML|insertAdjacentHTML|\beval\(', text), (
            path.name
        )
        assert len(text.splitlines()) <= 300, path.name


# (body, query, status, part of the error).
INVALID_REQUESTS = [
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
    (bytes((8 << 20) + 1), {}, 413, "at most 8388608 bytes"),
]


def test_invalid_requests_get_a_sentence(server):
    for data, query, status, message in INVALID_REQUESTS:
        reply = server.caption(data, **query)
        error = reply.json()["error"]
        assert reply.status_code == status and message in error, (query, error)
        assert "\n" not in error and "Traceback" not in error and len(error) < 400
    assert server.caption().status_code == 200


def test_unexpected_exception_is_an_image_error(server, monkeypatch):
    def explode(*_):
        raise RuntimeError("internal detail")

    monkeypatch.setattr("serving.webui.page.loading.to_bytes", explode)
    reply = server.caption()
    assert reply.status_code == 400 and reply.json()["error"].startswith(
        "this image cannot be read: it is damaged"
    )
    monkeypatch.undo()
    assert server.caption().status_code == 200


def test_damaged_images(server):
    pick = random.Random(5)
    for kind in ("TIFF", "WEBP", "GIF", "PNG", "BMP", "JPEG"):
        data = odd_images.encoded(odd_images.drawn(), kind)
        for _ in range(12):
            damaged = bytearray(data[: pick.randint(1, len(data))])
            for _ in range(pick.randint(0, 20)):
                damaged[pick.randrange(len(damaged))] = pick.randrange(256)
            reply = server.caption(bytes(damaged))
            assert reply.status_code in (200, 400), (kind, reply.text)
            assert reply.status_code == 200 or "\n" not in reply.json()["error"]


def test_cross_site_requests_are_refused(server):
    for site, status in (("cross-site", 403), ("same-origin", 200), ("none", 200)):
        assert server.caption(headers={"Sec-Fetch-Site": site}).status_code == status
    # Over plain http to another machine browsers send the origin alone.
    here = server.url.rstrip("/")
    for origin, status in (("http://a.example", 403), ("null", 403), (here, 200), (f"{here}0", 403)):
        assert server.caption(headers={"Origin": origin}).status_code == status


def test_requests_are_counted_and_queries_not_logged(server, capsys):
    capsys.readouterr()
    server.caption(strategy="constrained(must_include=['SECRET'])")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["path"], line["method"], line["status"]) == ("/page/caption", "caption", 400)
    assert "SECRET" not in json.dumps(lines)
    counted = server.get("/monitoring/prometheus/metrics").text
    assert 'captioner_requests_total{api="rest",code="INVALID_ARGUMENT",method="caption"}' in counted


def test_admission_control(server):
    with server.admission.admit():
        server.admission.limit, limit = 1, server.admission.limit
        try:
            full = server.caption()
            assert full.status_code == 429 and "try again later" in full.json()["error"]
            assert server.get("/").status_code == 200
        finally:
            server.admission.limit = limit
    assert server.caption().status_code == 200


def test_paths_of_tensorflow_serving(server):
    assert server.get("/v1/models/tiny").json()["model_version_status"][0]["state"] == "AVAILABLE"
    for path in ("/v2/health/ready", "/pages", "/index.html", "/web", "/page"):
        reply = server.get(path)
        assert reply.status_code == 404 and reply.headers["content-type"] == "text/html"


def test_alt_text_and_confidence(server):
    with captioner.load(server.find()[1]) as model:
        caption = model.caption(PHOTO)
        confidence = model.confidence(caption)
    assert confidence < 0.5
    answer = server.caption().json()["alt_text"]
    text = alt_text(caption).text  # without the hedge: the page shows the confidence beside it
    assert answer == {"text": text, "confidence": confidence, "flagged": True} and "Perhaps" not in text
    short = server.caption(max_length=24).json()
    assert len(short["alt_text"]["text"]) <= 24 and short["caption"] == caption.text
