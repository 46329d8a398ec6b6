"""Exports that all processes of a test run share: made once, then only read."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil

import pytest

import captioner


def made_once(tmp_path_factory, name, make):
    """The folder that `make(folder)` fills, once for all processes of a test run; it is only read."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made_once"
    shared.mkdir(exist_ok=True)
    folder, aside = shared / name, shared / f"{name}.aside"
    with open(shared / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            make(aside)
            aside.rename(folder)
    return folder


def exported_once(bundle, target, strategy, tmp_path_factory):
    """The path of an export of a bundle, in a folder called "tiny"; see `made_once`."""
    key = hashlib.sha256(
        f"{(bundle / 'captioner.json').read_text()} {target} {strategy}".encode()
    ).hexdigest()

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:  # those who ask for it try it out
            patch.setattr("captioner.exporting.saved_model._check_export", lambda *_: None)
            captioner.export(bundle, [target], strategy=strategy, output_dir=folder / "tiny")

    folder = made_once(tmp_path_factory, f"export-{key[:12]}", make) / "tiny"
    return next(folder.glob("*.tflite"), folder / "1")
