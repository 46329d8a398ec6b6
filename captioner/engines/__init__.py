"""Who runs the model. `ENGINES` has a row for each; `captioner.load` picks one from what it is given."""

from captioner.engines.base import Engine
from captioner.engines.start import import_tensorflow
from captioner.registry import Table

ENGINES = Table(
    "engine",
    {
        "keras": "captioner.engines.keras:KerasEngine",
        "saved_model": "captioner.engines.saved_model:SavedModelEngine",
        "lite": "captioner.engines.lite:LiteEngine",
        "grpc": "captioner.engines.grpc_client:GrpcEngine",
        "http": "captioner.engines.rest_client:RestEngine",
    },
)

__all__ = ["ENGINES", "Engine", "import_tensorflow"]
