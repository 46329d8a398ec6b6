"""Who runs the model. `ENGINES` has a row for each; `captioner.load` picks one from what it is given."""

from captioner.engines.base import Engine
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.registry import Table

ENGINES = Table(
    "engine",
    {
        "keras": "captioner.engines.keras:KerasEngine",
        "saved_model": "captioner.engines.saved_model:SavedModelEngine",
        "lite": "captioner.engines.tflite:LiteEngine",
        "grpc": "captioner.engines.remote.grpc:GrpcEngine",
        "http": "captioner.engines.remote.rest:RestEngine",
    },
)

__all__ = ["ENGINES", "Engine", "import_tensorflow"]
