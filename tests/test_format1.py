"""Files of format 1 that name the strategy `consensus`: they load, and give the same captions."""

import json
import shutil

import pytest

import captioner
from captioner import bundle, format1
from captioner.decoding import STRATEGIES
from captioner.engines import versions
from captioner.engines.tflite_file import pack, read
from captioner.errors import EngineError, SpecError
from captioner.text import Tokenizer

OLD, NEW = (
    "consensus(width=4, sharpness=0.5)",
    "beam(width=4, length_penalty=0.0, rerank='mbr(temperature=2.0)')",
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("beam(width=3)", "beam(width=3)"),
        ("consensus", "beam(width=10, length_penalty=0.0, rerank='mbr')"),
        (OLD, NEW),
        (
            "consensus(sharpness=0)",
            "beam(width=10, length_penalty=0.0, rerank='mbr(temperature=1000000000.0)')",
        ),
        (
            "consensus(n_best=2, evidence='picture', min_length=3)",
            "beam(width=10, length_penalty=0.0, n_best=2, min_length=3, rerank='cider_regression')",
        ),
        (
            "consensus(width=20, evidence='picture', fluency=0.1, sharpness=1)",
            "beam(width=20, length_penalty=0.0, rerank='cider_regression(logp_weight=0.1)')",
        ),
    ],
)
def test_the_old_spec_becomes_the_new_one(old, new):
    assert format1.strategy(old) == new
    built = STRATEGIES.build(new)
    assert (built.reranker is None) == (old == new)


def test_an_option_out_of_range_is_one_line():
    with pytest.raises(SpecError, match="sharpness expects a number from 0 to 1000, got -1"):
        format1.strategy("consensus(sharpness=-1)")


def test_the_strategy_itself_is_gone():
    with pytest.raises(SpecError, match="unknown strategy 'consensus'"):
        STRATEGIES.build("consensus")


def test_a_folder_that_was_exported_with_it_loads(tiny_bundle, tmp_path):
    folder = shutil.copytree(tiny_bundle, tmp_path / "model")
    entry = {"strategy": OLD, "max_length": 7, "n_best": 1, "captioner": "0.1.0"}
    bundle.amend(folder, lambda manifest: {**manifest, "exports": {"1": entry}})
    captioner.load(folder).close()


def test_a_tflite_file_gets_the_new_name(tmp_path):
    sizes = {"max_length": 7, "image_size": [32, 32], "grid": [4, 4]}
    metadata = {"format": 1, "strategy": OLD, **sizes, "signatures": [], "memory": [], "state": []}
    path = tmp_path / "model.tflite"
    path.write_bytes(pack(b"1234TFL3", metadata, Tokenizer(["a"])))
    assert read(path).metadata["strategy"] == NEW
    path.write_bytes(
        pack(b"1234TFL3", {**metadata, "strategy": "consensus(sharpness='x')"}, Tokenizer(["a"]))
    )
    with pytest.raises(EngineError, match="damaged .*strategy: sharpness expects a number") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_an_exported_version_gets_the_new_name(tmp_path):
    metadata = {"format": 1, "strategy": OLD, "max_length": 7, "image_size": [32, 32], "grid": [4, 4]}
    (tmp_path / versions.METADATA_FILE).parent.mkdir()
    (tmp_path / versions.METADATA_FILE).write_text(json.dumps(metadata))
    assert versions.read_metadata(tmp_path) == {**metadata, "strategy": NEW}
