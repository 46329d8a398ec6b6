"""Failures of requests to a server: their kinds, which of them are retried, and their messages."""

from __future__ import annotations

import re

from captioner.engines.remote.address import VARIABLE

# Failures that are retried, and how often unless `Options.retries` is set: a few times where the server cannot be
# reached, until the timeout (None) where it says that it is busy. Requests are idempotent, so a lost response costs
# only time.
RETRIES: dict[str, int | None] = {"away": 4, "loading": 4, "busy": None, "full": None}
# Messages of servers whose queue is full: TensorFlow Serving with batching (UNAVAILABLE, 503), and ours (429).
_FULL = re.compile(r"\bqueue\b.*\bfull\b|waiting or running already", re.I | re.S)
_LOADING = re.compile(r"\bbeing loaded\b|\bnot init(ialized)? yet\b", re.I)
LABEL = "Unrecognized servable version label"
# Messages of servers about a request, a response or a batch beyond a limit.
TOO_LARGE = re.compile(r"larger than max|larger than maximum|exceeds? (the )?max", re.I)
MESSAGES = {
    "away": "cannot reach the server ({detail}): is it running, and is this its {protocol} address?",
    "busy": "the server is busy ({detail}): send less at once (in_flight, batch_size), or raise timeout",
    "full": "the server is busy: its queue is full ({detail}); raise max_enqueued_batches there (--queue of the "
    "development server), or send less at once (in_flight, batch_size)",
    "loading": "the server is not ready ({detail}): try again in a moment",
    "time": "no answer within {seconds:g} seconds ({detail}): is the server busy? raise timeout, or lower batch_size",
    "large": "too large for one message ({detail}): send a smaller image, or raise max_bytes here and there",
    "missing": "the server has no such model ({detail}): check name, version and label",
    "label": "the server knows no such label ({detail}): ask for a version (/versions/N), or give it the label there: "
    "version_labels in models.config (--label of the development server)",
    "denied": f"the server refuses us ({{detail}}): pass authorization= to load, or set {VARIABLE}",
    "tls": "no safe connection ({detail}): check the scheme, the host's name and root_certificate",
    "foreign": "{detail}; expected TensorFlow Serving with a model that `captioner export` wrote",
    "failed": "the server failed ({detail})",
}


class Failure(Exception):
    """A failed request; engines turn it into an `EngineError` or into the error of a caption.

    Args:
        kind: str, a key of `MESSAGES`: "away", "busy", "full", "loading", "time", "large", "missing",
            "label", "denied", "tls", "foreign" or "failed".
        detail: str. The message of the server or the network.
        after: float, default 0. Seconds to wait before a retry, if the server says so.
    """

    def __init__(self, kind: str, detail: str, after: float = 0.0):
        super().__init__(kind, detail)
        self.kind, self.detail, self.after, self.seconds = kind, detail, after, 0.0


def unavailable(detail: str, otherwise: str) -> str:
    """The kind of a failure with the status UNAVAILABLE or RESOURCE_EXHAUSTED.

    Args:
        detail: str. The message of the server.
        otherwise: str. The kind if the message matches no other.

    Example:
        >>> unavailable("The batch scheduling queue to which this task was submitted is full", "away")
        'full'
    """
    return "full" if _FULL.search(detail) else "loading" if _LOADING.search(detail) else otherwise


def one_line(text: str, most: int = 300) -> str:
    """A text without line breaks, truncated to `most` characters.

    Example:
        >>> one_line("one\\n  line")
        'one line'
    """
    text = " ".join(str(text).split())
    return text if len(text) <= most else f"{text[: most - 3]}..."
