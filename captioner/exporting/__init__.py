"""Export targets of a model folder. `TARGETS` has a row for each; `captioner.export` runs them."""

from pathlib import Path

from captioner.errors import BundleError
from captioner.registry import Table

# A row is called with `model` (a `CaptionModel`), `folder` (Path), `strategy` (str or None), `max_length` (int or
# None) and the options of its spec, and returns the Path that it wrote.
TARGETS = Table(
    "export target",
    {"saved_model": "captioner.exporting.saved_model:write", "tflite": "captioner.exporting.tflite:write"},
)


def tflite_path(folder: Path, quantize: str = "none", overwrite: bool = False, **_: object) -> Path:
    """The path of the file that a `tflite` target with these options writes.

    Args:
        folder: Path.
        quantize: str, default "none".
        overwrite: bool, default False. Whether an existing file may be replaced.

    Returns:
        Path.

    Raises:
        BundleError: if the file exists already.
    """
    path = folder / ("model.tflite" if quantize == "none" else f"model_{quantize}.tflite")
    if path.exists() and not overwrite:
        raise BundleError(f"{path} is there already: move it away, or say tflite(overwrite=True)")
    return path


# The targets that write a single file, and the function that gives its path, or raises a `BundleError`.
FILES = {"tflite": tflite_path}

__all__ = ["FILES", "TARGETS", "tflite_path"]
