"""The models behind the page: captions equal those of the engines."""

import contextlib
import json
import os
import signal
import threading
import time

import httpx
import numpy as np
import pytest

from tests.support.images import odd_images
from tests.support.serving.devserver import ANY_PORTS, free_ports, run_main
from tests.support.serving_models import write_linear_model

pytest.importorskip("grpc")
pytest.importorskip("starlette")
import captioner
from serving import devserver
from serving.protocol.status import ServingError
from serving.runtime.admission import AdmissionControl
from serving.runtime.session import SessionVersion
from serving.runtime.versions import ModelFolder, version_folders
from serving.webui.models import LoadedModel
from tests.support.serving.page_server import PHOTO, STRATEGY, PageServer, assert_same


def test_caption_equals_the_engines(server, served):
    with captioner.load(server.find()[1]) as model:
        expected = model.caption(PHOTO)
    answer = server.caption().json()
    assert_same(answer, expected)
    assert len(answer["words"]) >= 4 and len(answer["alternatives"]) == 2 and answer["ms"] > 0
    assert np.shape(answer["attention"]) == (len(answer["words"]), 4, 4)
    assert_same(server.caption(strategy=STRATEGY.replace(", ", ",")).json(), expected)
    tiff = odd_images.encoded(odd_images.drawn(), "TIFF")
    with captioner.load(server.find()[1]) as model:
        assert_same(server.caption(tiff).json(), model.caption(tiff))


@pytest.mark.slow
def test_other_strategies_and_models(server, served):
    folder, without_attention = served
    with captioner.load(folder) as model:
        for strategy in ("greedy", "beam(width=5, n_best=2, min_length=3)"):
            assert_same(server.caption(strategy=strategy).json(), model.caption(PHOTO, strategy))
    with captioner.load(without_attention) as model:
        answer = server.caption(model=str(without_attention), strategy="beam(width=2, min_length=3)").json()
        assert_same(answer, model.caption(PHOTO, "beam(width=2, min_length=3)"))
    assert answer["attention"] is None and len(answer["words"]) >= 3
    attention = {row["name"]: row["attention"] for row in server.get("/page/models").json()["models"]}
    assert attention == {"tiny": True, str(without_attention): False}


def test_other_savedmodels_are_served_without_captions(tmp_path):
    write_linear_model(tmp_path / "line" / "1", 0.5)
    server = PageServer(tmp_path / "line")
    try:
        (row,) = server.get("/page/models").json()["models"]
        assert "lacks the signature 'explain'" in row["problem"] and not row["chooses_strategy"]
        reply = server.caption()
        assert reply.status_code == 400 and reply.json()["error"] == row["problem"]
        reply = httpx.post(f"{server.url}/v1/models/line:predict", json={"instances": [4]}, timeout=60)
        assert reply.json() == {"predictions": [4.0]} and server.get("/").status_code == 200
    finally:
        server.close()


def test_model_that_is_still_loading(served):
    late = LoadedModel("late", str(served[0]), AdmissionControl(4, 1))
    opened = threading.Event()
    late.open = lambda: opened.wait(30) and LoadedModel.open(late)
    with pytest.raises(ServingError, match="the model late is being loaded") as caught:
        late.caption(PHOTO, "greedy", 0.05)
    assert caught.value.http == 503
    opened.set()
    assert late.caption(PHOTO, "greedy", 60).words is not None
    with late._admission.worker(), pytest.raises(ServingError) as caught:
        late.caption(PHOTO, "greedy", 0.2)
    assert caught.value.http == 504
    late.close()


def test_page_of_the_program(served):
    folder, without_attention = served
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
    options = [folder, "--rest-port", rest, "--port", rpc, "--extra-model", without_attention]
    code, stderr = run_main(options)
    thread.join()
    assert code == 0 and {reply.status_code for reply in replies} <= {200, 503}
    models, page, caption = replies[-3:]
    assert len(models.json()["models"]) == 2 and "<title>captioner" in page.text
    assert "being loaded" in replies[0].json()["error"] and caption.json()["attention"] is not None
    events = {line["event"]: line for line in map(json.loads, stderr.splitlines())}
    assert events["serving"]["page"] == f"{url}/"


def test_invalid_extra_model(served, monkeypatch):
    folder, without_attention = served
    models = ModelFolder(
        "tiny", lambda: version_folders(folder), lambda path, number: SessionVersion(path, number)
    )
    monkeypatch.setattr(devserver, "_load", lambda *_: models)
    for extra_models, message in [
        (["nowhere"], "devserver.py: --extra-model nowhere: "),
        ([without_attention] * 2, "expected each model once"),
        ([without_attention / "vocab.txt"], "vocab.txt"),
    ]:
        options = [part for source in extra_models for part in ("--extra-model", source)]
        code, stderr = run_main([folder, *ANY_PORTS, *options])
        assert code == 2 and message in stderr and stderr.count("\n") == 1, stderr
