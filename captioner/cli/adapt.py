"""Adapt a model to your own images and captions: from a folder to a finished model folder.

Training begins with the default model: its encoder stays as it is, its decoder learns the new captions, and its
vocabulary grows by their words. What suits the number of images and captions is printed first. Run the same command
again to resume after Ctrl-C or a crash.
"""

from __future__ import annotations

import argparse
from typing import Any

from captioner.programs import training_program


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options: those of training/adapt.py."""
    _program().arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Runs training/adapt.py; returns the exit code."""
    return _program().run(options) or 0


def _program() -> Any:
    return training_program("adapt")
