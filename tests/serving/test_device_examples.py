"""The examples for devices: the Python script runs, and the Kotlin code fits the signatures of the file."""

import importlib.util
import re
import subprocess
import sys
import zipfile

import numpy as np
import PIL.Image
import pytest

from tests.serving.test_examples import ALONE, EXAMPLES
from tests.support.images import image_files, odd_images

pytest.importorskip("ai_edge_litert")

import captioner
import captioner.image.pillow_preprocess
from captioner.decoding.rules import FORBIDDEN
from captioner.image import loading
from captioner.types import END, SPECIALS, START, UNK

KOTLIN = "\n".join(
    re.findall(r"```kotlin\n(.*?)```", (EXAMPLES / "android/README.md").read_text(), re.DOTALL)
)

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def lite(tiny_export):
    return tiny_export("tflite")


def test_script_captions_without_captioner(lite, tmp_path):
    with captioner.load(lite) as model:
        height, width = model.engine._metadata["image_size"]
        paths = []
        for i in range(3):
            paths.append(tmp_path / f"{i}.png")
            paths[-1].write_bytes(odd_images.encoded(odd_images.drawn(width, height, turn=50 * i), "PNG"))
        expected = [f"{path}: {model.caption(path).text}" for path in paths]
    program = ALONE.format(names="tensorflow keras captioner")
    command = [sys.executable, "-c", program, EXAMPLES / "device.py", lite, *paths]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == expected


# The script is short: it rejects some files that `captioner` reads, and decodes some differently.
REJECTED = {"png-large-text", "tiff-float", "tiff-float-white-is-zero", "pgm-16"}
DIFFERENT = {
    *("png-exif-twice", "jpeg-exif-behind-5000-segments", "jpeg-cmyk", "gif-frame-beyond"),
    *("bmp-alpha-unset", "tiff-16-white-is-zero"),
    *(f"png-clear-{kind}" for kind in ("grey-2", "grey-4", "16-type-0", "16-type-2")),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_script_decodes_like_captioner(tmp_path):
    spec = importlib.util.spec_from_file_location("device", EXAMPLES / "device.py")
    device = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(device)
    files = {
        name: data for name, (data, _) in {**odd_images.odd(), **odd_images.only_pillow()}.items()
    } | odd_images.good()
    files["profile"] = odd_images.encoded(odd_images.drawn(), "PNG", icc_profile=image_files.profile())
    files["broken-profile"] = odd_images.encoded(odd_images.drawn(), "JPEG", icc_profile=b"no profile")
    rejected, different = set(), set()
    path = tmp_path / "file"
    for name, data in files.items():
        path.write_bytes(data)
        try:
            made = device.pixels(path, (16, 24)).astype(int)
            if (
                np.abs(made - captioner.image.pillow_preprocess.read(loading.to_bytes(data), (16, 24))).max()
                > 2
            ):
                different.add(name)
        except ValueError:
            rejected.add(name)
    assert rejected <= REJECTED
    assert different <= DIFFERENT
    # A huge JPEG is read as captioner reads it.
    path.write_bytes(odd_images.encoded(PIL.Image.new("L", (10000, 6000), 77), "JPEG", quality=50))
    assert (
        device.pixels(path, (16, 24)) == captioner.image.pillow_preprocess.read(path.read_bytes(), (16, 24))
    ).all()


def test_script_usage():
    path = EXAMPLES / "device.py"
    ran = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert ran.returncode == 1 and "python device.py model_int8.tflite dog.jpg" in ran.stderr


def test_kotlin_calls_existing_signatures(lite):
    from ai_edge_litert.interpreter import Interpreter

    graph = Interpreter(model_path=str(lite))
    signatures = graph.get_signature_list()
    called = re.findall(r'runSignature\((.*), (\w+), "(\w+)"\)', KOTLIN)
    assert [name for _, _, name in called] == ["encode", "step"]
    requested = set(re.findall(r'outputs\("(\w+)"', KOTLIN))
    assert requested == {"encode", "step"} <= set(signatures)
    with zipfile.ZipFile(lite) as packed:
        assert set(re.findall(r'read\(zip, "([\w.]+)"\)', KOTLIN)) == set(packed.namelist())
    with captioner.load(lite) as model:
        facts = model.engine._metadata
    used = set(re.findall(r'metadata\.get\w+\("(\w+)"\)', KOTLIN)) | set(
        re.findall(r'names\("(\w+)"\)', KOTLIN)
    )
    assert used == {"max_length", "image_size", "memory", "state"} <= set(facts)
    # All inputs of each signature are passed, and all outputs that are read exist.
    assert re.search(r'"image" to pixels', KOTLIN) and signatures["encode"]["inputs"] == ["image"]
    assert re.search(r'mapOf\("ids" to ids\) \+ memory \+ state', KOTLIN)
    assert set(signatures["step"]["inputs"]) == {"ids", *facts["memory"], *facts["state"]}
    assert set(signatures["encode"]["outputs"]) == {*facts["memory"], *facts["state"]}
    assert set(re.findall(r'next\.getValue\("([\w$]+)"\)', KOTLIN)) == {"logits", "next_$name"}
    assert {"logits", "attention", *(f"next_{name}" for name in facts["state"])} == set(
        signatures["step"]["outputs"]
    )


def test_kotlin_types_and_constants(lite):
    from ai_edge_litert.interpreter import Interpreter

    graph = Interpreter(model_path=str(lite))
    encode, step = (graph.get_signature_runner(name) for name in ("encode", "step"))
    assert encode.get_input_details()["image"]["dtype"] == np.uint8  # bytes
    assert step.get_input_details()["ids"]["dtype"] == np.int32  # IntArray
    details = {**encode.get_output_details(), **step.get_output_details()}
    assert {detail["dtype"] for detail in details.values()} <= {np.float32, np.int32}
    assert all(detail["shape_signature"][0] == -1 for detail in step.get_output_details().values())
    assert len(details["logits"]["shape"]) == 2  # Array<FloatArray>
    numbers = dict(re.findall(r"const val (\w+) = (\d+)", KOTLIN))
    assert numbers == {"START": str(START), "END": str(END), "UNKNOWN": str(UNK)}
    assert "listOf(" + ", ".join(f'"{word}"' for word in SPECIALS) + ")" in KOTLIN
    assert float(re.search(r"else (-\de\d)f", KOTLIN).group(1)) == FORBIDDEN
