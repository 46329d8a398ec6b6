"""Captions pictures on a device with one .tflite file; needs ai-edge-litert, NumPy and Pillow, not captioner.

python device.py model_int8.tflite dog.jpg cat.jpg
"""

import json
import sys
import zipfile

import numpy as np
import PIL.Image
import PIL.ImageOps
from ai_edge_litert.interpreter import Interpreter

START, END, SPECIALS = 1, 2, ("<pad>", "<start>", "<end>", "<unk>")


class Captioner:
    """The file's two signatures: `encode` looks once, `step` weighs the next word of every beam."""

    def __init__(self, path):
        with zipfile.ZipFile(path) as packed:
            self.facts = json.loads(packed.read("captioner.json"))
            self.words = [*SPECIALS, *packed.read("vocab.txt").decode().split("\n")]
        graph = Interpreter(model_path=path)
        self.encode, self.step = graph.get_signature_runner("encode"), graph.get_signature_runner("step")

    def caption(self, path, width=3, length_penalty=0.6):
        """Beam search: the `width` likeliest beginnings side by side; ended ones keep their place."""
        height, wide = self.facts["image_size"]
        picture = PIL.ImageOps.exif_transpose(PIL.Image.open(path)).convert("RGB")
        picture = picture.resize((wide, height), PIL.Image.Resampling.BILINEAR)
        seen = self.encode(image=np.asarray(picture)[np.newaxis])
        memory = {name: seen[name] for name in self.facts["memory"]}
        state = {name: np.repeat(seen[name], width, axis=0) for name in self.facts["state"]}
        # Ids and log-probability; before the first word one beam is real.
        beams: list = [([], 0.0), *[([], -1e9)] * (width - 1)]
        for _ in range(self.facts["max_length"]):
            ids = np.array([said[-1] if said else START for said, _ in beams], np.int32)
            found = self.step(ids=ids, **memory, **state)
            top = found["logits"].max(axis=1, keepdims=True)
            logp = found["logits"] - top - np.log(np.exp(found["logits"] - top).sum(axis=1, keepdims=True))
            logp[:, [0, 1, 3]] = -1e9  # never <pad>, <start>, <unk>
            roads = []
            for row, (said, so_far) in enumerate(beams):
                if said and said[-1] == END:
                    roads.append((so_far, row, said))
                    continue
                for word in np.argsort(-logp[row])[:width]:
                    roads.append((so_far + logp[row, word], row, [*said, int(word)]))
            roads = sorted(roads, key=lambda road: -road[0])[:width]
            beams = [(said, so_far) for so_far, _, said in roads]
            rows = [row for _, row, _ in roads]
            state = {name: found[f"next_{name}"][rows] for name in state}
            if all(said[-1] == END for said, _ in beams):
                break
        best, _ = max(beams, key=lambda beam: beam[1] / ((5 + len(beam[0])) / 6) ** length_penalty)
        return " ".join(self.words[word] for word in best if word != END)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    model = Captioner(sys.argv[1])
    for each in sys.argv[2:]:
        print(f"{each}: {model.caption(each)}")
