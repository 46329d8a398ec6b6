"""The folder that the documents speak of."""

import json

import numpy as np
import PIL.Image
import pytest

import captioner
from captioner.types import END
from tests.support.documents import README, blocks
from tests.support.models.tiny_model import build_tiny_model
from training.loop import cider_regression


@pytest.fixture(scope="session")
def world(tmp_path_factory, images):
    """Models, images and captions under the names that the documents use."""
    folder = tmp_path_factory.mktemp("world")
    model = build_tiny_model()
    bias = model.decoder.logits.bias
    # With random weights the likeliest caption may be an empty one.
    bias.assign(bias - 3.0 * np.eye(bias.shape[0])[END])
    # The real default model has the reranker's parameters, too.
    features = np.random.default_rng(0).normal(size=(1, 9, 12)).astype(np.float32)
    model.reranker_parameters["cider_regression"] = cider_regression.fit(
        features, [["a dog runs"], ["the cat sits"], ["a red cat"]] * 3, model.tokenizer
    )
    for place in ("saved_models/default", "runs/photos/model"):
        captioner.save(model, folder / place)
    for path, image in zip(("photos/beach.jpg", "photos/dog.jpg"), images, strict=False):
        (folder / path).parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(image).save(folder / path)
    (folder / "photos/more").mkdir()
    for number in range(16):  # the fewest that 8-bit quantisation takes
        PIL.Image.fromarray(images[number % len(images)]).resize((40 + number, 40)).save(
            folder / f"photos/more/{number}.png"
        )
    (folder / "photos/captions.csv").write_text(blocks(README, "csv")[0])
    lines = blocks(README, "csv")[0].replace("\nbeach", "\nphotos/beach").replace("\ndog", "\nphotos/dog")
    (folder / "references.csv").write_text(lines)
    run = folder / "runs/flickr8k_lstm"
    run.mkdir(parents=True)
    (run / "predictions_test.json").write_text(json.dumps({"1.jpg": "a dog", "2.jpg": "a cat"}))
    (run / "references_test.json").write_text(json.dumps({"1.jpg": ["A dog ."], "2.jpg": ["Cats ."]}))
    return folder
