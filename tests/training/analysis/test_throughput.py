"""The throughput benchmark: its count of useful operations against TensorFlow's own graph, and one tiny run."""

import json

import numpy as np
import pytest
import tensorflow as tf

from captioner.models.packing import pack
from tests.support.models.small_models import CHANNELS, LOCATIONS, SPECS, features_of, model_of, short
from training import analyze
from training.analysis import throughput

CAPTIONS = [[5, 6, 7, 8, 2], [8, 9, 4, 4, 2], [19, 18, 17, 16, 2], [3, 3, 11, 5, 2]]
PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "Einsum")
BESIDE = "concat(encoders=['small_cnn(stages=5)', \"mobilenet(alpha=0.25, weights='absent.h5')\"])"


def products_in_graph(model):
    """Multiply-adds of every matrix product in the graph of a batch that packs without a gap."""
    packed = pack(CAPTIONS, [0, 0, 1, 1], batch=2, group=2)
    inputs = {"features": features_of(2), **packed.as_inputs()}
    graph = tf.function(lambda: model(inputs)).get_concrete_function().graph
    count = 0
    for op in graph.get_operations():
        assert op.type not in ("Einsum", "Conv2D", "While", "StatefulPartitionedCall"), op
        if op.type in PRODUCTS:
            first = op.inputs[0].shape.as_list()
            flipped = op.get_attr("transpose_a") if op.type == "MatMul" else op.get_attr("adj_x")
            count += int(np.prod(op.outputs[0].shape.as_list())) * first[-2 if flipped else -1]
    return count


@pytest.mark.parametrize("spec", SPECS, ids=short)
def test_the_count_is_that_of_the_graph(spec):
    model = model_of(spec)
    total, without_gradient = throughput.multiply_adds(model, 2, [len(c) for c in CAPTIONS])
    attention = getattr(model.decoder, "attention", None)
    twice = 0
    if spec.startswith("adaptive") and not spec.count("multi_head") and hasattr(attention, "query"):
        # The query is projected once for the places and once more for the sentinel; once is useful.
        twice = int(np.prod(attention.query.kernel.shape)) * sum(map(len, CAPTIONS))
    assert products_in_graph(model) == total + twice
    assert without_gradient == 2 * LOCATIONS * CHANNELS * 12 * len(getattr(model.decoder, "members", "1"))
    assert throughput.training_operations(model, 2, [5] * 4) == 2 * (3 * total - without_gradient)


def test_captions_are_as_long_as_those_of_flickr8k():
    lengths = np.array([len(c) for visit in throughput.captions_like_flickr8k(4000, 5, 100) for c in visit])
    assert abs(lengths.mean() - 11.8) < 0.15 and abs(lengths.std() - 3.8) < 0.2
    assert (lengths.min(), lengths.max()) == (4, 22)


@pytest.mark.parametrize("encoder", ["small_cnn(width=4)", BESIDE])
def test_a_tiny_benchmark_reads_no_weights(encoder, capsys, monkeypatch):
    monkeypatch.setattr(throughput, "WORDS", 30)
    monkeypatch.setattr(throughput, "IMAGES", 40)
    monkeypatch.setattr(throughput, "PRODUCT", 64)
    small = [f"model.encoder={encoder}", "model.image_size=32", "xe.batch_images=4"]
    small = [part for change in small for part in ("--set", change)]
    name = "show_and_tell(units=8, embedding=8, value_dim=8)"
    assert analyze.main(["throughput", name, *small, "--iterations", "2", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == row["decoder"] == name and row["steps"] == 2 and row["batch"] == 20
    assert row["share"] > 0 and 0 < row["captions_per_second"] <= row["captions_per_second_best"]
    assert name in throughput.table([row])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["flickr8k_lsmt"], "did you mean"),
        (["tiny"], "train_encoder=false"),
        (["flickr8k_lstm", "--iterations", "0"], "--iterations"),
        (["flickr8k_lstm", "--set", "xe.batch=3"], "xe.batch"),
    ],
)
def test_errors_are_one_line(arguments, words, capsys):
    assert analyze.main(["throughput", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
