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

from tests.support import odd_images
from tests.support.serving.devserver import free_ports, run_main
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
from tests.support.serving.page_server import PHOTO, STRATEGY, PageServer, same


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


def test_a_model_that_is_not_ours_is_served_and_not_captioned_with(tmp_path):
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


def test_a_model_that_is_not_ready_in_time_asks_for_patience(served):
    late = LoadedModel("late", str(served[0]), AdmissionControl(4, 1))
    held = threading.Event()
    late.open = lambda: held.wait(30) and LoadedModel.open(late)
    with pytest.raises(ServingError, match="the model late is being loaded") as caught:
        late.caption(PHOTO, "greedy", 0.05)
    assert caught.value.http == 503
    held.set()
    assert late.caption(PHOTO, "greedy", 60).words is not None
    with late._admission.worker(), pytest.raises(ServingError) as caught:
        late.caption(PHOTO, "greedy", 0.2)
    assert caught.value.http == 504
    late.close()


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
    code, said = run_main([folder, "--rest-port", rest, "--port", rpc, "--extra-model", blind])
    thread.join()
    assert code == 0 and {each.status_code for each in replies} <= {200, 503}
    models, page, caption = replies[-3:]
    assert len(models.json()["models"]) == 2 and "<title>captioner" in page.text
    assert "being loaded" in replies[0].json()["error"] and caption.json()["attention"] is not None
    events = {line["event"]: line for line in map(json.loads, said.splitlines())}
    assert events["serving"]["page"] == f"{url}/"


def test_a_wrong_model_beside_is_told_at_the_start(served, monkeypatch):
    folder, blind = served
    models = ModelFolder(
        "tiny", lambda: version_folders(folder), lambda path, number: SessionVersion(path, number)
    )
    monkeypatch.setattr(devserver, "_load", lambda *_: models)
    free = ["--port", "0", "--rest-port", "0"]
    for also, said in [
        (["nowhere"], "devserver.py: --extra-model nowhere: "),
        ([blind, blind], "expected each model once"),
        ([blind / "vocab.txt"], "vocab.txt"),
    ]:
        options = [part for source in also for part in ("--extra-model", source)]
        code, told = run_main([folder, *free, *options])
        assert code == 2 and said in told and told.count("\n") == 1, told
