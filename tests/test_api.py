"""Engines and what users call: one contract, whatever runs the model."""

import io
import shutil

import numpy as np
import PIL.Image
import pytest

import captioner
from captioner import Captioner
from captioner.engines import ENGINES, engine_for
from captioner.engines.base import DEFAULT_STRATEGY, captions_of
from captioner.engines.fake import FakeEngine
from captioner.errors import BundleError, EngineError, ImageError, ModelError, SpecError
from captioner.image import loading
from captioner.text import Tokenizer
from captioner.types import END, PAD, Caption, Hypotheses
from tests.support.engine_sources import ROWS, row_of, source_of
from tests.support.tiny_model import build_tiny_model

# Each strategy costs seconds on first use, so the tests share two: the default and this one.
N_BEST = "beam(width=4, n_best=4, min_length=2)"


@pytest.fixture(scope="module")
def model(tiny_bundle):
    with captioner.load(tiny_bundle) as model:
        yield model


def same(one: Caption, other: Caption, exactly: bool = True) -> bool:
    close = (lambda a, b: a == b) if exactly else (lambda a, b: np.allclose(a, b, atol=1e-5))
    return one.words == other.words and close(one.score, other.score) and close(one.logp, other.logp)


# The contract of engines, held by every row of the table and by the fake.


@pytest.fixture(scope="module", params=ROWS)
def engine(request, tiny_bundle, tmp_path_factory):
    with source_of(request.param, tiny_bundle, tmp_path_factory) as source:
        engine = row_of(request.param).open(source)
        yield engine
        engine.close()
        engine.close()


def test_engine_keeps_order_and_isolates_bad_images(engine, images):
    good = [loading.to_bytes(image) for image in images[:3]]
    alone = [engine.predict([image])[0] for image in good]
    mixed = engine.predict([b"", good[0], b"no image", good[1], good[2], b"GIF"])
    assert [caption.ok for caption in mixed] == [False, True, False, True, True, False]
    for caption, expected in zip([mixed[1], mixed[3], mixed[4]], alone, strict=True):
        assert same(caption, expected, exactly=False)
    for caption in mixed:
        assert caption.ok or (caption.text == "" and "\n" not in caption.error)


def test_engine_takes_no_images_and_only_bad_ones(engine):
    assert engine.predict([]) == []
    assert not engine.predict([b"no image"])[0].ok


def test_engine_refuses_a_wrong_strategy_even_without_images(engine):
    with pytest.raises(SpecError):
        engine.predict([], "beam(width=")


def test_engine_describes_itself(engine):
    said = engine.describe()
    assert said["strategy"] == DEFAULT_STRATEGY or not engine.chooses_strategy
    assert {"engine", "source", "strategy"} <= set(said)


def test_engine_captions_add_up(engine, images):
    # Random weights may have nothing to say unless they must.
    strategy = "beam(width=3, min_length=3)" if engine.chooses_strategy else None
    caption = engine.predict([loading.to_bytes(images[0])], strategy)[0]
    assert caption.words
    assert len(caption.word_logp) == len(caption.words)
    assert caption.logp <= sum(caption.word_logp) + 1e-5  # the end token costs the rest
    assert caption.attention.shape[0] == len(caption.words)
    assert (caption.attention.sum((1, 2)) <= 1 + 1e-4).all()


# The Keras engine


def test_save_and_load_give_the_identical_caption(tiny_model, model, images):
    from captioner.engines.keras import KerasEngine

    with Captioner(KerasEngine(tiny_model)) as before:
        for image in images[:3]:
            one, other = before.caption(image, N_BEST), model.caption(image, N_BEST)
            assert same(one, other)
            assert [c.words for c in one.alternatives] == [c.words for c in other.alternatives]


def test_images_get_captions_of_their_own(model, images):
    # Otherwise the tests of order prove nothing.
    assert len({round(model.caption(image).score, 4) for image in images}) == len(images)
    assert len({model.caption(image).text for image in images}) > 1


def test_the_score_is_that_of_teacher_forcing(model, tiny_model, images):
    import tensorflow as tf

    from captioner.image import tf_decode

    image = images[1]
    caption = model.caption(image, N_BEST)
    pixels = tf_decode.load(tf.constant(loading.to_bytes(image)), tiny_model.image_size)
    ids = tiny_model.tokenizer.encode(" ".join(caption.words), max_length=tiny_model.max_length)
    (word_logp,) = tiny_model.word_logp(tiny_model.encode(pixels[None]), [ids])
    assert caption.logp == pytest.approx(word_logp.sum(), abs=1e-4)
    np.testing.assert_allclose(caption.word_logp, word_logp[: len(caption.words)], atol=1e-4)


def test_batches_equal_one_by_one(model, images):
    alone = [model.caption(image) for image in images]
    for size in (1, 2, 4, 32):
        together = model.caption_many(images, batch_size=size)
        assert all(same(a, b, exactly=False) for a, b in zip(together, alone, strict=True))


