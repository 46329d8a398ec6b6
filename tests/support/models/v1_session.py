"""Runs an exported folder as TensorFlow Serving does: with the V1 loader and a session."""

from __future__ import annotations

import contextlib

import numpy as np
import tensorflow as tf


@contextlib.contextmanager
def session_of(folder):
    """Yields `run(signature, files)`, which returns a dict of arrays, and the loaded MetaGraphDef."""
    # Not as a context manager: that would make its graph the default graph.
    session = tf.compat.v1.Session(graph=tf.Graph())
    meta = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))

    def run(name, files):
        signature = meta.signature_def[name]
        image_bytes = np.array(list(files), object)
        fetches = {key: info.name for key, info in signature.outputs.items()}
        return session.run(fetches, {signature.inputs["image_bytes"].name: image_bytes})

    yield run, meta
    session.close()


def ops_of(meta):
    """The names of all ops, including those of functions."""
    graph = meta.graph_def
    return {n.op for n in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
