"""What a model folder can be turned into. `TARGETS` has a row for each; `captioner.export` writes them."""

from captioner.registry import Table

# A row is called with `model` (a `CaptionModel`), `folder` (Path), `strategy` (str or None), `max_length` (int or
# None) and the options of its spec, and returns the Path of what it wrote.
TARGETS = Table(
    "export target",
    {"saved_model": "captioner.exporting.saved_model:write", "tflite": "captioner.exporting.tflite:write"},
)

__all__ = ["TARGETS"]
