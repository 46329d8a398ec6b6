"""Golden captions and log-probabilities of the default model for ten drawn images, in each of its forms.

`golden_default.json` holds the seeds of the images and the values; `python tests/engines/test_golden.py` rewrites it
for a new default model. Of 150 images drawn these are ten whose captions do not depend on rounding, which differs
with a processor's instructions: in every form the best two captions are at least 0.3 apart in score, and both `.tflite`
files say the same with TensorFlow's reference kernels instead of XNNPACK's.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import captioner
from tests.support.images.drawn_images import drawn_image

DEFAULT = Path(__file__).parents[2] / "saved_models/default"
GOLDEN = Path(__file__).with_name("golden_default.json")
# The recorded values of each form; a `.tflite` file has its images read and resized by Pillow.
FORMS = {".": "float", "1": "float", "model_float16.tflite": "float16", "model_int8.tflite": "int8"}
# Sums in another order differ by 2e-5 at most (AVX2, AVX-512, with and without oneDNN; reference kernels). In 8 bits
# another kernel may round to the neighbouring whole number: the reference kernels differ from XNNPACK's by up to 0.23.
TOLERANCE = {"float": 1e-4, "float16": 1e-4, "int8": 0.25}


def golden():
    return json.loads(GOLDEN.read_text())


def captions_of(form, seeds):
    with captioner.load(DEFAULT / form) as model:
        return list(model.caption_many(drawn_image(seed) for seed in seeds))


def fingerprint(seeds):
    return hashlib.sha256(b"".join(drawn_image(seed).tobytes() for seed in seeds)).hexdigest()


def test_images_are_those_of_the_recording():
    recorded = golden()
    assert len(recorded["seeds"]) == 10 and fingerprint(recorded["seeds"]) == recorded["images"]


@pytest.mark.parametrize("form", FORMS)
def test_captions_and_log_probabilities(form):
    if form.endswith(".tflite"):
        pytest.importorskip("ai_edge_litert")
    recorded, kind = golden(), FORMS[form]
    captions = captions_of(form, recorded["seeds"])
    assert [caption.text for caption in captions] == [wanted["text"] for wanted in recorded[kind]]
    logp = [caption.logp for caption in captions]
    np.testing.assert_allclose(
        logp, [wanted["logp"] for wanted in recorded[kind]], atol=TOLERANCE[kind], rtol=0
    )


def write(seeds):
    """Rewrites the file; forms with the same values take them from the first."""
    recorded = {"seeds": seeds, "images": fingerprint(seeds)}
    for form, kind in FORMS.items():
        if kind not in recorded:
            recorded[kind] = [{"text": c.text, "logp": round(c.logp, 6)} for c in captions_of(form, seeds)]
    GOLDEN.write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    write(golden()["seeds"])
