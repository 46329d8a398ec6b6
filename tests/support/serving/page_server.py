"""The web page with real models of random weights, for tests."""

import json

import httpx
import numpy as np
import pytest

from tests.support.images import odd_images
from tests.support.models.tiny_model import build_tiny_model

pytest.importorskip("grpc")
pytest.importorskip("starlette")
import captioner
from serving.http.app import HttpServer, Limits, RestApp
from serving.runtime.admission import AdmissionControl
from serving.runtime.batching import BatchingVersion
from serving.runtime.metrics import Metrics
from serving.runtime.session import SessionVersion
from serving.runtime.versions import ModelFolder, version_folders
from serving.webui.choices import Choices
from serving.webui.page import Page

STRATEGY = "beam(width=3, n_best=3, min_length=4)"

PHOTO = odd_images.encoded(odd_images.drawn(), "JPEG")

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(range(256)) * 4

PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n"

LARGE = odd_images.png(10000, 6000, 1, 0)


class PageServer:
    """The parts of the development server on a free port, with real models."""

    def __init__(self, folder, extra_models=(), limit=16, **limits):
        self.admission = AdmissionControl(limit, 2)
        self.models = ModelFolder(
            folder.name,
            self.find,
            lambda path, number: BatchingVersion(SessionVersion(path, number), self.admission),
        )
        self.folder, limits = folder, Limits(**limits)
        assert self.models.refresh()
        self.metrics = Metrics(self.admission)
        app = RestApp(lambda: self.models, self.admission, self.metrics, limits)
        self.choices = Choices(
            folder.name, lambda: self.models, self.find, self.admission, str(folder), extra_models
        )
        app.page = Page(self.choices, self.admission, limits.body)
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
    """Writes a calibration into an exported version under which the confidence of its captions is low."""
    path = version / "assets.extra" / "captioner.json"
    calibration = {"bias": -2.0, "weights": {"mean_logp": 0.1, "least_logp": 0.0, "words": 0.0}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"confidence": calibration}))


def save_models(folder):
    """Saves two models: `tiny`, with an exported version, and `show_and_tell`, which has no attention."""
    model = build_tiny_model()
    for variable in model.decoder.weights:
        if variable.path.startswith(
            ("query", "energy")
        ):  # with random ones the attention of all words is the same
            variable.assign(variable * 5.0)
    with_attention = captioner.save(model, folder / "tiny")
    version = captioner.export(with_attention, ["saved_model(batch_sizes=(1,))"], strategy=STRATEGY)[
        "saved_model"
    ]
    calibrate(version)
    without_attention = build_tiny_model("show_and_tell(units=12, embedding=10, value_dim=8)")
    captioner.save(without_attention, folder / "show_and_tell")


def assert_same(answer, caption):
    """Asserts that an answer of the page is the caption of an engine."""
    assert (answer["caption"], tuple(answer["words"])) == (caption.text, caption.words)
    numbers = [answer["score"], answer["logp"], *answer["word_logp"]]
    np.testing.assert_allclose(numbers, [caption.score, caption.logp, *caption.word_logp], atol=1e-4)
    if caption.attention is None:
        assert answer["attention"] is None
    else:
        np.testing.assert_allclose(answer["attention"], caption.attention, atol=1e-4)
    for alternative, expected in zip(answer.get("alternatives", ()), caption.alternatives, strict=True):
        assert_same(alternative, expected)
