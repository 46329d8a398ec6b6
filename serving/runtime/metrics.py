"""Metrics in the format of Prometheus.

Names are ours: those of TensorFlow Serving begin with a colon and have no unit, so that one dashboard for both would
compare things that are not the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from serving.runtime.admission import AdmissionControl

PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one server.

    Args:
        admission: `AdmissionControl`, whose load is shown.
        available: callable, default None. Returns the known versions, and whether each is served.
    """

    def __init__(
        self, admission: AdmissionControl, available: Callable[[], Mapping[int, bool]] | None = None
    ):
        self._versions = available
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "captioner_requests", "Requests answered", ["api", "method", "code"], registry=self._registry
        )
        self._seconds = Histogram(
            "captioner_request_seconds",
            "Time to answer, from the last byte of the request",
            ["api", "method"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._rows = Histogram(
            "captioner_run_rows", "Rows of one run of the model", buckets=_ROWS, registry=self._registry
        )
        inside = Gauge("captioner_requests_inside", "Requests that wait or run", registry=self._registry)
        inside.set_function(lambda: admission.inside)
        limit = Gauge("captioner_requests_limit", "Requests that may wait or run", registry=self._registry)
        limit.set(admission.limit)
        self._available = Gauge(
            "captioner_version_available", "Whether a version is served", ["version"], registry=self._registry
        )

    def record_request(self, api: str, method: str, code: str, seconds: float) -> None:
        """Counts one request.

        Args:
            api: str, "rest" or "grpc".
            method: str, such as "predict".
            code: str, a key of `serving.protocol.status.CODES`.
            seconds: float.
        """
        self._requests.labels(api, method, code).inc()
        self._seconds.labels(api, method).observe(seconds)

    def record_run(self, rows: int) -> None:
        """Counts one run of the model."""
        self._rows.observe(rows)

    def exposition(self) -> bytes:
        """All metrics in the text format that Prometheus scrapes."""
        for number, served in (self._versions() if self._versions else {}).items():
            self._available.labels(str(number)).set(served)
        return generate_latest(self._registry)
