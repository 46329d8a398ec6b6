"""What people would say of an image, in expectation: against the metric itself, and wherever a model may run."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import captioner
from captioner.decoding import STRATEGIES, generate
from captioner.decoding.backend import numpy_arrays
from captioner.decoding.expectation import Expectation
from captioner.errors import BundleError, DataError, SpecError
from captioner.metrics.cider import CiderD
from captioner.models.ensemble import joined
from captioner.text import Tokenizer
from tests.support.tiny_model import TINY_WORDS, build_tiny_model
from training import expect

pytestmark = pytest.mark.usefixtures("quick")
IMAGE = "consensus(width=4, n_best=4, evidence='image', fluency=0.2)"
TOKENIZER = Tokenizer(TINY_WORDS)


def images_and_captions(count=30, channels=40, seed=0):
    """Mean features that tell all images apart, and three captions of five different words for each."""
    random = np.random.default_rng(seed)
    said = [[" ".join(random.permutation(TINY_WORDS)[:5]) for _ in range(3)] for _ in range(count)]
    return random.normal(size=(1, count, channels)).astype(np.float32), said


def ids_of(captions, tokenizer=TOKENIZER, length=7):
    ids = np.zeros((1, len(captions), length), np.int32)
    for row, caption in zip(ids[0], captions, strict=True):
        encoded = tokenizer.encode(caption, length)
        row[: len(encoded)] = encoded
    return ids


def test_of_known_images_it_is_cider_d():
    # Captions of one length that repeat no word: what the expectation leaves out of CIDEr-D then changes nothing.
    _, said = images_and_captions()
    # Images that are equally far from one another, so that a linear map can say anything of each.
    features = np.eye(30, dtype=np.float32)[None]
    found = expect.fit(features, said, TOKENIZER, rank=30, least=1, ridge=1e-9)
    references = [[caption.split() for caption in each] for each in said]
    metric = CiderD(corpus=references).prepare(references)
    candidates = [each[0] for each in said[:6]] + [" ".join(TINY_WORDS[i : i + 5]) for i in range(6)]
    ids = np.repeat(ids_of(candidates), len(said), axis=0)
    gain = found.gain(found.seen(features[0][:, None]), tf.constant(ids)).numpy()
    wanted = [metric.words([c.split() for c in candidates], [i] * len(candidates)) for i in range(len(said))]
    # Vectors are kept as float16.
    np.testing.assert_allclose(gain, wanted, rtol=0.01, atol=0.01)
    assert np.ptp(wanted) > 1


def cosine(one, two, images, n):
    """Of the tf-idf vectors of order n of two captions, as lists of words; nothing is clipped."""
    a, b = (Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for words in (one, two))

    def idf(gram):
        holds = (
            any(gram == tuple(c[i : i + n]) for c in each for i in range(len(c) - n + 1)) for each in images
        )
        return np.log(len(images) / max(1, sum(holds)))

    long = [np.sqrt(sum((count * idf(gram)) ** 2 for gram, count in each.items())) for each in (a, b)]
    dot = sum(count * b[gram] * idf(gram) ** 2 for gram, count in a.items())
    return dot / (long[0] * long[1]) if all(long) else 0.0


def test_a_word_said_again_counts_as_often():
    _, said = images_and_captions()
    features = np.eye(30, dtype=np.float32)[None]
    found = expect.fit(features, said, TOKENIZER, rank=30, least=1, ridge=1e-9)
    images = [[caption.split() for caption in each] for each in said]
    candidates = ["dog dog dog cat", "a dog a dog a", "grass", said[3][0]]
    gain = found.gain(found.seen(features[:, 3:4]), tf.constant(ids_of(candidates)))[0].numpy()
    for caption, value in zip(candidates, gain, strict=True):
        each = [cosine(caption.split(), ref, images, n) for n in range(1, 5) for ref in images[3]]
        assert value == pytest.approx(10 * np.mean(each), rel=0.01, abs=0.01)


def test_the_same_in_numpy():
    features, said = images_and_captions()
    found = expect.fit(features, said, TOKENIZER, rank=8, least=2)
    grids = np.stack([features[0, :4], features[0, 4:8]], axis=1)
    ids = np.concatenate([ids_of(each) for each in said[:4]])
    wanted = found.gain(found.seen(grids), tf.constant(ids)).numpy()
    with numpy_arrays():
        np.testing.assert_allclose(found.gain(found.seen(grids), ids), wanted, rtol=1e-4, atol=1e-5)


def test_n_grams_that_no_caption_of_the_model_can_hold_are_left_out():
    features, said = images_and_captions(count=20)
    said = [[f"{caption} zebra" for caption in each] for each in said]
    found = expect.fit(features, said, TOKENIZER, least=1)
    plain = expect.fit(
        features, [[c.removesuffix(" zebra") for c in each] for each in said], TOKENIZER, least=1
    )
    assert np.array_equal(found.keys, plain.keys)
    assert (np.diff(found.keys.astype(np.int64)) > 0).all()


def test_images_told_apart_by_nothing_are_all_the_mean():
    _, said = images_and_captions()
    found = expect.fit(np.ones((1, 30, 4), np.float32), said, TOKENIZER, least=1)
    assert np.isfinite(found.project).all()
    assert (
        np.abs(found.vectors.astype(np.float32) @ found.seen(np.ones((1, 2, 4), np.float32)).numpy()[0]).max()
        < 1e-3
    )


def test_more_views_of_the_same_images_are_one_set_of_images():
    features, said = images_and_captions()
    one = expect.fit(features, said, TOKENIZER, rank=8)
    two = expect.fit(np.concatenate([features, features]), said, TOKENIZER, rank=8)
    ids, seen = tf.constant(ids_of(said[0])), features[:, :1]
    np.testing.assert_allclose(
        one.gain(one.seen(seen), ids), two.gain(two.seen(seen), ids), rtol=1e-2, atol=2e-3
    )


def test_captions_without_a_common_n_gram_are_told():
    with pytest.raises(DataError, match="occur with 3 images or more, found none in the captions of 2"):
        expect.fit(np.zeros((1, 2, 3), np.float32), [["a dog"], ["the cat"]], TOKENIZER)


@pytest.fixture(scope="module")
def knowing():
    """A tiny model that expects something, and features of images."""
    model = build_tiny_model()
    features, said = images_and_captions(channels=12)
    model.expectation = expect.fit(features, said, model.tokenizer, rank=6, least=1)
    return model, np.random.default_rng(5).normal(size=(3, 16, 12)).astype(np.float32) * 4


def test_captions_are_ranked_by_what_is_expected(knowing):
    model, features = knowing
    found = generate(model, features, IMAGE, 7, model.tokenizer)
    beam = generate(model, features, "beam(width=4, n_best=4, length_penalty=0)", 7, model.tokenizer)
    expected = model.expectation.gain(model.expectation.seen(features), found.ids).numpy()
    wanted = expected + 0.2 * found.logp.numpy() / found.lengths.numpy()
    np.testing.assert_allclose(found.score, wanted, rtol=1e-4, atol=1e-5)
    assert (np.diff(found.score, axis=1) <= 1e-6).all()
    for image in range(3):  # the candidates are those of the beam
        assert {tuple(i) for i in found.ids.numpy()[image]} == {tuple(i) for i in beam.ids.numpy()[image]}
    assert not np.array_equal(found.ids, beam.ids)


def test_a_model_that_expects_nothing_says_what_to_do(tiny_model):
    features = np.zeros((1, 16, 12), np.float32)
    with pytest.raises(SpecError, match=r"run training/expect\.py on the model folder, or choose"):
        generate(tiny_model, features, IMAGE, 7, tiny_model.tokenizer)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("evidence", "images", "did you mean 'image'"),
        ("fluency", -1, "fluency expects a number from 0 to 1000"),
    ],
)
def test_wrong_options_are_one_line(option, value, message):
    with pytest.raises(SpecError, match=message) as error:
        STRATEGIES["consensus"](**{option: value})
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def folder(knowing, tmp_path_factory):
    return captioner.save(knowing[0], tmp_path_factory.mktemp("models") / "knowing")


def test_it_travels_with_the_model(knowing, folder, images):
    with captioner.load(folder) as model:
        again = model.engine.model.expectation
        assert all(
            np.array_equal(value, getattr(again, name))
            for name, value in vars(knowing[0].expectation).items()
        )
        keras = [model.caption(image, IMAGE) for image in images[:3]]
        plain = [model.caption(image, "beam(width=4)") for image in images[:3]]
    assert [c.text for c in keras] != [c.text for c in plain]
    version = captioner.export(folder, strategy=IMAGE)["saved_model"]
    with captioner.load(version) as exported:
        for image, caption in zip(images, keras, strict=False):
            found = exported.caption(image)
            assert found.text == caption.text
            assert found.score == pytest.approx(caption.score, abs=1e-4)


def test_a_tflite_file_cannot_hold_it(folder):
    with pytest.raises(
        SpecError, match=r"a \.tflite file cannot hold what consensus\(.*choose another strategy"
    ):
        captioner.export(folder, to=["tflite"], strategy=IMAGE)
    assert not list(Path(folder).glob("*.tflite"))


def test_an_ensemble_keeps_it(knowing):
    other = build_tiny_model(seed=4)
    other.encoder.network.set_weights(knowing[0].encoder.network.get_weights())
    assert joined([other, knowing[0]]).expectation is knowing[0].expectation


def test_what_was_learnt_for_another_model_is_refused(knowing, folder, tmp_path):
    path = tmp_path / "expectation.npz"
    knowing[0].expectation.save(path)
    fingerprint = knowing[0].tokenizer.fingerprint
    assert Expectation.load(path, fingerprint, 12).project.shape == (12, 6)
    for wrong in ((fingerprint, 13), ("0" * 64, 12)):
        with pytest.raises(
            BundleError, match=r"to be learnt for this model .* run training/expect\.py again"
        ):
            Expectation.load(path, *wrong)
    for damaged in (path.read_bytes()[:500], b"", b"PK\x03\x04"):
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match=r"damaged .*: run training/expect\.py again, or delete it"):
            Expectation.load(path, fingerprint, 12)


def test_the_program_learns_for_a_folder(tiny_model, tmp_path, capsys):
    folder = captioner.save(tiny_model, tmp_path / "model")
    program = [
        str(folder),
        "synthetic_scenes(train=40)",
        "--features",
        str(tmp_path / "cache"),
        "--views",
        "1",
    ]
    assert expect.main(program) == 0
    assert "n-grams of 40 images, rank 12" in capsys.readouterr().out
    with captioner.load(folder) as model:
        assert model.engine.model.expectation.centre.shape == (12,)
    assert expect.main(program) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    (folder / "expectation.npz").write_bytes(b"damaged")
    assert expect.main([*program, "--overwrite"]) == 0
    assert expect.main([*program, "--rank", "0"]) != 0
    assert "--rank expects a whole number of at least 1, got 0" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir())[-2:] == ["model.weights.h5", "vocab.txt"]
