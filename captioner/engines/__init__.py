"""Engines, which run a model. `ENGINES` has a row for each, and each class says what it opens."""

from captioner.engines.base import Engine
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import EngineError
from captioner.registry import Table

# `engine_for` goes from the last row to the first. The first opens any path, so that its error says what is missing
# there; `tflite` is last, so that a device imports no client of servers.
ENGINES = Table(
    "engine",
    {
        "keras": "captioner.engines.keras:KerasEngine",
        "grpc": "captioner.engines.remote.grpc:GrpcEngine",
        "http": "captioner.engines.remote.rest:RestEngine",
        "saved_model": "captioner.engines.saved_model:SavedModelEngine",
        "tflite": "captioner.engines.tflite:TFLiteEngine",
    },
)


def engine_for(source: str) -> str:
    """Names the engine that opens a source.

    Args:
        source: str. As `captioner.load` takes it.

    Returns:
        str: a row of `ENGINES`.

    Raises:
        EngineError: if there is none.

    Example:
        >>> engine_for("saved_models/default"), engine_for("grpc://host:8500/dogs")
        ('keras', 'grpc')
    """
    for name in reversed(ENGINES.names()):
        if ENGINES[name].opens(source):
            return name
    known = ", ".join(ENGINES[name].sources for name in ENGINES)
    raise EngineError(f"this version of captioner has no engine for {source}: expected one of {known}")


__all__ = ["ENGINES", "Engine", "engine_for", "import_tensorflow"]