def test_n_best_come_best_first(model, images):
    caption = model.caption(images[0], N_BEST)
    scores = [caption.score, *(other.score for other in caption.alternatives)]
    assert len(scores) == 4 and scores == sorted(scores, reverse=True)
    assert len({caption.words, *(other.words for other in caption.alternatives)}) == 4
    assert caption.attention.shape[1:] == (4, 4)


def test_one_graph_for_every_number_of_images(tiny_model, images, monkeypatch):
    from captioner.engines.keras import KerasEngine

    traced = []
    encode = tiny_model.encode
    monkeypatch.setattr(tiny_model, "encode", lambda pixels: (traced.append(pixels.shape), encode(pixels))[1])
    engine = KerasEngine(tiny_model)
    data = [loading.to_bytes(image) for image in images]
    for count in (1, 2, 3, 5):
        engine.predict(data[:count], "greedy")
    assert len(traced) == 1
    engine.predict(data[:1], "greedy()")
    assert len(traced) == 1
    engine.predict(data[:1], "greedy(min_length=2)")
    assert len(traced) == 2


def test_damage_that_only_decoding_sees(model, images):
    jpeg = io.BytesIO()
    PIL.Image.fromarray(images[0]).save(jpeg, "JPEG")
    damaged = jpeg.getvalue().replace(b"\xff\xdb", b"\xff\xfe")  # no quantisation tables
    with pytest.raises(ImageError, match="damaged JPEG, it cannot be decoded"):
        model.caption(damaged)


def test_show_and_tell_has_no_attention(tmp_path, images):
    net = build_tiny_model("show_and_tell(units=8, embedding=8)")
    with captioner.load(captioner.save(net, tmp_path / "m")) as model:
        assert model.caption(images[0]).attention is None


# Captioner, on an engine that keeps count


def test_caption_many_is_lazy_and_ordered(images):
    engine, taken = FakeEngine(), []

    def source():
        for i in range(10):
            taken.append(i)
            yield images[i % 6] if i != 4 else "missing.jpg"

    captions = Captioner(engine).caption_many(source(), batch_size=3)
    assert taken == [] and engine.calls == [0]
    first = next(captions)
    assert taken == [0, 1, 2] and engine.calls == [0, 3]
    rest = list(captions)
    assert engine.calls == [0, 3, 2, 3, 1]
    assert rest[3].error == "missing.jpg: no such image file"
    assert [c.ok for c in [first, *rest]] == [i != 4 for i in range(10)]
    assert same(first, rest[5])  # images 0 and 6 are the same one


def test_errors_name_the_image(model, tmp_path, images):
    path = tmp_path / "dog.jpg"
    path.write_text("not a dog")
    damaged = io.BytesIO()
    PIL.Image.fromarray(images[0]).save(damaged, "PNG")
    damaged = bytearray(damaged.getvalue())
    damaged[60:90] = bytes(30)
    found = list(model.caption_many([path, bytes(damaged), 7]))
    assert found[0].error.startswith(f"{path}: expected an image")
    assert found[1].error == "image 2 (bytes): damaged PNG, it cannot be decoded"
    assert found[2].error.startswith("image 3 (int): expected a path")
    with pytest.raises(ImageError, match="dog.jpg: expected an image"):
        model.caption(path)
    with pytest.raises(ImageError, match="image .bytearray.: damaged PNG"):
        model.caption(damaged)


def test_wrong_calls_are_told_at_once(model):
    with pytest.raises(ImageError, match="use caption"):
        model.caption_many("dog.jpg")
    for size in (0, -1, 1.5, True, "8"):
        with pytest.raises(SpecError, match="batch_size expects a whole number of at least 1"):
            model.caption_many(["dog.jpg"], batch_size=size)
    with pytest.raises(SpecError, match="did you mean 'beam'"):
        model.caption_many(["dog.jpg"], "baem")
    with pytest.raises(SpecError, match="width"):
        model.caption_many(["dog.jpg"], "beam(widht=3)")


def test_an_engine_that_fails_is_not_hidden(images):
    model = Captioner(FakeEngine(fail=EngineError("server is away")))
    with pytest.raises(EngineError, match="away"):
        model.caption_many(images)
    with pytest.raises(EngineError, match="away"):
        model.caption(images[0])


def test_a_captioner_closes_its_engine():
    engine = FakeEngine()
    with Captioner(engine):
        assert not engine.closed
    assert engine.closed


# From hypotheses to captions


