"""The contract of every recipe, and what `--set` takes and refuses."""

import dataclasses
import inspect
import math
import re

import numpy as np
import pytest

from captioner.decoding import STRATEGIES, generate
from captioner.errors import ModelError, SpecError
from captioner.models import DECODERS, ENCODERS, CaptionModel
from captioner.registry import parse_spec
from captioner.text import Tokenizer
from tests.support.models.tiny_model import TINY_WORDS
from training import train
from training.config import Run, as_dict
from training.data.datasets import DATASETS
from training.loop.setup.plan import settled
from training.recipes import RECIPES
from training.recipes.changes import keys, with_changes

NAMES = RECIPES.names()
# A recipe on images and features of no size, so that only its decoder is at its own.
SMALL = ["model.encoder=small_cnn(width=4)", "model.image_size=32"]


def with_networks(run):
    """A run with the networks of its initial model where it names none; no data is read."""
    return settled(dataclasses.replace(run, sized_by_data=False), [])[0]


def check_specs(run):
    """Every spec of a run names a row of its table and options which that row has."""
    run = with_networks(run)
    DECODERS.build(run.model.decoder, vocabulary_size=9, max_length=run.model.max_length)
    STRATEGIES.build(run.evaluation.strategy)
    for table, text, options in (
        (DATASETS, run.data.source, {}),
        (ENCODERS, run.model.encoder, {"image_size": 1}),
    ):
        spec = parse_spec(text)
        # Binding checks the options without reading data or downloading weights.
        inspect.signature(table[spec.name]).bind(**options, **spec.args)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(TINY_WORDS)


@pytest.mark.parametrize("name", NAMES)
def test_recipes_name_existing_parts(name):
    run = RECIPES.build(name)
    assert isinstance(run, Run) and run.name == name
    check_specs(run)
    assert run.xe.epochs or (run.model.init_from and run.scst.epochs)
    assert 0 <= run.xe.ema_momentum < 1
    # Data of one's own need not have a test split; where they have one, `settled` adds it.
    assert run.evaluation.tests or run.sized_by_data


@pytest.mark.parametrize("name", NAMES)
def test_recipes_have_descriptions(name):
    line = RECIPES.describe()[name]
    assert line.endswith(".") and len(line) > 20
    assert line in train.parser().format_help()


def test_the_help_names_every_key():
    listed = train.parser().format_help().partition("keys of --set")[2].split()
    assert set(keys(RECIPES.build("tiny"))) <= set(listed)


@pytest.mark.parametrize("name", NAMES)
def test_initial_loss_of_recipes_is_ln_v(name, tokenizer):
    run = with_networks(with_changes(RECIPES.build(name), SMALL))
    size = (run.model.image_size, run.model.image_size)
    model = CaptionModel(run.model.encoder, run.model.decoder, tokenizer, run.model.max_length, size)
    pixels = np.random.default_rng(1).integers(0, 256, (2, *size, 3)).astype(np.uint8)
    features = model.encode(pixels)
    words = [tokenizer.encode(text) for text in ("a red dog runs on the grass", "the cat sits")]
    loss = -np.concatenate(model.word_logp(features, words)).mean()
    assert loss == pytest.approx(math.log(len(tokenizer)), abs=0.7)
    hypotheses = generate(model, features, run.evaluation.strategy, max_length=3, tokenizer=tokenizer)
    assert hypotheses.ids.shape == (2, 1, 3) and np.isfinite(hypotheses.logp.numpy()).all()


def test_flickr8k_recipes_differ_in_their_decoder_alone():
    others = re.compile(r"flickr8k_(device|default|german|lite0_.+|two_encoders.*)")
    names = [name for name in NAMES if name.startswith("flickr8k_") and not others.fullmatch(name)]
    runs = [RECIPES.build(name) for name in names]
    assert len({run.model.decoder for run in runs}) == len(runs) >= 6
    first = runs[0]
    for run in runs[1:]:
        alike = dataclasses.replace(
            run, name=first.name, model=dataclasses.replace(run.model, decoder=first.model.decoder)
        )
        assert alike == first


