"""Initial weights of another model: by word, whatever the order of the vocabularies, in every decoder."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import captioner
from captioner.errors import BundleError, ModelError
from captioner.models import DECODERS, CaptionModel
from captioner.text import Tokenizer
from captioner.types import SPECIALS
from training.loop.setup.warm_start import averaged_rows, load_initial_weights, source_rows

WORDS = ["a", "red", "blue", "dog", "cat", "runs", "sits", "petal"]
OTHER_ORDER = ["petal", "cat", "a", "sits", "blue", "dog", "red", "runs"]
LENGTH, SIZE = 6, 16
SIZES = "units=5, embedding=6, value_dim=7, attention='additive(units=3)'"
ROWS = [f"{name}({SIZES}, tied=False)" for name in DECODERS if name != "ensemble"]
TIED = [row.replace("tied=False", "tied=True") for row in ROWS]
ROWS += [row for row in TIED if row.startswith(("lstm(", "top_down("))]
ROWS += [f"ensemble({SIZES}, members=['lstm', 'gru(tied=True)', 'top_down(units=4)'])"]
CAPTIONS = ["a red dog runs", "a blue cat sits", "petal petal", "a unicorn runs"]


def model_of(decoder, words, seed=1):
    """A model whose weights, biases too, are drawn: zeros would be the same for every word."""
    keras.utils.set_random_seed(seed)
    encoder = "small_cnn(width=2, stages=2)"
    model = CaptionModel(encoder, decoder, Tokenizer(words), LENGTH, (SIZE, SIZE))
    random = np.random.default_rng(seed)
    for variable in model.decoder.weights:
        variable.assign(random.normal(size=variable.shape).astype(np.float32))
    return model


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """`started(decoder)`: a model with the words `WORDS`, and its folder; made once, only read."""
    known = {}

    def start(decoder=ROWS[0]):
        if decoder not in known:
            model = model_of(decoder, WORDS)
            known[decoder] = model, str(captioner.save(model, tmp_path_factory.mktemp("start") / "model"))
        return known[decoder]

    return start


def features_of(model, seed=5):
    length = model.grid[0] * model.grid[1]
    return (
        np.random.default_rng(seed)
        .normal(size=(len(CAPTIONS), length, model.encoder.channels))
        .astype(np.float32)
    )


def logp_of(model, captions=CAPTIONS):
    ids = [model.tokenizer.encode(caption, LENGTH) for caption in captions]
    return np.concatenate(model.word_logp(features_of(model), ids))


def distributions(model, prefix):
    """Log-probabilities [V] after a prefix of words, by word."""
    memory, state = model.start(features_of(model)[:1])
    for word in [1, *model.tokenizer.encode(prefix, LENGTH)[:-1]]:
        output, _, state = model.step(np.array([word], np.int32), memory, state)
    logits = np.asarray(model.head(output))[0].astype(np.float64)
    logp = logits - np.log(np.exp(logits).sum())
    return dict(zip(model.tokenizer.vocabulary, logp, strict=True))


@pytest.mark.parametrize("decoder", ROWS)
def test_the_order_of_words_makes_no_difference(decoder, started):
    (start, folder), model = started(decoder), model_of(decoder, OTHER_ORDER, seed=2)
    assert np.abs(logp_of(start) - logp_of(model)).max() > 0.1
    load_initial_weights(model, folder)
    np.testing.assert_allclose(logp_of(model), logp_of(start), atol=2e-5)
    before, after = distributions(start, "a red"), distributions(model, "a red")
    assert after == pytest.approx(before, abs=2e-5)


@pytest.mark.parametrize("decoder", [*ROWS, *(row for row in TIED if row not in ROWS)])
def test_every_variable_with_an_entry_for_each_word_is_listed(decoder):
    """A vocabulary one word larger changes the shapes of these variables alone, on these axes alone."""
    small, large = (DECODERS.build(decoder, vocabulary_size=n, max_length=LENGTH) for n in (12, 13))
    small.build_on(4, 4)
    large.build_on(4, 4)
    listed = {id(variable): axis for variable, axis in small.vocabulary_weights()}
    grown = {
        id(one): axis
        for one, two in zip(small.weights, large.weights, strict=True)
        for axis, (n, more) in enumerate(zip(one.shape, two.shape, strict=True))
        if n != more
    }
    assert listed == grown


def test_other_dimensions_as_long_as_the_vocabulary_confuse_nothing(started):
    size = len(WORDS) + len(SPECIALS)
    decoder = f"lstm(units={size}, embedding={size}, value_dim={size}, attention='additive(units={size})')"
    (start, folder), model = started(decoder), model_of(decoder, OTHER_ORDER, seed=2)
    load_initial_weights(model, folder)
    np.testing.assert_allclose(logp_of(model), logp_of(start), atol=2e-5)


def test_the_same_vocabulary_gives_the_same_model(started):
    (start, folder), model = started(), model_of(ROWS[0], WORDS, seed=2)
    load_initial_weights(model, folder)
    for one, two in zip(start.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


@pytest.mark.parametrize("new_words", ["mean", "subwords"])
def test_new_words_begin_as_the_mean_of_others(new_words, started):
    start, folder = started()
    model = model_of(ROWS[0], ["petals", "qqq", *OTHER_ORDER[:-1]], seed=2)
    load_initial_weights(model, folder, new_words=new_words)
    first = len(SPECIALS)
    for (old, axis), (new, _) in zip(
        start.decoder.vocabulary_weights(), model.decoder.vocabulary_weights(), strict=True
    ):
        values = np.moveaxis(old.numpy(), axis, 0)
        everything = values[first:].mean(axis=0)
        like = everything if new_words == "mean" else values[first + WORDS.index("petal")]
        # "petals" has 4 + 3 + 2 n-grams in common with "petal"; "qqq" has none with any word.
        expected = [*values[:first], like, everything]
        expected += [values[first + WORDS.index(word)] for word in OTHER_ORDER[:-1]]
        np.testing.assert_allclose(np.moveaxis(new.numpy(), axis, 0), np.array(expected), atol=1e-6)


def test_neighbours_share_most_ngrams():
    """Dice coefficients counted by hand.

    n-grams of 3, 4 and 5 letters, word boundaries included:
    <dogs>: <do dog ogs gs> <dog dogs ogs> <dogs dogs>  9
    <dog>:  <do dog og> <dog dog> <dog>                 6, in common <do dog <dog: 2 * 3 / 15 = 0.4
    <hotdogs>: 7 + 6 + 5 = 18, in common dog ogs gs> dogs ogs> dogs>: 2 * 6 / 27 = 0.44
    <do>:   <do do> <do>                                3, in common <do: 2 / 12 = 0.17, too few
    """
    old = Tokenizer(["dog", "do", "hotdogs", "cat"])
    rows = source_rows(old, Tokenizer(["dogs", "cat", "zebra"]), "subwords")
    assert rows == [[0], [1], [2], [3], [6, 4], [7], [4, 5, 6, 7]]
    assert source_rows(old, Tokenizer(["dogs"]), "mean")[4:] == [[4, 5, 6, 7]]
    many = Tokenizer(["dogsa", "dogsb", "dogsc", "dogsd"])
    assert source_rows(many, Tokenizer(["dogs"]), "subwords")[4:] == [[4, 5, 6]], "three at most"


def test_means_along_either_axis():
    values = np.random.default_rng(1).normal(size=(4, 4))
    rows = [[3], [0, 2], [1, 1, 1], [0, 1, 2, 3], [2]]
    expected = np.array([values[3], (values[0] + values[2]) / 2, values[1], values.mean(0), values[2]])
    np.testing.assert_allclose(averaged_rows(values, rows, 0), expected)
    np.testing.assert_allclose(averaged_rows(values.T, rows, 1), expected.T)


@pytest.mark.parametrize("words", [WORDS, OTHER_ORDER], ids=["same words", "other order"])
@pytest.mark.parametrize("parts", ["all", "encoder"])
def test_the_encoder_is_copied_and_the_decoder_only_if_asked(parts, words, started):
    (start, folder), model = started(), model_of(ROWS[0], words, seed=2)
    untouched = [variable.numpy() for variable in model.decoder.weights]
    assert not all(
        np.array_equal(a, b)
        for a, b in zip(start.encoder.get_weights(), model.encoder.get_weights(), strict=True)
    )
    load_initial_weights(model, folder, parts)
    for one, two in zip(start.encoder.get_weights(), model.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    same = [np.array_equal(a, b.numpy()) for a, b in zip(untouched, model.decoder.weights, strict=True)]
    assert all(same) if parts == "encoder" else not any(same)


def test_dropout_goes_on_from_the_seeds_of_the_new_model(started):
    """Seeds are variables as well, but no weights: those of another run would repeat its dropout."""
    folder, model = started()[1], model_of(ROWS[0], OTHER_ORDER, seed=2)

    def seeds():
        weights = {id(weight) for weight in model.decoder.weights}
        return [v.numpy().tolist() for v in model.decoder.variables if id(v) not in weights]

    before = seeds()
    load_initial_weights(model, folder)
    assert before and seeds() == before


@pytest.mark.parametrize(
    "decoder",
    [
        ROWS[0].replace("units=5", "units=6"),
        ROWS[0].replace("embedding=6", "embedding=5"),
        TIED[0],
        f"gru({SIZES})",
        f"top_down({SIZES})",
        ROWS[-1],
    ],
)
def test_another_decoder_is_one_line(decoder, started):
    _, folder = started()
    model = model_of(decoder, OTHER_ORDER, seed=2)
    before = [variable.numpy() for variable in model.decoder.weights]
    with pytest.raises(ModelError) as caught:
        load_initial_weights(model, folder)
    message = str(caught.value)
    assert folder in message and "model.init_parts=encoder" in message and "\n" not in message
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.decoder.weights, strict=True))


def test_another_decoder_with_the_same_words_is_one_line(started):
    with pytest.raises(ModelError) as caught:
        load_initial_weights(model_of(TIED[0], WORDS, seed=2), started()[1])
    assert "\n" not in str(caught.value)


def test_another_encoder_is_one_line(started):
    _, folder = started()
    keras.utils.set_random_seed(2)
    model = CaptionModel(
        "small_cnn(width=3, stages=2)", ROWS[0], Tokenizer(OTHER_ORDER), LENGTH, (SIZE, SIZE)
    )
    for parts in ("all", "encoder"):
        with pytest.raises(
            ModelError, match="the encoder of model.init_from=.* to be that of this model"
        ) as caught:
            load_initial_weights(model, folder, parts)
        assert "\n" not in str(caught.value)


def test_a_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(BundleError) as caught:
        load_initial_weights(model_of(ROWS[0], WORDS), str(tmp_path / "nowhere"))
    assert "nowhere" in str(caught.value) and "\n" not in str(caught.value)
