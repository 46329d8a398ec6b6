"""The development server: REST, gRPC and the web page of one model, started and stopped together."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from pathlib import Path

from serving.http.app import HttpServer, Limits, RestApp
from serving.http.grpc_services import GrpcServer
from serving.protocol.predict import Version
from serving.protocol.status import ServingError
from serving.runtime import log
from serving.runtime.admission import AdmissionControl
from serving.runtime.batching import BatchingVersion
from serving.runtime.metrics import Metrics
from serving.runtime.versions import ModelFolder
from serving.webui.choices import Choices
from serving.webui.page import Page


class DevelopmentServer:
    """Takes the ports at once; the model may be loaded later, and until then requests get UNAVAILABLE.

    Args:
        options: what `serving.runtime.options.parser` read.

    Attributes:
        admission: `AdmissionControl`.

    Raises:
        EngineError: if a port is in use.
    """

    def __init__(self, options: argparse.Namespace):
        self._options = options
        self.admission = AdmissionControl(options.queue, options.workers)
        self._metrics = Metrics(self.admission, self._availability)
        self._max_body = int(options.max_body * (1 << 20))
        self._folder: ModelFolder | None = None
        self._choices: Choices | None = None
        limits = Limits(self._max_body, options.client_timeout, options.run_timeout)
        self._app = RestApp(self.models, self.admission, self._metrics, limits, options.allow_origin)
        self._http = HttpServer(self._app, self._metrics, limits, options.host, options.rest_port)
        self._host = f"[{options.host}]" if ":" in options.host else options.host
        address = f"{self._host}:{options.port}"
        self._grpc = GrpcServer(self.models, address, self.admission, self._metrics, self._max_body)

    def models(self) -> ModelFolder:
        """The model that is served.

        Raises:
            ServingError: UNAVAILABLE while it is being loaded.
        """
        if self._folder is None:
            raise ServingError("UNAVAILABLE", "the model is being loaded: try again soon")
        return self._folder

    def batching(self, version: Version) -> BatchingVersion:
        """A version behind admission control and batching, as the options say."""
        options = self._options
        window = options.batch_wait / 1000
        on_run = self._metrics.record_run
        return BatchingVersion(version, self.admission, options.batch, window, on_run, options.max_rows)

    def start(self, name: str, find: Callable[[], dict[int, Path]]) -> None:
        """Begins to answer, with UNAVAILABLE until `serve` is called.

        Args:
            name: str. The model's.
            find: callable that returns the version folders on disk, newest first.

        Raises:
            SpecError: if an extra model comes twice.
        """
        options = self._options
        self._choices = Choices(name, self.models, find, self.admission, options.model, options.extra_models)
        self._app.page = Page(self._choices, self.admission, self._max_body)
        self._http.start()
        self._grpc.start()

    def serve(self, folder: ModelFolder) -> None:
        """Serves a model whose newest version is loaded, and loads the extra models of the page.

        Raises:
            CaptionerError: if an extra model cannot be loaded.
        """
        self._folder = folder
        if self._choices is not None:
            self._choices.open()

    def watch(self) -> None:
        """Looks for new versions from now on, and logs the addresses."""
        folder = self.models()
        folder.watch(self._options.poll)
        page = f"http://{self._host}:{self._http.port}/"
        rest = f"{page}v1/models/{folder.name}"
        grpc = f"{self._host}:{self._grpc.port}"
        note = "for development and small sites"
        log.event("serving", model=folder.name, page=page, rest=rest, grpc=grpc, note=note)

    def stop(self) -> None:
        """Accepts no more requests, waits for those that run (`--drain`), and closes the models."""
        stopping = threading.Thread(target=self._grpc.stop, args=(self._options.drain,))
        stopping.start()
        self._http.stop(self._options.drain)
        stopping.join()
        if self._choices is not None:
            self._choices.close()
        if self._folder is not None:
            self._folder.close()

    def _availability(self) -> dict[int, bool]:
        """The known versions, and whether each is served."""
        if self._folder is None:
            return {}
        states = self._folder.states(self._folder.name)
        return {state.version: state.state == "AVAILABLE" for state in states}
