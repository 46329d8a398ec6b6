"""Descriptions of models, from the metrics in their folders."""

import json
import re

import pytest

pytest.importorskip("grpc")
pytest.importorskip("starlette")
from serving.webui.about import About, about, good_for


def test_descriptions_of_models(server, tmp_path):
    exported, without_attention = server.get("/page/models").json()["models"]
    assert exported["description"].startswith("For servers: the export that TensorFlow Serving runs.")
    assert "CIDEr" not in exported["description"] and re.search(r"\d\.\d MB\.$", exported["description"])
    assert without_attention["description"].startswith("For development: the trained weights, run by Keras.")
    (tmp_path / "a.tflite").write_bytes(bytes(2_100_000))
    (tmp_path / "b.tflite").write_bytes(bytes(1_000_000))
    rows = {
        "a.tflite": {"megabytes": 2.1, "CIDEr-D": 51.23, "median": 9.5},
        "b.tflite": {"megabytes": 1.0, "CIDEr-D": 50.0, "median": 12},
    }
    (tmp_path / "metrics.json").write_text(json.dumps({"test": rows}))
    both = [about(tmp_path / "a.tflite"), about(str(tmp_path / "b.tflite"))]
    lead = "For phones and small computers: needs no TensorFlow."
    assert good_for(both) == [
        f"{lead} The fastest here. 2.1 MB; CIDEr-D 51.2 on test images; 9.5 ms per image.",
        f"{lead} The smallest here. 1.0 MB; CIDEr-D 50.0 on test images; 12 ms per image.",
    ]
    assert good_for(both[:1]) == [f"{lead} 2.1 MB; CIDEr-D 51.2 on test images; 9.5 ms per image."]
    # Times of another machine, or none, are not compared.
    assert "fastest" not in " ".join(good_for([*both, About("grpc")]))
    (tmp_path / "a.tflite").write_bytes(
        bytes(2_500_000)
    )  # exported again: the metrics are those of another file
    assert good_for([about(tmp_path / "a.tflite")]) == [f"{lead} 2.5 MB."]
    for text in ("{", "[]", '{"test": 5}', '{"test": {"b.tflite": {"megabytes": "x", "median": NaN}}}'):
        (tmp_path / "metrics.json").write_text(text)
        assert about(tmp_path / "b.tflite") == About("tflite", 1.0)
