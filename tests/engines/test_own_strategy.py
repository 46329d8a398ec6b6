"""A model's own strategy: what engines, exports and programs use where nobody asks for one."""

import json
import logging
import shutil

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

import captioner
from captioner import bundle, metadata
from captioner.cli import main
from captioner.engines.base import DEFAULT_STRATEGY
from captioner.engines.keras import KerasEngine
from captioner.engines.tflite import TFLiteEngine
from captioner.errors import ModelError, SpecError
from captioner.exporting import tflite
from tests.support.hostile_files import COMMAND, INNER, MARKER
from tests.support.models.rerankers import fit_all, random_captions
from tests.support.models.tiny_model import TINY_WORDS, build_tiny_model

pytestmark = pytest.mark.usefixtures("quick")
OWN = "beam(width=6, min_length=3, rerank='cider_regression')"
WITHOUT_RERANKER = "beam(width=6, min_length=3)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a model with a strategy of its own, which needs fitted parameters. Tests that change it copy it."""
    model = build_tiny_model()
    features = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    model.reranker_parameters |= fit_all(features, random_captions(TINY_WORDS, 40), model.tokenizer)
    model.strategy = OWN
    return captioner.save(model, tmp_path_factory.mktemp("models") / "own")


@pytest.fixture(scope="module")
def expected(folder, images):
    with captioner.load(folder) as model:
        return [model.caption(image, OWN) for image in images[:3]]


def changed(folder, tmp_path, strategy):
    copy = shutil.copytree(folder, tmp_path / "copy")
    manifest = json.loads((copy / bundle.MANIFEST).read_text())
    (copy / bundle.MANIFEST).write_text(json.dumps({**manifest, "strategy": strategy}))
    return copy


def close(caption, other):
    return caption.words == other.words and np.isclose(caption.score, other.score, atol=1e-4)


def test_keras_uses_the_strategy_of_the_folder(folder, expected, images):
    assert bundle.read(folder).format == bundle.FORMAT == 2
    with captioner.load(folder) as model:
        assert model.engine.describe()["strategy"] == OWN
        default = [model.caption(image) for image in images[:3]]
        library = [model.caption(image, DEFAULT_STRATEGY) for image in images[:3]]
    assert [c.words for c in default] == [c.words for c in expected]
    assert [c.words for c in default] != [c.words for c in library]  # so that the test can fail


def test_saving_again_keeps_strategy_and_parameters(folder, tmp_path):
    with captioner.load(folder) as model:
        again = captioner.save(model.engine.model, tmp_path / "again")
    stored = bundle.read(again)
    assert stored.strategy == OWN and list(stored.reranker_parameters) == ["cider_regression"]


@pytest.mark.slow
def test_a_saved_model_gets_it(folder, expected, images, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "captioner"):
        version = captioner.export(folder, output_dir=tmp_path)["saved_model"]
    assert not caplog.records
    with captioner.load(version) as model:
        assert model.engine.describe()["strategy"] == OWN
        assert all(
            close(model.caption(image), other) for image, other in zip(images[:3], expected, strict=True)
        )


def test_a_tflite_file_gets_it_without_the_reranker(folder, tmp_path, images, capsys):
    assert main(["export", str(folder), "--to", "tflite", "--output-dir", str(tmp_path), "--quiet"]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("captioner: ")]
    assert notes == [
        f"captioner: the file cannot hold the fitted parameters that the model's strategy {OWN} needs: it gets "
        f"{WITHOUT_RERANKER} instead"
    ]
    with captioner.load(tmp_path / "model.tflite") as model, captioner.load(folder) as weights:
        assert model.engine.describe()["strategy"] == WITHOUT_RERANKER
        image = images[0][:32, :32]  # nothing to resize, where the two engines differ
        assert close(model.caption(image), weights.caption(image, WITHOUT_RERANKER))


