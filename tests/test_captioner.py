"""The class `Captioner`, on the Keras engine and on a fake one."""

import io

import numpy as np
import PIL.Image
import pytest

import captioner
from captioner import Captioner
from captioner.engines.fake import FakeEngine
from captioner.errors import EngineError, ImageError, SpecError
from captioner.image import loading
from captioner.types import Caption
from tests.support.models.tiny_model import build_tiny_model

# Each strategy costs seconds on first use, so the tests share two: the default and this one.
N_BEST = "beam(width=4, n_best=4, min_length=2)"


@pytest.fixture(scope="module")
def model(tiny_bundle):
    with captioner.load(tiny_bundle) as model:
        yield model


def same(one: Caption, other: Caption, exactly: bool = True) -> bool:
    close = (lambda a, b: a == b) if exactly else (lambda a, b: np.allclose(a, b, atol=1e-5))
    return one.words == other.words and close(one.score, other.score) and close(one.logp, other.logp)


def test_save_and_load_give_the_identical_caption(tiny_model, model, images):
    from captioner.engines.keras import KerasEngine

    with Captioner(KerasEngine(tiny_model)) as before:
        for image in images[:3]:
            one, other = before.caption(image, N_BEST), model.caption(image, N_BEST)
            assert same(one, other)
            assert [c.words for c in one.alternatives] == [c.words for c in other.alternatives]


def test_different_images_get_different_captions(model, images):
    # Else the tests of order could not fail.
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
    one_by_one = [model.caption(image) for image in images]
    for size in (1, 2, 4, 32):
        together = model.caption_many(images, batch_size=size)
        assert all(same(a, b, exactly=False) for a, b in zip(together, one_by_one, strict=True))


def test_n_best_come_best_first(model, images):
    caption = model.caption(images[0], N_BEST)
    scores = [caption.score, *(other.score for other in caption.alternatives)]
    assert len(scores) == 4 and scores == sorted(scores, reverse=True)
    assert len({caption.words, *(other.words for other in caption.alternatives)}) == 4
    assert caption.attention.shape[1:] == (4, 4)


def test_one_graph_for_all_batch_sizes(tiny_model, images, monkeypatch):
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


def test_damage_found_by_decoding(model, images):
    jpeg = io.BytesIO()
    PIL.Image.fromarray(images[0]).save(jpeg, "JPEG")
    damaged = jpeg.getvalue().replace(b"\xff\xdb", b"\xff\xfe")  # no quantisation tables
    with pytest.raises(ImageError, match="damaged JPEG, it cannot be decoded"):
        model.caption(damaged)


def test_show_and_tell_has_no_attention(tmp_path, images):
    net = build_tiny_model("show_and_tell(units=8, embedding=8)")
    with captioner.load(captioner.save(net, tmp_path / "m")) as model:
        assert model.caption(images[0]).attention is None


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
    captions = list(model.caption_many([path, bytes(damaged), 7]))
    assert captions[0].error.startswith(f"{path}: expected an image")
    assert captions[1].error == "image 2 (bytes): damaged PNG, it cannot be decoded"
    assert captions[2].error.startswith("image 3 (int): expected a path")
    with pytest.raises(ImageError, match="dog.jpg: expected an image"):
        model.caption(path)
    with pytest.raises(ImageError, match="image .bytearray.: damaged PNG"):
        model.caption(damaged)


def test_wrong_arguments_raise_immediately(model):
    with pytest.raises(ImageError, match="use caption"):
        model.caption_many("dog.jpg")
    for size in (0, -1, 1.5, True, "8"):
        with pytest.raises(SpecError, match="batch_size expects a whole number of at least 1"):
            model.caption_many(["dog.jpg"], batch_size=size)
    with pytest.raises(SpecError, match="did you mean 'beam'"):
        model.caption_many(["dog.jpg"], "baem")
    with pytest.raises(SpecError, match="width"):
        model.caption_many(["dog.jpg"], "beam(widht=3)")


def test_errors_of_the_engine_are_raised(images):
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
