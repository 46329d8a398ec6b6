"""Captions images on a device with one .tflite file; needs ai-edge-litert, NumPy and Pillow, not captioner.

python device.py model_int8.tflite dog.jpg cat.jpg
"""

import contextlib
import io
import json
import sys
import zipfile

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.ImageOps
from ai_edge_litert.interpreter import Interpreter

PIL.Image.MAX_IMAGE_PIXELS = 400_000_000
START, END, SPECIALS = 1, 2, ("<pad>", "<start>", "<end>", "<unk>")


def pixels(path, size):
    """An image file as the model takes it, uint8 [H, W, 3]: upright, in sRGB, on white, resized to `size`."""
    image: PIL.Image.Image = PIL.Image.open(path)
    # A huge JPEG is decoded at a half or a quarter of its size; other formats cannot.
    ratio = next(ratio for ratio in (1, 2, 4) if image.width * image.height <= 50e6 * ratio**2)
    image.draft(image.mode, (image.width // ratio, image.height // ratio))
    # As in browsers, EXIF orientation applies (in a PNG only before the pixels), XMP does not.
    exif, profile = image.info.get("exif"), image.info.get("icc_profile")
    for key in ("xmp", "XML:com.adobe.xmp"):
        image.info.pop(key, None)
    image.load()
    if image.mode.startswith("I;16"):
        image = PIL.Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"{path}: expected 8 or 16 bits a channel")
    rgba = image.convert("RGBA")
    if profile:
        with contextlib.suppress(PIL.ImageCms.PyCMSError):
            srgb = PIL.ImageCms.createProfile("sRGB")
            transform = PIL.ImageCms.buildTransform(io.BytesIO(profile), srgb, "RGB", "RGB")
            colours = transform.apply(rgba.convert("RGB"))
            colours.putalpha(rgba.getchannel("A"))
            rgba = colours
    image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    image.info = {"exif": exif} if exif else {}
    image = PIL.ImageOps.exif_transpose(image)
    return np.asarray(image.resize((size[1], size[0]), PIL.Image.Resampling.BILINEAR))


class Captioner:
    """The two signatures of the file: `encode` runs once, `step` gives the logits of the next word of every beam."""

    def __init__(self, path):
        with zipfile.ZipFile(path) as packed:
            self.metadata = json.loads(packed.read("captioner.json"))
            self.words = [*SPECIALS, *packed.read("vocab.txt").decode().split("\n")]
        graph = Interpreter(model_path=path)
        self.encode, self.step = graph.get_signature_runner("encode"), graph.get_signature_runner("step")

    def caption(self, path, width=3, length_penalty=0.6):
        """Beam search with `width` beams; finished beams are kept."""
        encoded = self.encode(image=pixels(path, self.metadata["image_size"])[np.newaxis])
        memory = {name: encoded[name] for name in self.metadata["memory"]}
        state = {name: np.repeat(encoded[name], width, axis=0) for name in self.metadata["state"]}
        # Ids and log-probability; before the first word only one beam is real.
        beams: list = [([], 0.0), *[([], -1e9)] * (width - 1)]
        for _ in range(self.metadata["max_length"]):
            last = np.array([ids[-1] if ids else START for ids, _ in beams], np.int32)
            outputs = self.step(ids=last, **memory, **state)
            logits = outputs["logits"] - outputs["logits"].max(axis=1, keepdims=True)
            logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            logp[:, [0, 1, 3]] = -1e9  # never <pad>, <start>, <unk>
            candidates = []
            for row, (ids, score) in enumerate(beams):
                if ids and ids[-1] == END:
                    candidates.append((score, row, ids))
                    continue
                for word in np.argsort(-logp[row])[:width]:
                    candidates.append((score + logp[row, word], row, [*ids, int(word)]))
            candidates = sorted(candidates, key=lambda candidate: -candidate[0])[:width]
            beams = [(ids, score) for score, _, ids in candidates]
            rows = [row for _, row, _ in candidates]
            state = {name: outputs[f"next_{name}"][rows] for name in state}
            if all(ids[-1] == END for ids, _ in beams):
                break
        best, _ = max(beams, key=lambda beam: beam[1] / ((5 + len(beam[0])) / 6) ** length_penalty)
        return " ".join(self.words[word] for word in best if word != END)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    model = Captioner(sys.argv[1])
    for image_path in sys.argv[2:]:
        print(f"{image_path}: {model.caption(image_path)}")
