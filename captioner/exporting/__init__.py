"""What a model folder can be turned into. `TARGETS` has a row for each; `captioner.export` writes them."""

from pathlib import Path

from captioner.errors import BundleError
from captioner.registry import Table

# A row is called with `model` (a `CaptionModel`), `folder` (Path), `strategy` (str or None), `max_length` (int or
# None) and the options of its spec, and returns the Path of what it wrote.
TARGETS = Table(
    "export target",
    {"saved_model": "captioner.exporting.saved_model:write", "tflite": "captioner.exporting.tflite:write"},
)


def lite_path(folder: Path, quantize: str = "none", overwrite: bool = False, **_: object) -> Path:
    """The file that a `tflite` target with such options makes.

    Args:
        folder: Path.
        quantize: str, default "none".
        overwrite: bool, default False. Whether a file that is there may be replaced.

    Returns:
        Path.

    Raises:
        BundleError: if there is such a file already.
    """
    path = folder / ("model.tflite" if quantize == "none" else f"model_{quantize}.tflite")
    if path.exists() and not overwrite:
        raise BundleError(f"{path} is there already: move it away, or say tflite(overwrite=True)")
    return path


# The targets that make a single file: what gives its path, and raises a `BundleError` if it may not be written.
FILES = {"tflite": lite_path}

__all__ = ["FILES", "TARGETS", "lite_path"]
