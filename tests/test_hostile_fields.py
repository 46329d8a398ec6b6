"""Hostile values in every field of model files: a caption or one line of error, and no command runs.

Each field of each format is replaced by specs that would run a command, and by values that no writer writes.
"""

import json
import shutil

import pytest

import captioner
from captioner import bundle, metadata
from captioner.engines import versions
from captioner.engines.keras import KerasEngine
from captioner.engines.tflite import TFLiteEngine
from captioner.errors import BundleError, EngineError
from tests.support.hostile_files import (
    CALIBRATION,
    COMMAND,
    MARKER,
    SPECS,
    VALUES,
    changed,
    folder_with,
    metadata_of,
    paths,
    rewritten,
    survives,
)
from tests.support.images import odd_images

pytestmark = pytest.mark.usefixtures("quick", "no_commands")


@pytest.mark.parametrize("spec", SPECS)
def test_specs_in_fields_of_a_bundle(small_bundle, tmp_path, spec):
    for name in ("captioner.json", "confidence.json", "metrics.json"):
        content = json.loads((small_bundle / name).read_text())
        for path in paths(content):
            folder = folder_with(small_bundle, tmp_path, name, changed(content, path, spec))
            if survives(lambda: bundle.read(folder)):  # noqa: B023
                built = path[0] == "model"
                assert not (built and survives(lambda: KerasEngine.open(str(folder))))  # noqa: B023
            assert not list(tmp_path.rglob(MARKER)), (name, path)


@pytest.mark.parametrize("name", ["captioner.json", "confidence.json", "metrics.json"])
def test_odd_values_in_fields_of_a_bundle(small_bundle, tmp_path, name):
    content = json.loads((small_bundle / name).read_text())
    for path in paths(content):
        for value in VALUES:
            folder = folder_with(small_bundle, tmp_path, name, changed(content, path, value))
            if survives(lambda: bundle.read(folder)):  # noqa: B023
                model = bundle.read(folder)
                assert model.config["image_size"] == [8, 8] or path[0] != "model", (path, value)
                assert model.config.get("max_length", 4) == 4, (path, value)


@pytest.mark.parametrize("spec", SPECS)
def test_specs_in_fields_of_a_tflite_file(small_exports, tmp_path, spec):
    entries = metadata_of(small_exports["tflite"])
    for path in paths(entries):
        file = rewritten(small_exports["tflite"], tmp_path / "x.tflite", changed(entries, path, spec))
        image = odd_images.encoded(odd_images.drawn(8, 8), "PNG")
        worked = survives(lambda: TFLiteEngine.open(str(file)).predict([image]))  # noqa: B023
        assert not (worked and path == ("strategy",))
        assert not list(tmp_path.rglob(MARKER)), path


def test_odd_values_in_fields_of_a_tflite_file(small_exports, tmp_path):
    entries = metadata_of(small_exports["tflite"])
    image = odd_images.encoded(odd_images.drawn(8, 8), "PNG")
    for path in paths(entries):
        if path[0] == "model" and len(path) > 1:
            continue  # shown, never built
        for value in VALUES:
            file = rewritten(small_exports["tflite"], tmp_path / "x.tflite", changed(entries, path, value))
            survives(lambda: TFLiteEngine.open(str(file), threads=1).predict([image]))  # noqa: B023
    for name in entries:
        less = {key: value for key, value in entries.items() if key != name}
        file = rewritten(small_exports["tflite"], tmp_path / "x.tflite", less)
        survives(lambda: TFLiteEngine.open(str(file)))  # noqa: B023


def test_hostile_fields_of_an_exported_version(small_exports, tmp_path):
    version = tmp_path / "1"
    shutil.copytree(small_exports["saved_model"], version)
    entries = json.loads((version / versions.METADATA_FILE).read_text()) | {"confidence": CALIBRATION}
    for path in paths(entries):
        for value in [*SPECS, *VALUES]:
            (version / versions.METADATA_FILE).write_text(json.dumps(changed(entries, path, value)))
            survives(lambda: versions.read_metadata(version))
    # The graph contains its strategy: the entry is only shown, and nothing is built from it.
    (version / versions.METADATA_FILE).write_text(json.dumps({**entries, "strategy": COMMAND}))
    with captioner.load(version) as model:
        assert model.engine.describe()["strategy"] == COMMAND
        assert model.caption(odd_images.encoded(odd_images.drawn(8, 8), "PNG")).ok
    (version / versions.METADATA_FILE).write_text(json.dumps({**entries, "image_size": [10**9, 1]}))
    with pytest.raises(EngineError, match="damaged .*image_size: expected a whole number from 1 to 4096"):
        captioner.load(version)


@pytest.mark.parametrize(
    "text", [b'{"a": ' * 100_000, b"[" * 100_000, b'{"format": 1, "x": NaN}', b"\xff", b"{", b"7"]
)
def test_invalid_json_in_every_file(small_bundle, small_exports, tmp_path, text):
    for name in ("captioner.json", "confidence.json", "metrics.json"):
        folder = folder_with(small_bundle, tmp_path, name, text)
        assert not survives(lambda: bundle.read(folder))  # noqa: B023
    file = rewritten(small_exports["tflite"], tmp_path / "x.tflite", text)
    assert not survives(lambda: TFLiteEngine.open(str(file)))
    version = tmp_path / "1" / versions.METADATA_FILE
    version.parent.mkdir(parents=True)
    version.write_bytes(text)
    assert not survives(lambda: versions.read_metadata(tmp_path / "1"))


def test_archives_with_huge_members(small_exports, small_bundle, tmp_path, monkeypatch):
    entries = metadata_of(small_exports["tflite"])
    big = json.dumps({**entries, "padding": " " * (metadata.MOST_BYTES + 1)}).encode()
    file = rewritten(small_exports["tflite"], tmp_path / "x.tflite", big)
    assert file.stat().st_size < small_exports["tflite"].stat().st_size + 10**5
    with pytest.raises(EngineError, match="at most"):
        captioner.load(file)
    monkeypatch.setattr(metadata, "MOST_WORDS_BYTES", 4)
    with pytest.raises(EngineError, match="vocab.txt of at most 4 bytes"):
        captioner.load(small_exports["tflite"])
    with pytest.raises(BundleError, match="vocab.txt: expected at most 4 bytes"):
        captioner.load(small_bundle)
