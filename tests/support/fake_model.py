"""The model behind the fake TensorFlow Serving: captions of `FakeEngine`, and faults to inject."""

import threading

import numpy as np

from captioner.engines.fake import FakeEngine
from captioner.types import Caption

T, K, GRID = 6, 3, (4, 4)

IMPOSSIBLE = np.float32(-1e9)


class Refusal(Exception):
    """An error response: an HTTP status (for gRPC its counterpart) and a message."""

    def __init__(self, status, words):
        self.status, self.words = status, words


class NoSignature(Exception):
    """The model has no such signature; each protocol has its own message."""


class World:
    """The model behind the servers, the faults to inject, and the requests received.

    `faults` are consumed one for each Predict: a `Refusal` is raised, a number is seconds to sleep (until the server
    closes at most), anything else is called with the outputs and returns what to answer. `always` is the fault
    when none are left.
    """

    def __init__(self):
        self.name, self.token, self.error_prefix = "dogs", None, ""
        self.versions = {2: ("AVAILABLE", ""), 1: ("AVAILABLE", "")}
        self.labels = {"stable": 1}
        self.signatures = {
            "serving_default": ["caption", "error", "ok", "score"],
            "explain": sorted(outputs([b""])),
        }
        self.faults, self.always = [], None
        self.requests, self.authorizations, self.running, self.most_running = [], [], 0, 0
        self.lock, self.closed = threading.Lock(), threading.Event()

    def version(self, number=None, label=None):
        """The version that answers a request."""
        if label is not None:
            if label not in self.labels:
                raise Refusal(400, f"Unrecognized servable version label: {label}")
            return self.labels[label]
        ready = [n for n, (state, _) in self.versions.items() if state == "AVAILABLE" and number in (None, n)]
        if not ready:
            which = f"Latest({self.name})" if number is None else f"Specific({self.name}, {number})"
            raise Refusal(404, f"Servable not found for request: {which}")
        return max(ready)

    def check(self, name, authorization):
        self.authorizations.append(authorization)
        if self.token is not None and authorization != self.token:
            raise Refusal(401, f"{self.error_prefix}who is {authorization}?")
        if name != self.name:
            raise Refusal(404, f"Servable not found for request: Latest({name})")

    def status(self, number):
        """(version, state, message) of the requested versions."""
        rows = [(n, *state) for n, state in self.versions.items() if number in (None, n)]
        if not rows:
            raise Refusal(404, f"Could not find version {number} of model {self.name}")
        return rows

    def predict(self, signature, images):
        """The outputs of a signature; injects the next fault."""
        if signature not in self.signatures:
            raise NoSignature(signature)
        with self.lock:
            self.requests.append(len(images))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            fault = self.faults.pop(0) if self.faults else self.always
        try:
            arrays = outputs(images)
            arrays = {name: arrays[name] for name in self.signatures[signature]}
            if isinstance(fault, Exception):
                raise fault
            if isinstance(fault, int | float):
                self.closed.wait(fault)
            elif fault is not None:
                arrays = fault(arrays)
            return arrays
        finally:
            with self.lock:
                self.running -= 1


def expected(image):
    """The caption that a client should get."""
    engine = FakeEngine()
    best = engine.predict([image])[0]
    if not best.ok:
        return best
    # Some images have fewer alternatives than the outputs have room for.
    others = ["greedy", "sample"][: 1 + image[-1] % 2]
    others = [engine.predict([image], spec)[0] for spec in others]
    return Caption(
        best.text, best.score, best.words, best.logp, best.word_logp, best.attention, tuple(others)
    )


def outputs(images):
    """The outputs of the signature `explain`, as arrays."""
    rows = [expected(image) for image in images]
    empty = Caption("", float(IMPOSSIBLE), logp=float(IMPOSSIBLE))
    arrays = _columns(rows)
    alternatives = [
        _columns([row.alternatives[k] if k < len(row.alternatives) else empty for row in rows])
        for k in range(K - 1)
    ]
    for name in list(arrays):
        arrays[f"alternatives_{name}"] = np.stack([columns[name] for columns in alternatives], axis=1)
    arrays["ok"] = np.array([row.ok for row in rows])
    arrays["error"] = np.array([(row.error or "").encode() for row in rows], object)
    return arrays


def _columns(rows):
    n = len(rows)
    arrays = {
        "caption": np.array([row.text.encode() for row in rows], object),
        "score": np.float32([row.score for row in rows]),
        "logp": np.float32([row.logp for row in rows]),
        "ids": np.zeros((n, T), np.int32),
        "words": np.full((n, T), b"", object),
        "word_logp": np.zeros((n, T), np.float32),
        "attention": np.zeros((n, T, *GRID), np.float32),
    }
    for i, row in enumerate(rows):
        count = len(row.words)
        arrays["words"][i, :count] = [word.encode() for word in row.words]
        arrays["word_logp"][i, :count] = row.word_logp
        arrays["ids"][i, :count], arrays["ids"][i, count] = 7, 2
        if row.attention is not None:
            arrays["attention"][i, :count] = row.attention
    return arrays