def test_the_splits_that_tiny_is_scored_on_exist():
    run = RECIPES.build("tiny")
    assert set(run.evaluation.tests) <= set(DATASETS.build(run.data.source).splits)


@pytest.mark.parametrize("name", NAMES)
def test_keys_round_trip(name):
    run = RECIPES.build(name)

    def value(key):
        part = run
        for step in key.split("."):
            part = getattr(part, step)
        return ",".join(part) if isinstance(part, tuple) else part

    assert with_changes(run, [f"{key}={value(key)}" for key in keys(run)]) == run


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("xe.epochs=3", 3),
        ("xe.learning_rate=5e-4", 5e-4),
        ("xe.global_clipnorm=2", 2.0),
        ("deterministic=yes", True),
        ("xe.mixed_precision=false", False),
        ("model.decoder=lstm(units=8, attention='multi_head(heads=2)')",) * 2,
        ("evaluation.tests=test", ("test",)),
        ("evaluation.tests=test,test_unseen", ("test", "test_unseen")),
        ("evaluation.tests=['a', 'b']", ("a", "b")),
        (" seed = 7 ", 7),
    ],
)
def test_values_are_cast_to_field_types(change, expected):
    run = RECIPES.build("tiny")
    value = as_dict(with_changes(run, [change]))
    for step in change.partition("=")[0].strip().split("."):
        value = value[step]
    expected = expected.partition("=")[2] if expected == change else expected
    assert value == expected and type(value) is type(expected)


def test_last_change_of_a_key_wins():
    run = RECIPES.build("tiny")
    assert with_changes(run, ["seed=5", "seed=6"]).seed == 6
    assert run == RECIPES.build("tiny")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("xe.epoch=3", "did you mean 'xe.epochs'"),
        ("xe.lerning_rate=1", "did you mean 'xe.learning_rate'"),
        ("modle.encoder=x", "did you mean 'model.encoder'"),
        ("sed=3", "did you mean 'seed'"),
        ("xe=3", "unknown key 'xe'"),
        ("seed.x=3", "unknown key 'seed.x'"),
        ("xe.epochs", "expected --set key=value"),
        ("xe.epochs=many", "expected xe.epochs to be int, got 'many'"),
        ("xe.epochs=2.5", "expected xe.epochs to be int, got '2.5'"),
        ("xe.ema_momentum=high", "expected xe.ema_momentum to be float, got 'high'"),
        ("deterministic=maybe", "expected deterministic to be bool, got 'maybe'"),
        ("evaluation.tests=['a'", "expected evaluation.tests"),
    ],
)
def test_a_wrong_change_is_one_line(change, says):
    with pytest.raises(SpecError) as caught:
        with_changes(RECIPES.build("tiny"), [change])
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["flickr8k_lstn"], "did you mean 'flickr8k_lstm'"),
        (["tiny", "--set", "xe.epoch=1"], "did you mean 'xe.epochs'"),
        (["tiny", "--set", "data.source=synthetic_scene()"], "did you mean 'synthetic_scenes'"),
        (["tiny", "--set", "model.encoder=smal_cnn"], "did you mean 'small_cnn'"),
        (["tiny", "--set", "model.decoder=lstm(unit=8)"], "unit"),
        (["no.such.module:recipe"], "cannot import recipe"),
    ],
)
def test_unknown_input_is_one_line(arguments, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = "data.source=synthetic_scenes(train=8, validation=2, test=2, test_unseen=2)"
    small = [] if "data.source" in " ".join(arguments) else ["--set", source]
    assert train.main([*arguments, *small, "--out", "run"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("train.py: ") and says in message and message.count("\n") == 1
    assert not (tmp_path / "run").exists(), "a run that never began leaves no folder"


def test_missing_weights_are_reported_early(tokenizer):
    run = with_changes(RECIPES.build("flickr8k_lstm"), ["model.encoder=mobilenet_v2(weights='no.h5')"])
    with pytest.raises(ModelError, match="no.h5.*does not exist"):
        CaptionModel(run.model.encoder, run.model.decoder, tokenizer)
