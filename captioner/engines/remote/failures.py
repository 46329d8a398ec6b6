"""Why a server that was asked gave no captions: what kind of failure it is, whether to ask again, what to say of it."""

from __future__ import annotations

import re

from captioner.engines.remote.address import VARIABLE

# Failures that are repeated, and how often unless `Options.retries` says: where nobody answers a few times, where the
# server says that it is busy for as long as there is time. Asking for a caption changes nothing on the server, so a
# lost answer costs only time.
REPEATED: dict[str, int | None] = {"away": 4, "loading": 4, "busy": None, "full": None}
# How servers say that their queue is full: TensorFlow Serving with batching (UNAVAILABLE, 503), and ours (429).
_FULL = re.compile(r"\bqueue\b.*\bfull\b|waiting or running already", re.I | re.S)
_LOADING = re.compile(r"\bbeing loaded\b|\bnot init(ialized)? yet\b", re.I)
LABEL = "Unrecognized servable version label"
# How servers say that a request, an answer or the number of images in one is beyond a limit.
TOO_LARGE = re.compile(r"larger than max|larger than maximum|exceeds? (the )?max", re.I)
SAYINGS = {
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
    """Why one attempt came to nothing; never leaves the engines.

    Args:
        kind: str, a key of what can be said about it: "away", "busy", "full", "loading", "time", "large", "missing",
            "label", "denied", "tls", "foreign" or "failed".
        detail: str. What the server or the network said.
        after: float, default 0. Seconds that the server wants us to wait.
    """

    def __init__(self, kind: str, detail: str, after: float = 0.0):
        super().__init__(kind, detail)
        self.kind, self.detail, self.after, self.seconds = kind, detail, after, 0.0


def unavailable(detail: str, otherwise: str) -> str:
    """The kind of a failure that a server calls UNAVAILABLE or RESOURCE_EXHAUSTED.

    Args:
        detail: str. What it said.
        otherwise: str. The kind if that tells nothing more.

    Example:
        >>> unavailable("The batch scheduling queue to which this task was submitted is full", "away")
        'full'
    """
    return "full" if _FULL.search(detail) else "loading" if _LOADING.search(detail) else otherwise


def one_line(text: str, most: int = 300) -> str:
    """A text without line breaks, cut where it gets long.

    Example:
        >>> one_line("one\\n  line")
        'one line'
    """
    text = " ".join(str(text).split())
    return text if len(text) <= most else f"{text[: most - 3]}..."