def test_captions_of_reads_ids_up_to_their_length():
    tokenizer = Tokenizer(["a", "dog", "cat"])
    ids = np.array(
        [[[4, 5, END, PAD], [4, 6, 5, 4], [PAD] * 4], [[END, PAD, PAD, PAD], [PAD] * 4, [PAD] * 4]]
    )
    lengths = np.array([[3, 4, 0], [1, 0, 0]])
    logp = -np.arange(6.0).reshape(2, 3) - 1
    word_logp = -np.arange(24.0).reshape(2, 3, 4)
    attention = np.zeros((2, 3, 4, 6))
    attention[0, 0, :2, 3] = 1
    first, second = captions_of(
        Hypotheses(ids, lengths, logp, logp / 2, word_logp, attention), tokenizer, (2, 3)
    )
    assert (first.text, first.logp, first.score, first.word_logp) == ("a dog", -1.0, -0.5, (0.0, -1.0))
    assert first.attention.shape == (2, 2, 3) and first.attention[0, 1, 0] == 1
    assert [c.words for c in first.alternatives] == [("a", "cat", "dog", "a")]  # cut, so no end; no empty one
    assert first.alternatives[0].attention is None
    assert (second.text, second.words, second.alternatives) == ("", (), ())


# load and save


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("saved_models/default", "keras"),
        ("a.tflite", "tflite"),
        ("grpc://host:8500/dogs", "grpc"),
        ("http://host:8501/dogs", "http"),
        ("https://host/dogs", "http"),
        ("grpcs://host/dogs", "grpc"),
    ],
)
def test_sources_name_their_engine(source, name):
    assert engine_for(source) == name


def test_a_source_that_no_engine_opens():
    with pytest.raises(
        EngineError, match="this version of captioner has no engine for ftp://host/dogs"
    ) as caught:
        captioner.load("ftp://host/dogs")
    assert all(ENGINES[name].sources in str(caught.value) for name in ENGINES)


def test_options_that_an_engine_does_not_take(tiny_bundle):
    with pytest.raises(SpecError, match="unknown option of engine 'keras': 'timeout'"):
        captioner.load(tiny_bundle, timeout=3)


def test_load_says_what_is_missing(tmp_path):
    with pytest.raises(BundleError, match="no such model folder: .*nowhere"):
        captioner.load(tmp_path / "nowhere")


def test_weights_of_another_architecture(tiny_bundle, tmp_path):
    import hashlib
    import json

    folder = shutil.copytree(tiny_bundle, tmp_path / "m")
    build_tiny_model("gru(units=12, embedding=10, depth=8)").save_weights(folder / "model.weights.h5")
    manifest = json.loads((folder / "captioner.json").read_text())
    digest = hashlib.sha256((folder / "model.weights.h5").read_bytes()).hexdigest()
    manifest["sha256"]["model.weights.h5"] = digest
    (folder / "captioner.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="does not fit the network") as error:
        captioner.load(folder)
    assert "\n" not in str(error.value)


def test_save_refuses_what_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="expected a CaptionModel to save, got int"):
        captioner.save(7, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_what_the_optimizer_holds_stays_out_of_the_folder(tmp_path):
    import h5py
    import keras

    model = build_tiny_model()
    optimizer = keras.optimizers.Adam(use_ema=True)
    model.compile(optimizer)
    optimizer.build(model.trainable_variables)
    captioner.save(model, tmp_path / "m")
    with h5py.File(tmp_path / "m" / "model.weights.h5") as file:
        assert "optimizer" not in file and "decoder" in file
    assert model.optimizer is optimizer
    captioner.load(tmp_path / "m").close()


def test_saving_twice_needs_overwrite(tiny_model, tmp_path):
    captioner.save(tiny_model, tmp_path / "m")
    with pytest.raises(BundleError, match="already holds a model"):
        captioner.save(tiny_model, tmp_path / "m")
    captioner.save(tiny_model, tmp_path / "m", overwrite=True)


def test_evaluate_scores_captions():
    figures = captioner.evaluate({"1": Caption("a dog runs")}, {"1": ["A dog runs ."]}, metrics=["rouge_l"])
    assert figures == {"ROUGE-L": pytest.approx(100)}


def test_half_precision_is_half_the_size_and_stays_as_it_is(tmp_path, tiny_model):
    whole = captioner.save(tiny_model, tmp_path / "whole")
    half = captioner.save(tiny_model, tmp_path / "half", half_precision=True)
    sizes = [(folder / "model.weights.h5").stat().st_size for folder in (whole, half)]
    assert sizes[1] < sizes[0]
    one, two = (captioner.load(folder).engine.model for folder in (whole, half))
    for exact, rounded in zip(one.get_weights(), two.get_weights(), strict=True):
        assert rounded.dtype == np.float32
        wanted = exact.astype(np.float16) if exact.ndim > 1 else exact
        np.testing.assert_array_equal(rounded, wanted.astype(np.float32))
    # Saved again nothing changes: what is exported from it is what it says.
    again = captioner.load(captioner.save(two, tmp_path / "again", half_precision=True)).engine.model
    for before, after in zip(two.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
