"""What every engine promises: what it says of itself, and to several threads the captions that each would get alone."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import captioner
from captioner import Captioner, bundle
from captioner.engines import ENGINES, engine_for
from captioner.engines.base import captions_of
from captioner.engines.fake import FakeEngine
from captioner.engines.keras import KerasEngine
from captioner.errors import EngineError, ModelError, SpecError
from captioner.image import loading
from captioner.text import Tokenizer
from captioner.types import Hypotheses
from tests.support.models.engine_sources import ROWS, row_of, source_of
from tests.support.models.tiny_model import build_tiny_model

pytestmark = pytest.mark.usefixtures("quick")
THREADS = 6


@pytest.fixture(scope="module", params=ROWS)
def source(request, tiny_bundle, tmp_path_factory):
    with source_of(request.param, tiny_bundle, tmp_path_factory) as opened:
        yield request.param, opened


@pytest.fixture(scope="module")
def encoded(images):
    return [loading.to_bytes(image) for image in images[:4]] + [b"no image"]


def opened(source):
    name, place = source
    return row_of(name).open(place)


def strategies_of(source):
    chooses = row_of(source[0]).chooses_strategy
    return ("greedy(min_length=3)", "beam(width=2, min_length=3)") if chooses else (None,)


def together(function, threads=THREADS):
    """What `function(number)` returns in threads that begin at the same moment."""
    barrier = threading.Barrier(threads)

    def run(number):
        barrier.wait()
        return function(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def same(one, two):
    assert (one.text, one.words, one.error) == (two.text, two.words, two.error)
    assert np.allclose(
        [one.score, one.logp, *one.word_logp], [two.score, two.logp, *two.word_logp], atol=1e-5
    )
    assert (one.attention is None) == (two.attention is None)
    assert one.attention is None or np.allclose(one.attention, two.attention, atol=1e-5)
    for mine, theirs in zip(one.alternatives, two.alternatives, strict=True):
        same(mine, theirs)


@pytest.fixture(scope="module")
def alone(source, encoded):
    """The captions of each image alone, by strategy."""
    engine = opened(source)
    captions = {s: [engine.predict([image], s)[0] for image in encoded] for s in strategies_of(source)}
    engine.close()
    assert len({c.text for c in captions[strategies_of(source)[0]]}) > 2, "encoded that are told apart"
    return captions


@pytest.fixture(scope="module")
def engine(source):
    """Opened once, and first used in threads: what is made lazily is made by several at once."""
    return opened(source)


def test_engine_for_each_source(source):
    name, place = source
    assert row_of(name).opens(place)
    if name in ENGINES:
        assert engine_for(place) == name
        with pytest.raises(SpecError, match=f"unknown option of engine '{name}': 'colour'"):
            captioner.load(place, colour=1)


def test_variants_are_opened_by_their_engine(tmp_path):
    for file in (bundle.MANIFEST, bundle.WEIGHTS, "1/saved_model.pb", "2/saved_model.pb", "model.tflite"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"{}")
    variants = {name: ENGINES[name].variants(tmp_path) for name in ENGINES}
    expected = {"keras": [str(tmp_path)], "saved_model": [str(tmp_path / "2")]}
    assert variants == dict.fromkeys(ENGINES, []) | expected | {"tflite": [str(tmp_path / "model.tflite")]}
    assert all(engine_for(source) == name for name, sources in variants.items() for source in sources)


def test_what_an_engine_says_of_itself(engine, source):
    name, place = source
    about = engine.describe()
    assert about["engine"] == name and about["strategy"] and "source" in about
    assert engine.sources and engine.purpose.endswith(".") and (engine.label(place) or name == "fake")
    assert engine.thread_safe, "the tests below hold it to that"
    assert engine.metadata(place).get("strategy", about["strategy"]) == about["strategy"]
    assert (engine.model is not None) == (name == "keras")


def test_strategy_per_call_or_refused(engine, source, alone):
    if not engine.chooses_strategy:
        with pytest.raises(EngineError, match="export again with"):
            engine.predict([], "greedy(min_length=7)")
        return
    one, other = ([caption.score for caption in captions] for captions in alone.values())
    assert one != other


def test_threads_get_the_same_captions(engine, source, encoded, alone):
    strategies = strategies_of(source)

    def ask(number):
        captions = []
        for turn in range(8):
            which, strategy = (
                (number + turn) % len(encoded),
                strategies[(number + turn // 2) % len(strategies)],
            )
            batch = [which, (which + 1) % len(encoded)][: 1 + turn % 2]
            predicted = engine.predict([encoded[i] for i in batch], strategy)
            captions += [(i, strategy, caption) for i, caption in zip(batch, predicted, strict=True)]
            engine.describe()
        return captions

    for captions in together(ask):
        for which, strategy, caption in captions:
            same(caption, alone[strategy][which])


def test_engines_are_opened_in_threads(source, encoded, alone):
    strategy = strategies_of(source)[0]

    def ask(number):
        engine = opened(source)
        captions = engine.predict(encoded, strategy)
        engine.close()
        return captions

    for captions in together(ask, threads=3 if source[0] == "saved_model" else THREADS):
        for caption, expected in zip(captions, alone[strategy], strict=True):
            same(caption, expected)


def test_iterators_of_one_captioner_in_threads(engine, source, encoded, alone):
    strategy, model = strategies_of(source)[0], Captioner(engine)

    def ask(number):
        turned = encoded[number % len(encoded) :] + encoded[: number % len(encoded)]
        return list(model.caption_many(turned[:-1] if number % 2 else turned, strategy, batch_size=2))

    for number, captions in enumerate(together(ask)):
        for place, caption in enumerate(captions):
            expected = alone[strategy][(number + place) % len(encoded)]
            assert (caption.text, caption.ok) == (expected.text, expected.ok)


def test_closing_while_others_ask(engine, source, encoded, alone):
    """They get their captions or an EngineError, and nothing else. The last test: the engine is closed then."""
    strategy = strategies_of(source)[0]
    closed = threading.Event()

    def ask(number):
        if number == 0:
            time.sleep(0.05)
            engine.close()
            engine.close()
            closed.set()
            return []
        captions = []
        for _ in range(200):
            try:
                captions.append(engine.predict(encoded[:2], strategy))
            except EngineError:
                break
            if closed.is_set():
                break
        return captions

    for answers in together(ask):
        for captions in answers:
            for caption, expected in zip(captions, alone[strategy], strict=False):
                same(caption, expected)


# One more engine: its class and a row of `ENGINES`, its target and a row of `TARGETS`, and no other file.


class ToyEngine(FakeEngine):
    """Runs a file that holds the name of its strategy."""

    sources, purpose = "a .toy file", "For this test."

    @classmethod
    def opens(cls, source):
        return source.endswith(".toy")

    @classmethod
    def variants(cls, folder):
        return [str(path) for path in folder.glob("*.toy")]

    @classmethod
    def metadata(cls, source):
        return {"strategy": Path(source).read_text()}


def write_toy(model, folder, strategy=None, max_length=None):
    (folder / "model.toy").write_text(strategy)
    return folder / "model.toy"


def test_a_new_target_and_engine(tiny_bundle, tmp_path, monkeypatch):
    from captioner import benchmark
    from captioner.exporting import TARGETS
    from serving.runtime.admission import AdmissionControl
    from serving.webui.about import about, good_for
    from serving.webui.choices import Choices

    monkeypatch.setitem(ENGINES._rows, "toy", ToyEngine)
    monkeypatch.setitem(TARGETS._rows, "toy", write_toy)
    folder = tmp_path / "model"
    shutil.copytree(tiny_bundle, folder)
    file = captioner.export(folder, ["toy"], strategy="greedy")["toy"]
    assert isinstance(captioner.load(file).engine, ToyEngine)
    assert benchmark.variants(folder) == [str(folder), str(file)]
    choices = Choices("tiny", dict, dict, AdmissionControl(1, 1), str(folder))
    assert [(model.name, model.strategy) for model in choices if model.name != "tiny"] == [
        ("model.toy", "greedy")
    ]
    assert good_for([about(file)])[0].startswith("For this test.")
    with pytest.raises(EngineError, match="a .toy file"):
        captioner.load("ftp://host/model")


# Numbers that are none.


def test_no_engine_gives_captions_with_nan(tmp_path):
    """Weights that are not finite are told when a model is loaded, and numbers that are not when it runs."""
    broken = build_tiny_model()
    broken.decoder.weights[0].assign(broken.decoder.weights[0] * np.nan)
    image = loading.to_bytes(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(EngineError, match="the network computed NaN or infinity"):
        KerasEngine(broken).predict([image], "greedy")
    folder = captioner.save(broken, tmp_path / "broken")
    with pytest.raises(ModelError, match="expected finite weights in .*broken.*NaN or infinity"):
        captioner.load(folder)


@pytest.mark.parametrize("name", ["logp", "score", "word_logp", "attention"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_captions_are_made_of_finite_numbers(name, value):
    arrays = {"logp": (1, 2), "score": (1, 2), "word_logp": (1, 2, 3), "attention": (1, 2, 3, 4)}
    arrays = {n: np.zeros(shape, np.float32) for n, shape in arrays.items()}
    arrays[name].flat[-1] = value
    hypotheses = Hypotheses(np.full((1, 2, 3), 4), np.full((1, 2), 3), **arrays)
    with pytest.raises(EngineError, match="NaN or infinity"):
        captions_of(hypotheses, Tokenizer(["a"]), (2, 2))
