"""The README's way from photos with captions to a `.tflite` file and a served model, command by command."""

import csv
import io
from pathlib import Path

import pytest
from PIL import Image

from captioner import bundle
from captioner.api import DEFAULT_MODEL, load, located
from captioner.cli import main
from tests.support.documents import README, blocks, words_of
from tests.support.serving.devserver import DevserverProcess
from training.data.datasets import DATASETS

QUICK = ["--set", "xe.epochs=2", "--set", "data.repeats=1", "--set", "data.cached_augmentations=0"]


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """The commands of the block that adapts and goes on, in a folder of drawn images with captions."""
    monkeypatch.chdir(tmp_path)
    photos = Path("photos")
    photos.mkdir()
    with (photos / "captions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption"])
        scenes = DATASETS.build("synthetic_scenes(train=14, size=64)").examples("train")
        for number, scene in enumerate(scenes):
            name = ["beach.jpg", "dog.jpg"][number] if number < 2 else f"{number}.jpg"
            Image.open(io.BytesIO(scene.read())).convert("RGB").save(photos / name)
            table.writerows([name, caption] for caption in scene.captions[:2])
    block = max((text for text in blocks(README, "sh") if "captioner adapt" in text), key=len)
    return [words_of(line) for line in block.splitlines()]


@pytest.mark.slow
def test_from_photos_to_a_file_for_phones_and_a_served_model(commands, capsys, monkeypatch):
    assert [words[:2] for words in commands] == [
        ["captioner", "adapt"], ["captioner", "caption"], ["captioner", "export"], ["make", "serve"],
        ["captioner", "caption"],
    ]  # fmt: skip
    adapt, caption, export, serve, ask = (words[1:] for words in commands)
    assert main([*adapt, *QUICK]) == 0
    plan = capsys.readouterr().out
    assert "14 images: 12 with 24 captions to train on, 2 to validate on" in plan and "about" in plan
    folders = located(DEFAULT_MODEL), "runs/photos/model"
    start, adapted = (set(bundle.read(folder).tokenizer.vocabulary) for folder in folders)
    assert start <= adapted and {"circle", "triangle"} <= adapted
    assert main(caption) == 0
    in_process = capsys.readouterr().out
    assert main(export) == 0
    assert Path("runs/photos/model/1/saved_model.pb").is_file()
    tflite = next(Path("runs/photos/model").glob("*.tflite"))
    assert load(tflite).caption("photos/beach.jpg").ok
    capsys.readouterr()
    server = DevserverProcess(Path(serve[1].removeprefix("MODEL=")).resolve(), "--name", "captioner")
    try:
        assert main([word.replace("http://localhost:8501", server.url) for word in ask]) == 0
    finally:
        assert server.stop() == 0
    assert capsys.readouterr().out == in_process
