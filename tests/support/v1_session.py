"""Running an exported folder on the road that TensorFlow Serving takes: the V1 loader and a session."""

from __future__ import annotations

import contextlib

import numpy as np
import tensorflow as tf


@contextlib.contextmanager
def session_of(folder):
    """Yields `run(signature, files)` to a dict of arrays, and the loaded MetaGraphDef."""
    # Not as a context: that would make its graph everybody's default.
    session = tf.compat.v1.Session(graph=tf.Graph())
    meta = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))

    def run(name, files):
        signature = meta.signature_def[name]
        given = np.array(list(files), object)
        fetches = {key: info.name for key, info in signature.outputs.items()}
        return session.run(fetches, {signature.inputs["image_bytes"].name: given})

    yield run, meta
    session.close()


def ops_of(meta):
    """The names of all ops, those of inner functions too."""
    graph = meta.graph_def
    return {n.op for n in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
