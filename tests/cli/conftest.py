"""Fixtures for the tests of commands: an engine without a model, and images."""

import PIL.Image
import pytest

from captioner import api
from captioner.cli import caption as caption_command
from captioner.engines.fake import FakeEngine


@pytest.fixture
def fake_engine(monkeypatch):
    """An engine without a model, in the place of that of `captioner caption`."""
    engine = FakeEngine()
    monkeypatch.setattr(caption_command, "load", lambda source: api.Captioner(engine))
    return engine


@pytest.fixture
def folder(tmp_path):
    """A folder with b.png, a.jpg, c.GIF and a text file."""
    for name, colour in (("b.png", "red"), ("a.jpg", "blue"), ("c.GIF", "green")):
        PIL.Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path
