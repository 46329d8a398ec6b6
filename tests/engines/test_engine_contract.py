"""What every engine promises to those who call it from several threads: the captions that each would get alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import captioner
from captioner import Captioner
from captioner.engines.base import captions_of
from captioner.engines.keras import KerasEngine
from captioner.errors import EngineError, ModelError
from captioner.image import loading
from captioner.text import Tokenizer
from captioner.types import Hypotheses
from tests.support.engine_sources import CHOOSING, ROWS, row_of, source_of
from tests.support.tiny_model import build_tiny_model

pytestmark = pytest.mark.usefixtures("quick")
THREADS = 6


@pytest.fixture(scope="module", params=ROWS)
def source(request, tiny_bundle, tmp_path_factory):
    with source_of(request.param, tiny_bundle, tmp_path_factory) as found:
        yield request.param, found


@pytest.fixture(scope="module")
def encoded(images):
    return [loading.to_bytes(image) for image in images[:4]] + [b"no image"]


def opened(source):
    name, place = source
    return row_of(name).open(place)


def strategies_of(source):
    return ("greedy(min_length=3)", "beam(width=2, min_length=3)") if source[0] in CHOOSING else (None,)


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


def test_threads_get_the_captions_that_each_would_get_alone(engine, source, encoded, alone):
    strategies = strategies_of(source)

    def ask(number):
        captions = []
        for turn in range(8):
            which, strategy = (
                (number + turn) % len(encoded),
                strategies[(number + turn // 2) % len(strategies)],
            )
            batch = [which, (which + 1) % len(encoded)][: 1 + turn % 2]
            found = engine.predict([encoded[i] for i in batch], strategy)
            captions += [(i, strategy, caption) for i, caption in zip(batch, found, strict=True)]
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
    found = Hypotheses(np.full((1, 2, 3), 4), np.full((1, 2), 3), **arrays)
    with pytest.raises(EngineError, match="NaN or infinity"):
        captions_of(found, Tokenizer(["a"]), (2, 2))
