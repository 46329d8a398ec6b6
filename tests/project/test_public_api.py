"""The names that users rely on. A change here is a change for them: say so in the CHANGELOG."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import captioner
from captioner.cli import COMMANDS

SIGNATURES = {
    "load": "source trust options",
    "save": "model folder overwrite card metrics half_precision",
    "heatmap": "image caption",
    "export": "folder to strategy max_length output_dir trust",
    "alt_text": "caption max_length confidence threshold hedge language",
    "evaluate": "predictions references official metrics training allow_empty language",
    "report": "predictions references out baseline images names resamples overwrite metrics official language",
    "Captioner": "engine",
    "Captioner.caption": "self image strategy",
    "Captioner.caption_many": "self images strategy batch_size",
    "Captioner.confidence": "self caption",
    "Captioner.alt_text": "self image max_length threshold strategy language",
    "Caption": "text score words logp word_logp attention alternatives error outcome ood_score sentence",
    "Tokenizer": "vocabulary",
    "CaptionModel": "encoder decoder tokenizer max_length image_size train_encoder kwargs",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    value = captioner
    for part in name.split("."):
        value = getattr(value, part)
    assert " ".join(inspect.signature(value).parameters) == SIGNATURES[name]


def test_the_names_are_these():
    assert set(captioner.__all__) == {"CaptionerError", *(n for n in SIGNATURES if "." not in n)}
    assert set(captioner.__all__) <= set(dir(captioner))
    everything: dict = {}
    exec("from captioner import *", everything)
    assert set(captioner.__all__) <= set(everything)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match="no attribute 'laod'.*load"):
        captioner.laod  # noqa: B018


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert captioner.__version__ == project["version"]


@pytest.mark.parametrize("name", [n for n in SIGNATURES if n != "Caption"])
def test_public_docstrings_say_it_all(name):
    value = captioner
    for part in name.split("."):
        value = getattr(value, part)
    text = inspect.getdoc(value)
    parameters = [p for p in inspect.signature(value).parameters if p not in ("self", "kwargs")]
    assert "Args:" in text
    for parameter in parameters:
        assert re.search(rf"^ +(\*\*)?{parameter}: ", text, re.M), f"{name} does not say what {parameter} is"


def test_every_command_has_its_module():
    for name in COMMANDS:
        module = importlib.import_module(f"captioner.cli.{name}")
        assert module.__doc__ and callable(module.run) and callable(module.arguments)
