"""The server of the annotation page without a browser: its files, what it refuses, and the rows that it writes."""

import io
import json
import re
import sys
import warnings

import PIL.Image
import pytest

pytest.importorskip("starlette")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer versions prefer another client than httpx
    from starlette.testclient import TestClient

from captioner.errors import EngineError
from tests.support.serving.waiting import wait_until
from tests.support.training.annotation_page import NAMES, PROPOSALS, draw_photos, session_of
from training.annotation.adapting import Adapting
from training.annotation.server import FILES, MAX_BODY, application, listener
from training.annotation.session import with_captioned

KEPT = "image,caption,by\nphoto 4.png,a lake,Ann\nphoto 5.png,a boat,Bo\n"


@pytest.fixture
def session(tmp_path):
    draw_photos(tmp_path / "photos")
    return session_of(tmp_path / "photos")


@pytest.fixture
def client(session, tmp_path):
    adapting = Adapting(session.photos.folder, session.table.path, lambda model: None, runs=tmp_path / "runs",
                        program=[str(tmp_path / "missing.py")])  # fmt: skip
    return TestClient(application(session, adapting), base_url="http://127.0.0.1:8765")


def edit(session, number=0, captions=("a dog",), revision=1, page="p", **changes):
    fields = {"session": session.photos.fingerprint, "page": page, "revision": revision, "number": number}
    return {**fields, "captions": list(captions), **changes}


def rows(session):
    return session.table.path.read_text(encoding="utf-8").removeprefix(KEPT).splitlines()


def test_static_files(client):
    page = client.get("/")
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    linked = set(re.findall(r'(?:src|href)="static/([^"]+)"', page.text))
    scripts = {path.name for path in FILES.glob("*.js")}
    imported = set(re.findall(r'from "\./(\w+\.js)"', "".join(p.read_text() for p in FILES.glob("*.js"))))
    assert linked == {"icon.svg", "page.css", "page.js"} and imported == scripts - {"page.js"}
    for path in FILES.iterdir():
        reply = client.get(f"/static/{path.name}")
        assert reply.content == path.read_bytes() and reply.headers["x-content-type-options"] == "nosniff"
        text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|\burl\(|@import|\sstyle=\"|\son\w+=\"|innerHTML|\beval\(", text)
    for path in ("/static/", "/static/../server.py", "/static/%2e%2e%2fserver.py", "/images/../captions.csv"):
        assert client.get(path).status_code == 404, path


def test_state_and_images(client):
    state = client.get("/state").json()
    assert [image["name"] for image in state["images"]] == NAMES[:4]
    assert [image["proposal"] for image in state["images"]] == PROPOSALS
    image = client.get("/images/3")
    assert image.headers["content-type"] == "image/jpeg"
    assert PIL.Image.open(io.BytesIO(image.content)).size == (60, 43)
    for number, status in (("6", 409), ("99999999999999999999", 409), ("-1", 404), ("photo 1.png", 404)):
        assert client.get(f"/images/{number}").status_code == status


def test_large_images_are_scaled_down(client, session):
    PIL.Image.new("RGB", (3000, 1500), "red").save(session.photos.path(0))
    assert PIL.Image.open(io.BytesIO(client.get("/images/0").content)).size == (1024, 512)
    session.photos.path(1).write_bytes(b"no image")
    reply = client.get("/images/1")
    assert reply.status_code == 400 and reply.json()["error"].startswith("photo 1.png: expected an image")


def test_captions_are_saved_and_changed(client, session):
    def save(*arguments, **options):
        return client.post("/captions", json=edit(session, *arguments, **options)).json()

    assert save(2, ["  a\n dog ", "", "?!", "a dog", "a cat"]) == {
        "captions": ["a dog", "a cat"],
        "captioned": 1,
    }
    assert rows(session) == ["photo 2.png,a dog,", "photo 2.png,a cat,"]
    assert save(2, ["a red dog"], 2) == {"captions": ["a red dog"], "captioned": 1}
    assert save(0, ["a ball"], 3)["captioned"] == 2
    assert rows(session) == ["photo 2.png,a red dog,", "photo 0.png,a ball,"]
    assert save(2, [], 4) == {"captions": [], "captioned": 1}
    assert rows(session) == ["photo 0.png,a ball,"]


def test_a_request_that_was_overtaken_changes_nothing(client, session):
    for revision, text in ((2, "new"), (1, "old"), (2, "again")):
        client.post("/captions", json=edit(session, 1, [text], revision))
    assert rows(session) == ["photo 1.png,new,"]
    client.post("/captions", json=edit(session, 1, ["of another page"], 1, page="q"))  # the last edit
    client.post("/captions", json=edit(session, 3, ["another image"], 1))
    assert rows(session) == ["photo 1.png,of another page,", "photo 3.png,another image,"]


def test_images_with_captions_follow_to_be_corrected(session):
    session.table.put(NAMES[5], [f"caption {i}" for i in range(6)])  # more than the page has fields for
    ranking = session_of(session.photos.folder, NAMES[3::-1])._ranking
    candidates = with_captioned(ranking, session.photos, session.table.captions()).candidates
    assert [session.photos.names[candidate.number] for candidate in candidates] == [*NAMES[3::-1], NAMES[4]]
    assert candidates[-1].proposal == "a lake" and candidates[:4] == ranking.candidates


