"""The program that shows what to caption next: its ranking by a real model, its mistakes, its end."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import PIL.Image
import pytest

import captioner
from tests.support.images.odd_images import png
from tests.support.training import photo_folders
from training import annotate
from training.analysis.active_learning import select, uncertainty, unit_length

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def photos(tmp_path, images):
    """Six photos of which one is captioned and one is a copy, and two files that cannot be read."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for i, pixels in enumerate(images[:4]):
        PIL.Image.fromarray(pixels).save(folder / f"{i}.png")
    shutil.copy(folder / "1.png", folder / "1 copy.png")
    PIL.Image.fromarray(images[4]).save(folder / "sub" / "4.png")
    (folder / "damaged.png").write_bytes(png(8, 8, 8, 2)[:60])
    (folder / "text.jpg").write_text("no image")
    (folder / "captions.csv").write_text("image,caption\n0.png,a woman in orange\n")
    return folder


def listed(capsys, *options):
    assert annotate.main([str(option) for option in options]) == 0
    return capsys.readouterr()


def test_list_is_the_ranking_of_the_model(photos, tiny_bundle, tiny_model, capsys):
    import captioner
    from captioner.image import tf_decode

    out, err = listed(capsys, photos, "--model", tiny_bundle, "--list", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    names = ["1 copy.png", "1.png", "2.png", "3.png", "sub/4.png"]
    with captioner.load(tiny_bundle) as model:
        captions = [model.caption(photos / name) for name in names]
    read = tf_decode.reader(tuple(tiny_model.image_size))

    def mean_feature(name):
        return np.mean(tiny_model.encode(read((photos / name).read_bytes())[None])[0], axis=0)

    features = unit_length(np.stack([mean_feature(name) for name in names]))
    labelled = unit_length(mean_feature("0.png")[None])
    order = select(features, [round(uncertainty(caption), 4) for caption in captions], 50, labelled)
    assert [row["image"] for row in rows] == [names[i] for i in order]
    assert [row["proposal"] for row in rows] == [captions[i].text for i in order]
    expected = [uncertainty(captions[i]) for i in order]
    assert np.allclose([row["uncertainty"] for row in rows], expected, atol=2e-4)
    assert rows[-1]["image"] == "1.png"  # the copy of an image that was chosen
    assert "annotate.py: text.jpg: expected an image" in err and "annotate.py: damaged.png: " in err
    assert err.endswith("annotate.py: 2 of 8 images cannot be read and are left out\n")
    out, _ = listed(capsys, photos, "--model", tiny_bundle, "--list", "--count", "2")
    assert out == "".join(f"{row['uncertainty']:.3f}  {row['image']}\n" for row in rows[:2])
    assert sorted(path.name for path in photos.iterdir() if "captions" in path.name) == ["captions.csv"]


def mistake(capsys, *options):
    assert annotate.main([str(option) for option in options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("annotate.py: ")
    return err


def test_mistakes_are_one_line(photos, tiny_bundle, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "there is none" in mistake(capsys, tmp_path / "nowhere")
    assert "no image in the folder" in mistake(capsys, tmp_path / "empty")
    assert "--count expects a whole number of at least 1" in mistake(capsys, photos, "--count", 0)
    assert "add --list" in mistake(capsys, photos, "--json")
    assert "--all is for the page" in mistake(capsys, photos, "--all", "--list")
    assert "ends in .csv or .tsv" in mistake(capsys, photos, "--captions", tmp_path / "c.xlsx")
    in_file = photos / "0.png" / "captions.csv"
    assert "name another file with --captions" in mistake(capsys, photos, "--captions", in_file)
    assert "expected a model folder" in mistake(capsys, photos, "--list", "--model", tmp_path / "none")
    (photos / "captions.csv").rename(photos / "captions.jsonl")
    assert "save it as captions.csv" in mistake(capsys, photos)
    only = tmp_path / "all"
    only.mkdir()
    shutil.copy(photos / "0.png", only / "a.png")
    (only / "captions.csv").write_text("image,caption\na.png,a woman\n")
    assert "all 1 images in" in mistake(capsys, only)
    (only / "captions.csv").unlink()
    (only / "a.png").write_text("no image")
    assert "none of the 1 images without captions can be read (a.png: expected an image" in mistake(
        capsys, only, "--list", "--model", tiny_bundle
    )


def test_a_port_in_use(photos, capsys):
    pytest.importorskip("starlette")
    from training.annotation.server import listener

    with listener(0) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1:{port}" in mistake(capsys, photos, "--port", port)


@pytest.fixture
def page(tmp_path):
    """Starts the program as its users do; returns its process and the page's address."""
    processes = []

    def start(folder, model, *options):
        command = [sys.executable, str(ROOT / "training/annotate.py"), str(folder), "--model", str(model)]
        process = subprocess.Popen(
            [*command, "--port", "0", *options], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        return process, re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_the_button_adapts_the_model_and_ranks_anew(tmp_path, page):
    """Caption, correct, adapt, to the end: the new proposals are those of the model that the run made."""
    pytest.importorskip("starlette")
    model = photo_folders.start_model(tmp_path / "start")
    folder = photo_folders.photos(tmp_path / "photos", 14)
    for number in range(14, 18):
        photo_folders.draw(number).save(folder / f"{number}.png")
    process, address = page(folder, model)
    state = httpx.get(f"{address}state").json()
    assert sorted(image["name"] for image in state["images"]) == [f"{number}.png" for number in range(14, 18)]
    first = state["images"][0]
    edit = {"session": state["session"], "page": "p", "revision": 1, "number": first["number"]}
    httpx.post(f"{address}captions", json={**edit, "captions": ["a blue quokka"]}).raise_for_status()
    httpx.post(f"{address}adapting", json={}).raise_for_status()
    deadline = time.monotonic() + 300
    while (status := httpx.get(f"{address}adapting").json())["state"] in ("running", "ranking"):
        assert time.monotonic() < deadline, status
        time.sleep(0.5)
    assert status["state"] == "finished", status["lines"]
    after = httpx.get(f"{address}state").json()
    assert after["version"] == state["version"] + 1
    proposals = {image["name"]: image["proposal"] for image in after["images"]}
    assert sorted(proposals) == sorted(f"{n}.png" for n in range(14, 18) if f"{n}.png" != first["name"])
    adapted = captioner.load(tmp_path / "runs" / "photos" / "model")
    assert proposals == {name: adapted.caption(folder / name).text for name in proposals}
    assert set(" ".join(proposals.values()).split()) <= {*photo_folders.COLOURS, *photo_folders.THINGS,
                                                         *photo_folders.KNOWN}  # fmt: skip
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


@pytest.mark.slow
def test_the_page_is_served_until_ctrl_c(photos, tiny_bundle, page):
    pytest.importorskip("starlette")
    process, address = page(photos, tiny_bundle, "--all")
    state = httpx.get(f"{address}state").json()
    first, last = state["images"][0], state["images"][-1]
    assert (last["name"], last["captions"]) == ("0.png", ["a woman in orange"])
    assert len(state["images"]) == 6 and not any(image["captions"] for image in state["images"][:-1])
    edit = {"session": state["session"], "page": "p", "revision": 1, "number": first["number"]}
    reply = httpx.post(f"{address}captions", json={**edit, "captions": ["a striped cat"]})
    assert reply.json() == {"captions": ["a striped cat"], "captioned": 1}
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in err
    file = photos / "captions.csv"
    adapt = f"python training/adapt.py {photos} --captions {file} --model {tiny_bundle} --out runs/photos"
    assert out.splitlines() == [f"1 image captioned in {file}", f"adapt the model to them: {adapt}"]
    name = first["name"]
    assert file.read_text() == f"image,caption\n0.png,a woman in orange\n{name},a striped cat\n"
