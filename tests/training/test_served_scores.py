"""`training/evaluate.py` on what is served or exported: the figures of the captions that the engine itself gives."""

import json
from types import SimpleNamespace

import pytest

import captioner
from captioner.api import Captioner
from captioner.engines.fake import FakeEngine
from captioner.errors import DataError, EngineError, ImageError
from tests.support.fake_tf_serving import SERVERS, World, expected
from training import evaluate
from training.data.datasets import Example
from training.data.datasets.synthetic_scenes import SyntheticScenes

SIZES = {"train": 2, "validation": 1, "test": 7, "test_unseen": 1, "size": 32}
SOURCE = f"synthetic_scenes({', '.join(f'{name}={size}' for name, size in SIZES.items())})"


@pytest.fixture(params=SERVERS)
def served(request):
    world = World()
    server = SERVERS[request.param](world)
    yield f"{server.scheme}://127.0.0.1:{server.port}/{world.name}"
    server.close()


def test_served_models_are_scored(served, tmp_path, capsys):
    kept = tmp_path / "said.json"
    assert evaluate.main([f"{served}?timeout=20", SOURCE, "--json", "--predictions", str(kept)]) == 0
    result = json.loads(capsys.readouterr().out)
    examples = SyntheticScenes(**SIZES).examples("test")
    captions = {example.id: expected(example.read()).text for example in examples}
    assert json.loads(kept.read_text()) == captions and result["images"] == 7
    wanted = captioner.evaluate(captions, {example.id: list(example.captions) for example in examples})
    metrics = result["metrics"]["as exported"]
    assert {name: metrics[name] for name in wanted} == pytest.approx(wanted)


def test_a_served_model_takes_no_other_strategy(served, capsys):
    assert evaluate.main([f"{served}?timeout=20", SOURCE, "--strategy", "greedy"]) == EngineError.exit_code
    out, err = capsys.readouterr()
    last = err.splitlines()[-1]
    assert (
        out == "" and "the strategy of a served model is fixed, got greedy" in last and "Traceback" not in err
    )


def test_cider_of_one_image_is_no_figure(served, capsys):
    options = [f"{served}?timeout=20", SOURCE, "--limit", "1"]
    assert evaluate.main([*options, "--json"]) == 0
    out, err = capsys.readouterr()
    metrics = json.loads(out)["metrics"]["as exported"]
    assert metrics["CIDEr-D"] is None and metrics["BLEU-1"] is not None
    assert "evaluate.py: no CIDEr-D: it needs several images" in err and "UserWarning" not in err
    assert evaluate.main(options) == 0
    names, values = (line.split("  ") for line in capsys.readouterr().out.splitlines())
    assert dict(zip(filter(None, names), filter(None, values), strict=True))["CIDEr-D"].strip() == "-"


def broken():
    raise ImageError("b.png: no such image file")


def test_an_image_that_cannot_be_read_is_named():
    good = SyntheticScenes(**SIZES).examples("test")[0]
    for bad in (Example("b.png", ("a dog",), lambda: b"no image"), Example("b.png", ("a dog",), broken)):
        data = SimpleNamespace(splits=("test",), examples=lambda split, bad=bad: [good, bad])
        with pytest.raises(DataError, match="image b.png: "):
            evaluate.evaluate(Captioner(FakeEngine()), data)


def test_engines_score_each_strategy():
    data = SyntheticScenes(**SIZES)
    model = Captioner(FakeEngine())
    metrics, captions = evaluate.evaluate(model, data, strategies=["greedy", "beam(width=2)", "greedy"])
    assert list(metrics) == ["greedy", "beam(width=2)"]
    for strategy, texts in captions.items():
        assert texts == {e.id: model.caption(e.read(), strategy).text for e in data.examples("test")}
    assert list(evaluate.evaluate(model, data)[0]) == [model.engine.describe()["strategy"]]
