"""Servers that lack the model, its version or its signature."""

import re

import pytest

import captioner
from tests.support.remote_clients import IMAGES, error_line


@pytest.mark.parametrize(
    "end, message",
    [
        ("-and-cats", "no such model .*not (be )?f"),
        ("/versions/7", "no such model .*version 7"),
        ("/labels/best", "knows no such label .*label: best; there are the versions 2, 1.*version_labels"),
    ],
)
def test_a_wrong_name_version_or_label(server, end, message):
    line = error_line(captioner.load, server.source + end)
    assert re.search(message, line) and line.startswith(server.source.split("/dogs")[0])


@pytest.mark.parametrize("state", ["START", "LOADING"])
def test_a_version_that_is_not_loaded_yet(server, world, load, state):
    world.versions = {3: (state, "")}
    assert f"not loaded yet, version 3 is {state}" in error_line(captioner.load, server.source)
    world.versions = {3: (state, ""), 2: ("AVAILABLE", "")}
    load(server.source)
    assert "not loaded yet" in error_line(captioner.load, server.source + "/versions/3")


def test_a_version_that_cannot_be_loaded(server, world):
    world.versions = {3: ("END", "no such\nvariable")}
    assert "version 3 is not served, its state is END (no such variable)" in error_line(
        captioner.load, server.source
    )


def test_a_model_without_our_signature(server, world):
    del world.signatures["explain"]
    assert "no signature 'explain' (it has serving_default)" in error_line(captioner.load, server.source)
    world.signatures["explain"] = ["caption", "score"]
    assert "lacks logp, ids" in error_line(captioner.load, server.source)


def test_a_model_replaced_by_a_foreign_one(server, load, world):
    engine = load(server.source)
    del world.signatures["explain"]
    line = error_line(engine.predict, IMAGES[:1])
    assert "explain" in line and "captioner export" in line


def test_a_model_that_is_unloaded_later(server, load, world):
    engine = load(server.source)
    world.versions = {}
    assert "Servable not found" in error_line(engine.predict, IMAGES[:1])
