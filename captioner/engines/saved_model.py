"""The engine `saved_model`: runs an exported SavedModel in this process, with TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioner import bundle
from captioner.engines.base import Engine
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.engines.versions import GRAPH, read_metadata, version_folder
from captioner.errors import EngineError
from captioner.registry import parse_spec
from captioner.signature import EXPLAIN, INPUT, captions_from
from captioner.types import Caption

# Operations of TensorFlow that read or write files, or call Python. Exports of captioner have none; variables are saved
# and restored by other operations.
_FILE_OPS = re.compile(
    r"(Read|Write)File|MatchingFiles|.*PyFunc.*|Print(V2)?|.*Reader(V2)?|.*SummaryWriter.*|InitializeTableFromTextFile.*|"
    r".*(TextLine|TFRecord|FixedLengthRecord|Sql|LMDB|Cache|Save|Snapshot|Load|Csv|CSV)Dataset.*|.*Rpc.*|.*Dump.*|"
    r"DecodeVideo|BundleReader.*"
)


class SavedModelEngine(Engine):
    """Runs a version written by `captioner export`, as TensorFlow Serving does: the graph decodes the images.

    The strategy is fixed by the export.

    Args:
        loaded: the object that `tf.saved_model.load` returned.
        version: Path of the version folder, for messages.
        metadata: dict. The metadata of the export.
    """

    sources = "an exported version"
    purpose = "For servers: the export that TensorFlow Serving runs."

    def __init__(self, loaded: Any, version: Path, metadata: dict[str, Any]):
        # A signature is only valid while the loaded object lives.
        self._loaded, self._explain = loaded, loaded.signatures[EXPLAIN]
        self.version, self._metadata = version, metadata

    @classmethod
    def opens(cls, source: str) -> bool:
        """See `Engine.opens`. Not a model folder that has weights: the engine `keras` opens it."""
        return "://" not in source and not bundle.has_weights(source) and version_folder(source) is not None

    @classmethod
    def variants(cls, folder: Path) -> list[str]:
        """See `Engine.variants`. The newest version."""
        version = version_folder(folder)
        return [] if version is None else [str(version)]

    @classmethod
    def label(cls, source: str | Path) -> str:
        """See `Engine.label`."""
        return "SavedModel"

    @classmethod
    def metadata(cls, source: str) -> dict[str, Any]:
        """See `Engine.metadata`."""
        return read_metadata(_version(source))

    @classmethod
    def open(cls, source: str) -> SavedModelEngine:
        """Opens an exported model.

        Args:
            source: str. A version folder, or the folder of versions, of which the newest is opened.

        Returns:
            SavedModelEngine.

        Raises:
            EngineError: if there is none, or it is not by captioner, too new, or damaged.
        """
        version = _version(source)
        metadata = read_metadata(version)
        import_tensorflow("running an exported model")
        import tensorflow as tf

        try:
            _refuse_file_ops(version)
            return cls(tf.saved_model.load(str(version)), version, metadata)
        except EngineError:
            raise
        except Exception as error:  # damage raises exceptions of any kind
            reason = " ".join(str(error).split())[:200]
            raise EngineError(
                f"damaged export {version}: {type(error).__name__}: {reason}; export the model again"
            ) from None

    def predict(self, images: Sequence[bytes], strategy: str | None = None) -> list[Caption]:
        """See `Engine.predict`."""
        exported = self._metadata["strategy"]
        if strategy is not None and str(parse_spec(strategy)) != str(parse_spec(exported)):
            raise EngineError(
                f"{self.version} was exported with the strategy {exported!r} and runs no other, got "
                f"{strategy!r}: export again with strategy={strategy!r}, or load the model folder itself"
            )
        if not images:
            return []
        import tensorflow as tf

        try:
            outputs = self._explain(**{INPUT: tf.constant(list(images), tf.string)})
        except tf.errors.OpError as error:
            reason = " ".join(error.message.split())[:200]
            raise EngineError(f"{self.version} failed when run: {reason}") from None
        return captions_from({name: tensor.numpy() for name, tensor in outputs.items()})

    def describe(self) -> dict[str, Any]:
        """See `Engine.describe`."""
        return {
            "engine": "saved_model",
            "source": str(self.version),
            "strategy": self._metadata["strategy"],
            "model": self._metadata.get("model"),
            "vocabulary": self._metadata.get("vocabulary", {}).get("size"),
            "confidence": self._metadata.get("confidence"),
            "language": self._metadata.get("language"),
        }


def _version(source: str) -> Path:
    version = version_folder(source)
    if version is None:
        raise EngineError(
            f"no exported model in {source}: expected saved_model.pb, or numbered folders that hold one"
        )
    return version


def _refuse_file_ops(version: Path) -> None:
    """Raises an `EngineError` if a graph accesses files: even loading runs a part of it."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    model = SavedModel.FromString((version / GRAPH).read_bytes())
    for meta in model.meta_graphs:
        functions = (node for function in meta.graph_def.library.function for node in function.node_def)
        for node in (*meta.graph_def.node, *functions):
            if _FILE_OPS.fullmatch(node.op):
                raise EngineError(
                    f"{version} has the operation {node.op[:60]}, which touches files or calls Python: captions "
                    "need none, so nothing was loaded; export the model again, or ask whoever made it"
                )
