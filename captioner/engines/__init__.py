"""What runs a model. `ENGINES` has a row for each engine, and each says itself what it opens."""

from captioner.engines.base import Engine
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.errors import EngineError
from captioner.registry import Table

# Asked from the last row to the first, which takes any path, so as to say what is missing there. A `.tflite` file on a
# device is found without a client of servers being imported.
ENGINES = Table(
    "engine",
    {
        "keras": "captioner.engines.keras:KerasEngine",
        "grpc": "captioner.engines.remote.grpc:GrpcEngine",
        "http": "captioner.engines.remote.rest:RestEngine",
        "saved_model": "captioner.engines.saved_model:SavedModelEngine",
        "lite": "captioner.engines.tflite:LiteEngine",
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
