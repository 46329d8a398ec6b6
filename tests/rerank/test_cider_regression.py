"""The CIDEr regression: against the metric itself, and wherever a model may run."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import captioner
from captioner.decoding import generate
from captioner.decoding.backend import numpy_backend
from captioner.errors import BundleError, DataError, SpecError
from captioner.metrics.cider import CiderD
from captioner.models.ensemble import joined
from captioner.rerank import RERANKERS
from captioner.rerank.cider_regression import CiderRegression
from captioner.text import Tokenizer
from tests.support.models.tiny_model import TINY_WORDS, build_tiny_model
from training import fit_cider_regression
from training.loop import cider_regression

pytestmark = pytest.mark.usefixtures("quick")
SPEC = "beam(width=4, n_best=4, rerank='cider_regression(logp_weight=0.2)')"
TOKENIZER = Tokenizer(TINY_WORDS)


def images_and_captions(count=30, channels=40, seed=0):
    """Mean features that tell all images apart, and three captions of five different words for each."""
    random = np.random.default_rng(seed)
    captions = [[" ".join(random.permutation(TINY_WORDS)[:5]) for _ in range(3)] for _ in range(count)]
    return random.normal(size=(1, count, channels)).astype(np.float32), captions


def ids_of(captions, tokenizer=TOKENIZER, length=7):
    ids = np.zeros((1, len(captions), length), np.int32)
    for row, caption in zip(ids[0], captions, strict=True):
        encoded = tokenizer.encode(caption, length)
        row[: len(encoded)] = encoded
    return ids


def test_on_fitted_images_it_is_cider_d():
    # Captions of one length that repeat no word: what the regression leaves out of CIDEr-D then changes nothing.
    _, captions = images_and_captions()
    # Images that are equally far from one another, so that a linear map can say anything of each.
    features = np.eye(30, dtype=np.float32)[None]
    regression = cider_regression.fit(features, captions, TOKENIZER, rank=30, min_count=1, ridge=1e-9)
    references = [[caption.split() for caption in image_captions] for image_captions in captions]
    metric = CiderD(corpus=references).prepare(references)
    candidates = [image_captions[0] for image_captions in captions[:6]] + [
        " ".join(TINY_WORDS[i : i + 5]) for i in range(6)
    ]
    ids = np.repeat(ids_of(candidates), len(captions), axis=0)
    predicted = regression.predict(regression.project(features[0][:, None]), tf.constant(ids)).numpy()
    wanted = [
        metric.words([c.split() for c in candidates], [i] * len(candidates)) for i in range(len(captions))
    ]
    # Vectors are kept as float16.
    np.testing.assert_allclose(predicted, wanted, rtol=0.01, atol=0.01)
    assert np.ptp(wanted) > 1


def cosine(one, two, images, n):
    """Of the tf-idf vectors of order n of two captions, as lists of words; nothing is clipped."""
    a, b = (Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for words in (one, two))

    def idf(gram):
        holds = (
            any(gram == tuple(c[i : i + n]) for c in refs for i in range(len(c) - n + 1)) for refs in images
        )
        return np.log(len(images) / max(1, sum(holds)))

    long = [np.sqrt(sum((count * idf(gram)) ** 2 for gram, count in counts.items())) for counts in (a, b)]
    dot = sum(count * b[gram] * idf(gram) ** 2 for gram, count in a.items())
    return dot / (long[0] * long[1]) if all(long) else 0.0


def test_repeated_words_count_repeatedly():
    _, captions = images_and_captions()
    features = np.eye(30, dtype=np.float32)[None]
    regression = cider_regression.fit(features, captions, TOKENIZER, rank=30, min_count=1, ridge=1e-9)
    images = [[caption.split() for caption in image_captions] for image_captions in captions]
    candidates = ["dog dog dog cat", "a dog a dog a", "grass", captions[3][0]]
    predicted = regression.predict(regression.project(features[:, 3:4]), tf.constant(ids_of(candidates)))[
        0
    ].numpy()
    for caption, value in zip(candidates, predicted, strict=True):
        image_captions = [cosine(caption.split(), ref, images, n) for n in range(1, 5) for ref in images[3]]
        assert value == pytest.approx(10 * np.mean(image_captions), rel=0.01, abs=0.01)


def test_the_same_in_numpy():
    features, captions = images_and_captions()
    regression = cider_regression.fit(features, captions, TOKENIZER, rank=8, min_count=2)
    grids = np.stack([features[0, :4], features[0, 4:8]], axis=1)
    ids = np.concatenate([ids_of(image_captions) for image_captions in captions[:4]])
    wanted = regression.predict(regression.project(grids), tf.constant(ids)).numpy()
    with numpy_backend():
        np.testing.assert_allclose(
            regression.predict(regression.project(grids), ids), wanted, rtol=1e-4, atol=1e-5
        )


def test_n_grams_outside_the_vocabulary_are_left_out():
    features, captions = images_and_captions(count=20)
    captions = [[f"{caption} zebra" for caption in refs] for refs in captions]
    regression = cider_regression.fit(features, captions, TOKENIZER, min_count=1)
    plain = cider_regression.fit(
        features,
        [[c.removesuffix(" zebra") for c in refs] for refs in captions],
        TOKENIZER,
        min_count=1,
    )
    assert np.array_equal(regression.keys, plain.keys)
    assert (np.diff(regression.keys.astype(np.int64)) > 0).all()


def test_images_without_variance_are_all_the_mean():
    _, captions = images_and_captions()
    regression = cider_regression.fit(np.ones((1, 30, 4), np.float32), captions, TOKENIZER, min_count=1)
    assert np.isfinite(regression.projection).all()
    projected = regression.project(np.ones((1, 2, 4), np.float32)).numpy()[0]
    assert np.abs(regression.vectors.astype(np.float32) @ projected).max() < 1e-3


def test_repeated_images_count_once():
    features, captions = images_and_captions()
    one = cider_regression.fit(features, captions, TOKENIZER, rank=8)
    two = cider_regression.fit(np.concatenate([features, features]), captions, TOKENIZER, rank=8)
    ids, seen = tf.constant(ids_of(captions[0])), features[:, :1]
    np.testing.assert_allclose(
        one.predict(one.project(seen), ids), two.predict(two.project(seen), ids), rtol=1e-2, atol=2e-3
    )


def test_captions_without_common_n_grams():
    with pytest.raises(DataError, match="occur with 3 images or more, found none in the captions of 2"):
        cider_regression.fit(np.zeros((1, 2, 3), np.float32), [["a dog"], ["the cat"]], TOKENIZER)


@pytest.fixture(scope="module")
def fitted():
    """A tiny model with a fitted regression, and features of images."""
    model = build_tiny_model()
    features, captions = images_and_captions(channels=12)
    model.reranker_parameters["cider_regression"] = cider_regression.fit(
        features, captions, model.tokenizer, rank=6, min_count=1
    )
    return model, np.random.default_rng(5).normal(size=(3, 16, 12)).astype(np.float32) * 4


def test_captions_are_ranked_by_what_is_predicted(fitted):
    model, features = fitted
    hypotheses = generate(model, features, SPEC, 7, model.tokenizer)
    beam = generate(model, features, "beam(width=4, n_best=4, length_penalty=0)", 7, model.tokenizer)
    regression = model.reranker_parameters["cider_regression"]
    expected = regression.predict(regression.project(features), hypotheses.ids).numpy()
    wanted = expected + 0.2 * hypotheses.logp.numpy() / hypotheses.lengths.numpy()
    np.testing.assert_allclose(hypotheses.score, wanted, rtol=1e-4, atol=1e-5)
    assert (np.diff(hypotheses.score, axis=1) <= 1e-6).all()
    for image in range(3):  # the candidates are those of the beam
        assert {tuple(i) for i in hypotheses.ids.numpy()[image]} == {
            tuple(i) for i in beam.ids.numpy()[image]
        }
    assert not np.array_equal(hypotheses.ids, beam.ids)


def test_a_model_without_it_says_what_to_do(tiny_model):
    features = np.zeros((1, 16, 12), np.float32)
    with pytest.raises(
        SpecError, match=r"run training/fit_cider_regression\.py on the model folder, or choose"
    ):
        generate(tiny_model, features, SPEC, 7, tiny_model.tokenizer)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("logp_weigth", 1, "did you mean 'logp_weight'"),
        ("logp_weight", -1, "logp_weight expects a number from 0 to 1000"),
    ],
)
def test_wrong_options_are_one_line(option, value, message):
    with pytest.raises(SpecError, match=message) as error:
        RERANKERS.build(f"cider_regression({option}={value})")
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    return captioner.save(fitted[0], tmp_path_factory.mktemp("models") / "fitted")


def test_it_travels_with_the_model(fitted, folder, images):
    with captioner.load(folder) as model:
        again = model.engine.model.reranker_parameters["cider_regression"]
        assert all(
            np.array_equal(value, getattr(again, name))
            for name, value in vars(fitted[0].reranker_parameters["cider_regression"]).items()
        )
        keras = [model.caption(image, SPEC) for image in images[:3]]
        plain = [model.caption(image, "beam(width=4)") for image in images[:3]]
    assert [c.text for c in keras] != [c.text for c in plain]
    version = captioner.export(folder, strategy=SPEC)["saved_model"]
    with captioner.load(version) as exported:
        for image, caption in zip(images, keras, strict=False):
            best = exported.caption(image)
            assert best.text == caption.text
            assert best.score == pytest.approx(caption.score, abs=1e-4)


def test_a_tflite_file_cannot_hold_it(folder):
    with pytest.raises(
        SpecError,
        match=r"a \.tflite file cannot hold the fitted parameters that beam\(.*choose another reranker",
    ):
        captioner.export(folder, to=["tflite"], strategy=SPEC)
    assert not list(Path(folder).glob("*.tflite"))


def test_an_ensemble_keeps_it(fitted):
    other = build_tiny_model(seed=4)
    other.encoder.network.set_weights(fitted[0].encoder.network.get_weights())
    assert joined([other, fitted[0]]).reranker_parameters == fitted[0].reranker_parameters != {}


def test_what_was_fitted_for_another_model_is_refused(fitted, folder, tmp_path):
    path = tmp_path / "expectation.npz"
    fitted[0].reranker_parameters["cider_regression"].save(path)
    fingerprint = fitted[0].tokenizer.fingerprint
    assert CiderRegression.load(path, fingerprint, 12).projection.shape == (12, 6)
    for wrong in ((fingerprint, 13), ("0" * 64, 12)):
        with pytest.raises(
            BundleError, match=r"to be fitted for this model .* run training/fit_cider_regression\.py again"
        ):
            CiderRegression.load(path, *wrong)
    for damaged in (path.read_bytes()[:500], b"", b"PK\x03\x04"):
        path.write_bytes(damaged)
        with pytest.raises(
            BundleError, match=r"damaged .*: run training/fit_cider_regression\.py again, or delete it"
        ):
            CiderRegression.load(path, fingerprint, 12)


def test_the_program_fits_a_folder(tiny_model, tmp_path, capsys):
    folder = captioner.save(tiny_model, tmp_path / "model")
    program = [
        str(folder),
        "synthetic_scenes(train=40)",
        "--features",
        str(tmp_path / "cache"),
        "--cached-augmentations",
        "1",
    ]
    assert fit_cider_regression.main(program) == 0
    assert "n-grams of 40 images, rank 12" in capsys.readouterr().out
    with captioner.load(folder) as model:
        assert model.engine.model.reranker_parameters["cider_regression"].centre.shape == (12,)
    assert fit_cider_regression.main(program) == 2
    assert "add --overwrite" in capsys.readouterr().err
    (folder / "expectation.npz").write_bytes(b"damaged")
    assert fit_cider_regression.main([*program, "--overwrite"]) == 0
    assert fit_cider_regression.main([*program, "--rank", "0"]) != 0
    assert "--rank expects a whole number of at least 1, got 0" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir())[-2:] == ["model.weights.h5", "vocab.txt"]