def test_a_tflite_file_refuses_it_if_asked_for(folder, tmp_path):
    with pytest.raises(SpecError, match=r"a \.tflite file cannot hold the fitted parameters"):
        captioner.export(folder, ["tflite"], OWN, output_dir=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("strategy", ["beam(width=5, rerank='mbr')", "greedy(min_length=2)", ""])
def test_a_tflite_file_gets_all_else_unchanged(strategy, tmp_path, monkeypatch, caplog):
    """Read from the arguments of the first function that a converted file is made of."""

    def stop(model, strategy, max_length):
        raise InterruptedError(strategy)

    monkeypatch.setattr(tflite, "_TFLiteModule", stop)
    model = build_tiny_model()
    model.strategy = strategy
    with pytest.raises(InterruptedError) as stopped, caplog.at_level(logging.WARNING, "captioner"):
        tflite.write(model, tmp_path)
    assert str(stopped.value) == (strategy or DEFAULT_STRATEGY) and not caplog.records


def test_a_tflite_engine_has_the_strategy_of_a_small_model(small_exports):
    assert TFLiteEngine.open(str(small_exports["tflite"])).describe()["strategy"] == DEFAULT_STRATEGY


def test_programs_use_and_show_it(folder, expected, images, tmp_path, capsys):
    import PIL.Image

    PIL.Image.fromarray(images[0]).save(tmp_path / "photo.png")
    assert main(["caption", str(tmp_path / "photo.png"), "--model", str(folder)]) == 0
    assert capsys.readouterr().out == f"{expected[0].text}\n"
    assert main(["show", str(folder)]) == 0
    assert f"strategy     {OWN}\n" in capsys.readouterr().out
    assert main(["show", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["strategy"] == OWN


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        (COMMAND, "names Python code, and comes from a file"),
        ("evil_parts:run(units=4)", "names Python code"),
        ("beam(rerank='evil_parts:run')", "names Python code"),
        (f"beam(width=4, rerank='{INNER}')", "names Python code"),
        ("beem", "unknown strategy 'beem' .did you mean 'beam'"),
        ("beam(width=0)", "width expects"),
        ("beam(wide=3)", "unknown option of strategy 'beam': 'wide'"),
        ("beam(rerank=7)", "expected a spec"),
        ("beam(width=15)", "width expects at most the 14 words of the vocabulary, got 15"),
        ("sample(n=2000)", "expected a strategy with at most 1000 beams"),
        ("beam(banned=7)", "banned expects"),
        ("diverse(groups='x')", "groups expects"),
    ],
)
@pytest.mark.usefixtures("no_commands")
def test_hostile_strategies_are_one_line(folder, tmp_path, strategy, reason):
    copy = changed(folder, tmp_path, strategy)
    with pytest.raises(ModelError, match=f"cannot run the strategy that it names: .*{reason}") as error:
        KerasEngine.open(str(copy))
    assert "\n" not in str(error.value) and len(str(error.value)) < 700
    with pytest.raises(ModelError):
        captioner.export(copy, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.rglob(MARKER))


def test_missing_parameters_are_one_line(folder, tmp_path, images):
    copy = changed(folder, tmp_path, OWN)
    (copy / bundle.RERANKER_FILES["cider_regression"]).unlink()
    with captioner.load(copy) as model:  # other strategies run
        assert model.caption(images[0], WITHOUT_RERANKER).words
        with pytest.raises(SpecError, match=r"parameters fitted for it, got one without") as error:
            model.caption(images[0])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        (OWN, "run training/fit_cider_regression.py"),
        ("beam(width=40)", "width expects at most the 14 words"),
        ("beem", "unknown strategy 'beem'"),
    ],
)
def test_a_model_that_cannot_run_its_strategy_is_not_saved(strategy, reason, tmp_path):
    model = build_tiny_model()
    model.strategy = strategy
    with pytest.raises(SpecError, match=reason):
        captioner.save(model, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_metadata_of_a_folder_without_one():
    assert metadata.own_strategy({}, "captioner.json") == ""
