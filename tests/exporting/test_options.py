"""Wrong options and models that are not exported."""

import re

import numpy as np
import pytest
import tensorflow as tf

import captioner
from captioner.errors import BundleError, ModelError, SpecError
from captioner.exporting import TARGETS, saved_model
from tests.support.models.tiny_model import build_tiny_model


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": ["saved_modle"]}, "did you mean 'saved_model'"),
        ({"to": ["saved_model(batch=1)"]}, "unknown option of export target 'saved_model': 'batch'"),
        ({"to": "saved_model(batch_sizes=())"}, "batch_sizes expects numbers"),
        (
            {"to": "saved_model(batch_sizes=(0, 1))"},
            "batch_sizes expects a whole number of at least 1, got 0",
        ),
        ({"to": "saved_model(max_pixels=0.5)"}, "max_pixels expects a whole number of at least 1, got 0.5"),
        ({"to": "saved_model(model=1)"}, "unknown option"),
        ({"strategy": "beem"}, "unknown strategy 'beem'"),
        ({"strategy": "beam(width=0)"}, "width expects"),
        ({"max_length": 8}, "max_length expects at most the model's own 7, got 8"),
        ({"max_length": 1}, "max_length expects a whole number of at least 2"),
    ],
)
def test_wrong_options_are_one_line_and_write_nothing(tiny_bundle, tmp_path, options, words):
    with pytest.raises(SpecError, match=re.escape(words)) as error:
        captioner.export(tiny_bundle, output_dir=tmp_path / "out", **options)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_weights_that_are_no_numbers_are_not_published(tmp_path):
    model = build_tiny_model()
    model.decoder.weights[0].assign(model.decoder.weights[0] * np.nan)
    with pytest.raises(ModelError, match="finite weights"):
        saved_model.write(model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(BundleError, match="no such model folder"):
        captioner.export(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


def test_only_finite_numbers_come_out():
    odd = tf.constant([[np.nan, 1.0], [np.inf, -np.inf], [5.0, 6.0]])
    masked = saved_model.Served._masked(odd, tf.constant([True, True, False])).numpy()
    assert masked.tolist() == [[-1e9, 1.0], [-1e9, -1e9], [0.0, 0.0]]
    text = saved_model.Served._masked(tf.constant(["a", "b"]), tf.constant([False, True]))
    assert text.numpy().tolist() == [b"", b"b"]


def test_the_table_says_what_each_target_is():
    assert all(line for line in TARGETS.describe().values())
