"""Version folders: writing the next one, finding the newest, and their metadata."""

import json
import re
import shutil
import threading
from pathlib import Path

import pytest

import captioner
from captioner.engines import engine_for
from captioner.engines.versions import read_metadata, version_folder, versions
from captioner.errors import BundleError, EngineError, ModelError
from captioner.exporting import versions as exporting_versions


def filled(folder):
    (folder / "saved_model.pb").write_bytes(b"graph")


def test_versions_count_up_and_none_is_overwritten(tmp_path):
    folder = tmp_path / "new" / "model"
    assert exporting_versions.write_version(folder, filled) == folder / "1"
    assert exporting_versions.write_version(folder, filled).name == "2"
    (folder / "7").mkdir()
    (folder / "0009").mkdir()
    (folder / "notes").write_text("mine")
    assert exporting_versions.write_version(folder, filled).name == "10"
    assert sorted(p.name for p in folder.iterdir()) == ["0009", "1", "10", "2", "7", "notes"]


@pytest.mark.parametrize(
    "fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), ModelError("no")]
)
def test_nothing_half_written_stays(tmp_path, fault):
    def fill(folder):
        filled(folder)
        (folder / "variables").mkdir()
        assert not versions(folder.parent)
        raise fault

    kept = tmp_path / "there"
    kept.mkdir()
    for folder in (kept, tmp_path / "new"):
        with pytest.raises(BundleError if isinstance(fault, OSError) else type(fault)) as error:
            exporting_versions.write_version(folder, fill)
        if isinstance(fault, OSError):
            assert str(error.value) == f"cannot write the export to {folder}: No space left on device"
    assert [p.name for p in tmp_path.iterdir()] == ["there"] and not list(kept.iterdir())


def test_concurrent_exports_get_different_numbers(tmp_path):
    gate, made = threading.Barrier(4), []

    def fill(folder):
        filled(folder)
        gate.wait()

    threads = [
        threading.Thread(target=lambda: made.append(exporting_versions.write_version(tmp_path, fill)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.name for p in made) == ["1", "2", "3", "4"] == sorted(p.name for p in tmp_path.iterdir())


def test_a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "model").write_text("not a folder")
    with pytest.raises(BundleError, match="cannot write the export to .*model: "):
        exporting_versions.write_version(tmp_path / "model", filled)


def test_the_newest_version_with_a_graph_counts(tmp_path):
    assert version_folder(tmp_path) is None and engine_for(str(tmp_path / "nowhere")) == "keras"
    for name in ("2", "10", "11", "next"):
        (tmp_path / name).mkdir()
    for name in ("2", "10", "next"):
        filled(tmp_path / name)
    assert version_folder(tmp_path) == tmp_path / "10"
    assert version_folder(tmp_path / "2") == tmp_path / "2"
    assert engine_for(str(tmp_path)) == "saved_model"
    (tmp_path / "model.weights.h5").write_bytes(b"")
    assert engine_for(str(tmp_path)) == "keras"
    assert engine_for(str(tmp_path / "2")) == "saved_model"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "was not exported by captioner"),
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"format": 1}', "damaged"),
        ('{"format": 99, "captioner": "9.0", "strategy": "greedy"}', "by a newer captioner (9.0, format 99)"),
    ],
)
def test_foreign_metadata_is_one_line(tmp_path, text, message):
    (tmp_path / "assets.extra").mkdir()
    if text is not None:
        (tmp_path / "assets.extra/captioner.json").write_text(text)
    with pytest.raises(EngineError, match=re.escape(message)) as error:
        read_metadata(tmp_path)
    assert "\n" not in str(error.value)


def test_a_recorded_export_keeps_the_bundle(tmp_path, tiny_bundle):
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_bundle, folder)
    (folder / "3").mkdir()
    exporting_versions.record_export(folder, folder / "3", {"strategy": "greedy"})
    (folder / "4").mkdir()
    exporting_versions.record_export(folder, folder / "4", {"strategy": "beam"})
    (folder / "3").rmdir()
    exporting_versions.record_export(folder, folder / "4", {"strategy": "sample"})
    stored_metadata = json.loads((folder / "captioner.json").read_text())
    assert stored_metadata["exports"] == {"4": {"strategy": "sample"}}
    assert captioner.bundle.read(folder).config == captioner.bundle.read(tiny_bundle).config
    exporting_versions.record_export(tmp_path, tmp_path / "1", {})  # no bundle, nothing to note it in
    assert [p.name for p in Path(tmp_path).iterdir()] == ["tiny"]
