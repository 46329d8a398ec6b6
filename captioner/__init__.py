"""Captions for your own images: train, caption and evaluate CNN + attention models.

import captioner
model = captioner.load("saved_models/default")
print(model.caption("dog.jpg"))

Names are imported when first used, so that `import captioner` is fast and needs no TensorFlow.
"""

from __future__ import annotations

from typing import Any

# The public names and their modules.
_NAMES = {
    "Caption": "captioner.types",
    "CaptionModel": "captioner.models",
    "Captioner": "captioner.captioner",
    "CaptionerError": "captioner.errors",
    "Tokenizer": "captioner.text",
    "alt_text": "captioner.outputs.alt_text",
    "evaluate": "captioner.metrics",
    "export": "captioner.api",
    "heatmap": "captioner.outputs.heatmap",
    "load": "captioner.api",
    "report": "captioner.reports",
    "save": "captioner.api",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from captioner.bundle import version

        return version()
    if name not in _NAMES:
        raise AttributeError(f"module 'captioner' has no attribute {name!r}; it has: {', '.join(_NAMES)}")
    import importlib

    value = getattr(importlib.import_module(_NAMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES, "__version__"])
