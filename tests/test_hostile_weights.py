"""Hostile weights and arrays: external files, false shapes, pickles, numbers that are not finite."""

import hashlib
import json
import pickle

import h5py
import numpy as np
import pytest

import captioner
from captioner import bundle
from captioner.errors import BundleError, ModelError
from tests.support.hostile_files import MARKER, folder_with
from tests.support.images import odd_images

pytestmark = pytest.mark.usefixtures("quick", "no_commands")


class Danger:
    """Unpickled, it runs a command."""

    def __reduce__(self):
        import os

        return os.system, (f"touch {MARKER}",)


def test_weights_named_by_a_spec_are_not_read(small_bundle, tmp_path):
    content = json.loads((small_bundle / "captioner.json").read_text())
    content["model"]["encoder"] = "small_cnn(width=2, stages=2, weights='/nowhere/secret.h5')"
    with captioner.load(folder_with(small_bundle, tmp_path, "captioner.json", content)) as model:
        assert model.caption(odd_images.encoded(odd_images.drawn(8, 8), "PNG")).ok


def with_weights(small_bundle, tmp_path, change):
    """The folder with other weights, whose checksum is right."""
    folder = folder_with(small_bundle, tmp_path, "card.md", b"")
    path = folder / "model.weights.h5"
    with h5py.File(path, "a") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        change(file, names[0])
    content = json.loads((folder / "captioner.json").read_text())
    content["sha256"]["model.weights.h5"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "captioner.json").write_text(json.dumps(content))
    return folder


def replaced(make):
    def change(file, name):
        shape = file[name].shape
        del file[name]
        make(file, name, shape)

    return change


def _set(file, name, value):
    file[name] = value


HOSTILE_WEIGHTS = {
    "external link": replaced(lambda f, n, s: _set(f, n, h5py.ExternalLink("/etc/other.h5", "/x"))),
    "soft link": replaced(lambda f, n, s: _set(f, n, h5py.SoftLink("/decoder"))),
    "external data": replaced(
        lambda f, n, s: f.create_dataset(n, s, "float32", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
    ),
    "virtual": replaced(lambda f, n, s: f.create_virtual_dataset(n, _layout(s))),
    "claims": replaced(lambda f, n, s: f.create_dataset(n, (10**6, 10**6), "float32", chunks=(10, 10))),
    "text": replaced(lambda f, n, s: f.create_dataset(n, data=[b"x" * 8], dtype=h5py.string_dtype())),
    "references": replaced(lambda f, n, s: f.create_dataset(n, data=[f.ref], dtype=h5py.ref_dtype)),
    "shape": replaced(lambda f, n, s: f.create_dataset(n, data=np.zeros((3, 1, 4, 1, 5)))),
    "missing": replaced(lambda f, n, s: None),
    "NaN": lambda f, n: f[n].write_direct(np.full(f[n].shape, np.nan, "float32")),
    "infinity": lambda f, n: f[n].write_direct(np.full(f[n].shape, np.inf, "float32")),
}


def _layout(shape):
    layout = h5py.VirtualLayout(shape, "float32")
    layout[...] = h5py.VirtualSource("/etc/other.h5", "x", shape)
    return layout


@pytest.mark.parametrize("name", HOSTILE_WEIGHTS)
def test_weights_are_finite_numbers_in_one_file(small_bundle, tmp_path, name):
    folder = with_weights(small_bundle, tmp_path, HOSTILE_WEIGHTS[name])
    with pytest.raises(ModelError) as error:
        captioner.load(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    messages = {"NaN": "finite", "infinity": "finite", "shape": "does not fit", "missing": "does not fit"}
    assert messages.get(name, "damaged") in str(error.value)


def test_deeply_nested_groups_of_weights(small_bundle, tmp_path):
    folder = with_weights(small_bundle, tmp_path, lambda f, n: f.create_group("/".join("abc" * 200)))
    with pytest.raises(ModelError, match="nested too deeply"):
        captioner.load(folder)


def test_parameters_of_rerankers_are_never_unpickled(small_bundle, tmp_path):
    fine = {
        "keys": np.arange(2, dtype=np.int32), "idf": np.ones(2, np.float32), "mean": np.ones(2, np.float32),
        "vectors": np.ones((2, 3), np.float16), "centre": np.ones(4, np.float32),
        "project": np.ones((4, 3), np.float32), "pictures": np.array(9, np.int32),
        "vocabulary": np.array(bundle.read(small_bundle).tokenizer.fingerprint),
    }  # fmt: skip
    folder = folder_with(small_bundle, tmp_path, "card.md", b"")

    def load(save=np.savez, **arrays):
        save(folder / "expectation.npz", **{**fine, **arrays})
        captioner.load(folder).close()

    load()
    with np.errstate(all="ignore"):
        wrong = {
            "object": {"idf": np.array([Danger(), 1.0], dtype=object)},
            "nan": {"idf": np.array([np.nan, 1], np.float32)},
            "text": {"mean": np.array(["a", "b"])},
            "shape": {"project": np.ones((4, 2), np.float32)},
            "size": {"pictures": np.array([1, 2])},
            "zero": {"pictures": np.array(0)},
        }
    for arrays in wrong.values():
        with pytest.raises(BundleError, match="damaged .*expectation.npz"):
            load(**arrays)
    with pytest.raises(BundleError, match="damaged"):  # zeros are a thousand times larger unpacked
        load(np.savez_compressed)
    for data in (pickle.dumps(Danger()), b"", b"PK"):
        (folder / "expectation.npz").write_bytes(data)
        with pytest.raises(BundleError, match="damaged"):
            captioner.load(folder)