BAD = [
    ([], "expected an object"),
    ({"session": "x"}, "the images have changed since this page was loaded"),
    ({"number": 6}, "expected the number of an image"),
    ({"number": "../a.png"}, "expected the number of an image"),
    ({"number": True}, "expected the number of an image"),
    ({"revision": -1}, "a revision"),
    ({"page": "p" * 65}, "at most 64 characters"),
    ({"captions": "a dog"}, "expected a list of at most 5 captions"),
    ({"captions": ["a"] * 6}, "expected a list of at most 5 captions"),
    ({"captions": [1]}, "captions of at most 1000 characters"),
    ({"captions": ["a" * 1001]}, "captions of at most 1000 characters"),
    ({"captions": ["a\0b"]}, "a character that no text has"),
    ({"captions": ["\ud800"]}, "a character that no text has"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_edits_are_refused(client, session, changes, message):
    body = json.dumps({**edit(session), **changes} if changes else [])
    reply = client.post("/captions", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400 and message in reply.json()["error"]
    assert session.table.path.read_text() == KEPT


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:8765", "sec-fetch-site": "same-origin"}, 200),
        ({"host": "localhost:9000"}, 200),
        ({"host": "[::1]:9000"}, 200),
        ({"host": "evil.example:8765"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "["}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 403),
    ],
)
def test_pages_of_others_may_not_write(client, session, headers, status):
    reply = client.post("/captions", json=edit(session), headers=headers)
    assert reply.status_code == status
    assert (session.table.path.read_text() == KEPT) == (status == 403)
    if "host" in headers:
        assert client.get("/state", headers=headers).status_code == status
        assert client.get("/images/0", headers=headers).status_code == status
    if status == 403 and "host" not in headers:
        assert client.post("/adapting", json={}, headers=headers).status_code == 403


@pytest.mark.parametrize("body", [b"{", b"[" * 60_000, b'"' + b"a" * MAX_BODY + b'"', b"\xff"])
def test_other_bodies_are_refused(client, body):
    reply = client.post("/captions", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400 and reply.json()["error"].startswith("expected a")


def test_a_disk_that_refuses_is_one_line(client, session, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    reply = client.post("/captions", json=edit(session))
    assert reply.status_code == 409 and "No space left on device" in reply.json()["error"]
    monkeypatch.undo()
    assert session.table.path.read_text() == KEPT
    assert client.post("/captions", json=edit(session)).json()["captions"] == [
        "a dog"
    ]  # the same revision again


def test_a_program_that_is_missing_is_one_line(client):
    reply = client.post("/adapting", json={})
    assert reply.status_code == 409 and "there is none" in reply.json()["error"]
    assert client.get("/adapting").json()["state"] == "idle"


def test_a_port_in_use_is_one_line():
    with listener(0) as first:
        port = first.getsockname()[1]
        with pytest.raises(EngineError, match=f"cannot listen on 127.0.0.1:{port}: .*give another --port"):
            listener(port)


def adapting_with(tmp_path, code, finished=lambda model: None):
    program = tmp_path / "adapt.py"
    program.write_text(code)
    return Adapting(tmp_path / "photos", tmp_path / "c.csv", finished, "start", tmp_path / "runs",
                    [sys.executable, str(program)])  # fmt: skip


def test_adapting_runs_one_program_at_a_time(tmp_path):
    models = []
    wait = "import pathlib, sys, time\nprint(sys.argv[1:])\n"
    wait += "while not pathlib.Path(sys.argv[1], 'go').exists(): time.sleep(0.02)"
    adapting = adapting_with(tmp_path, wait, models.append)
    adapting.start()
    with pytest.raises(Exception, match="adapted already: wait"):
        adapting.start()
    wait_until(lambda: adapting.status()["lines"])
    photos, out = str(tmp_path / "photos"), str(tmp_path / "runs" / "photos")
    expected = [photos, "--captions", str(tmp_path / "c.csv"), "--model", "start", "--out", out]
    assert adapting.status()["lines"] == [str(expected)] and adapting.status()["state"] == "running"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "go").touch()
    wait_until(lambda: adapting.status()["state"] == "finished")
    assert models == [str(tmp_path / "runs" / "photos" / "model")]


def test_adapting_that_fails_shows_why(tmp_path):
    models = []
    adapting = adapting_with(tmp_path, "import sys\nsys.exit('expected 10 images, got 3')", models.append)
    adapting.start()
    wait_until(lambda: adapting.status()["state"] == "failed")
    assert adapting.status()["lines"][0] == "expected 10 images, got 3" and models == []
    adapting.start()  # again
    wait_until(lambda: adapting.status()["state"] == "failed")


def test_adapting_is_stopped_with_the_server(tmp_path):
    adapting = adapting_with(tmp_path, "import time\nprint('begun')\ntime.sleep(600)")
    adapting.stop()
    adapting.start()
    wait_until(lambda: adapting.status()["lines"])
    adapting.stop()
    wait_until(lambda: adapting.status()["state"] == "failed")
