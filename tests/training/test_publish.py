"""The program that makes a model for others out of a finished run."""

import json
import shutil
import signal
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.support.images import odd_images
from tests.support.models.outcomes import parameters
from tests.support.models.rerankers import fit_all, random_captions
from tests.support.models.tiny_model import TINY_WORDS

pytest.importorskip("ai_edge_litert")

import captioner
from captioner import benchmark, bundle
from captioner.errors import DataError
from captioner.models import ENCODERS
from captioner.signals import Stopped
from training import fit_ood, publish
from training.config import as_dict
from training.data.datasets import DATASETS
from training.data.datasets.example import Example
from training.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("quick")
SAID = {
    "dog.jpg": ("a dog runs", "a red dog"),
    "cat.jpg": ("a cat sits", "the blue cat"),
    "sea.jpg": ("the grass",),
}


class Drawn:
    splits = ("test",)

    def examples(self, split):
        return [
            Example(
                name, captions, lambda i=i: odd_images.encoded(odd_images.drawn(32, 32, turn=60 * i), "PNG")
            )
            for i, (name, captions) in enumerate(SAID.items())
        ]


@pytest.fixture
def run(tiny_bundle, tmp_path, monkeypatch):
    """A finished run, and a benchmark that takes no time."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_bundle, folder / "model")
    (folder / "calibration").mkdir()
    for i in range(16):
        image = odd_images.encoded(odd_images.drawn(32, 32, turn=20 * i), "PNG")
        (folder / "calibration" / f"{i}.png").write_bytes(image)
    (folder / "run.json").write_text(json.dumps(as_dict(RECIPES.build("tiny"))))
    monkeypatch.setattr(DATASETS, "build", lambda spec: Drawn())
    monkeypatch.setattr(
        benchmark,
        "cost",
        lambda source, images, threads, trust: benchmark.Cost(
            source, "x", 1.25, 0.5, 9.0, (0.002, 0.004), 10.0, "a dog"
        ),
    )
    return folder


@pytest.mark.slow
def test_a_run_becomes_a_model_for_others(run, tmp_path, capsys):
    (tmp_path / "notes.md").write_text("## Notes\n\nIt knows dogs.\n")
    folder = tmp_path / "models" / "mine"
    arguments = [str(run), str(folder), "drawn", "--no-official", "--strategy", "beam(width=2, min_length=2)"]
    assert publish.main([*arguments, "--notes", str(tmp_path / "notes.md")]) == 0
    assert "MB in all" in capsys.readouterr().out
    names = {"1", bundle.MANIFEST, bundle.WEIGHTS, bundle.VOCABULARY, bundle.CARD, bundle.METRICS}
    assert {p.name for p in folder.iterdir()} == names | {"model_float16.tflite", "model_int8.tflite"}
    measured = json.loads((folder / bundle.METRICS).read_text())["test"]
    assert list(measured) == [
        "weights, run by Keras",
        "SavedModel",
        "model_float16.tflite",
        "model_int8.tflite",
    ]
    card = bundle.read(folder).card
    assert "- training has changed" not in card  # it began with no weights of others
    assert card.startswith("# mine\n") and card.endswith("## Notes\n\nIt knows dogs.\n")
    for row in measured.values():
        assert row["median"] == 4.0 and row["megabytes"] in (1.2, 1.3) and row["error"] >= 0
        assert f"{row['CIDEr-D']:.1f} ± {row['error']:.1f}" in card
    # Rounded once, when it was saved: all that was exported says the same.
    assert measured["SavedModel"]["BLEU-1"] == measured["weights, run by Keras"]["BLEU-1"]
    image = odd_images.encoded(odd_images.drawn(32, 32), "PNG")
    strategy = "beam(width=2, min_length=2)"
    with captioner.load(folder) as bundled, captioner.load(folder / "1") as exported:
        assert bundled.caption(image, strategy).text == exported.caption(image).text
    # Nothing that is there is touched.
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert publish.main(arguments) == 2
    assert "is there already" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


@pytest.mark.slow
def test_a_model_is_published_with_its_own_strategy(run, tmp_path, monkeypatch):
    """One that a `.tflite` file cannot hold all of; it alone is exported here, as conversions take long."""
    with captioner.load(run / "model") as loaded:
        model = loaded.engine.model
    features = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    model.reranker_parameters |= fit_all(features, random_captions(TINY_WORDS, 40), model.tokenizer)
    model.strategy = "beam(width=4, min_length=2, rerank='cider_regression')"
    captioner.save(model, run / "model", overwrite=True)
    monkeypatch.setattr(
        publish,
        "export",
        lambda run, folder, strategy, trust: captioner.export(folder, ["tflite"], strategy),
    )
    monkeypatch.setattr(
        fit_ood,
        "fit_folder",
        lambda options: f"{bundle.add_file(Path(options.model), bundle.OOD, parameters(12).save)}: fitted",
    )
    folder = tmp_path / "models" / "mine"
    assert publish.main([str(run), str(folder), "drawn", "--no-official", "--ood"]) == 0
    stored = bundle.read(folder)
    assert stored.strategy == model.strategy and "cider_regression" in stored.reranker_parameters
    assert list(stored.metrics["test"]) == ["weights, run by Keras", "model.tflite"]
    plain = "beam(width=4, min_length=2)"
    words = f"choose words by `{model.strategy}`; `.tflite` files, without fitted parameters, by `{plain}`"
    assert f"exports {words}\n" in stored.card
    # Fitted before the export, which holds it too.
    assert "is above 2.50 gets no caption, one above 1.50 a hedged caption" in stored.card
    with captioner.load(folder / "model.tflite") as model:
        assert model.caption(odd_images.encoded(odd_images.drawn(32, 32), "PNG")).outcome is not None


@pytest.mark.parametrize(
    ("error", "code"), [(Stopped(signal.SIGTERM), 143), (KeyboardInterrupt(), 130), (DataError("no disk"), 2)]
)
def test_interrupted_publishing_leaves_nothing(error, code, run, tmp_path, capsys, monkeypatch):
    def stop(*_, **__):
        raise error

    monkeypatch.setattr(publish, "export", stop)
    assert publish.main([str(run), str(tmp_path / "models" / "mine"), "drawn", "--no-official"]) == code
    assert list((tmp_path / "models").iterdir()) == []
    error_line = capsys.readouterr().err
    assert error_line == (
        "publish.py: no disk\n" if code == 2 else "publish.py: stopped; nothing was written\n"
    )


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        ("calibration", "to be a finished run"),
        ("run.json", "to be a finished run"),
        ("model", "no such model"),
    ],
)
def test_unfinished_run_is_refused(run, tmp_path, capsys, lacks, says):
    target = run / lacks
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert publish.main([str(run), str(tmp_path / "mine"), "drawn", "--no-official"]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
    assert not (tmp_path / "mine").exists()


def test_folded_batch_norm_computes_the_same():
    keras.utils.set_random_seed(1)
    network = ENCODERS.build("efficientnet_lite0", image_size=(64, 64)).network
    random = np.random.default_rng(1)
    norms = [x for x in network._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.set_weights([random.uniform(0.5, 1.5, w.shape) for w in norm.get_weights()])
    pixels = random.uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    before = np.asarray(network(pixels))
    publish.fold_batch_norm(network)
    np.testing.assert_allclose(network(pixels), before, rtol=1e-3, atol=1e-4 * np.abs(before).max())
    assert len(norms) > 20 and all(not norm.moving_mean.numpy().any() for norm in norms)
    bare = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(scale=False)])
    kept = bare.get_weights()
    publish.fold_batch_norm(bare)
    assert all(np.array_equal(a, b) for a, b in zip(kept, bare.get_weights(), strict=True))


def test_change_of_the_encoder_is_measured(run, tmp_path, capsys):
    file = tmp_path / "first.weights.h5"
    encoder = ENCODERS.build("small_cnn(width=4, stages=2)", image_size=(16, 16))
    encoder.network.save_weights(file)
    encoder.trainable = False  # as it is loaded

    def change(spec=f"small_cnn(width=4, stages=2, weights={str(file)!r})"):
        (run / "run.json").write_text(json.dumps({"model": {"encoder": spec}}))
        return publish.encoder_change(run, encoder)

    assert change() == (
        "training has changed 0 of the 9 tensors of the encoder, and its features of 16 training images by 0 % of "
        "their norm"
    )
    trained = [weight for weight in encoder.network.weights if "moving" not in weight.path]
    for weight in trained[-2:]:  # scale and shift at the end: features twice as large
        weight.assign(2 * weight + (weight is trained[-1]) * 1e-6)
    assert "changed 2 of the 9 tensors" in change() and "by 100 % of" in change()
    file.unlink()
    assert change() is None
    assert "does not exist" in capsys.readouterr().out
    assert change("small_cnn(width=4)") is None
