"""Writes and reads model folders whose files all hold one name, which tells an old model from a new one."""

from captioner import bundle
from captioner.text import Tokenizer

CONFIG = {"encoder": "small_cnn", "decoder": "lstm", "max_length": 20, "image_size": [32, 32]}
CALIBRATION = {"bias": 1.0, "weights": {"mean_logp": 2.0, "least_logp": 0.0, "words": 0.0}}


def write(folder, name, size=3):
    """Writes a bundle with `name` in all its files; "old" and "new" have different optional files."""

    def save(path):
        with open(path, "w") as file:
            file.write(name * size)

    optional = {"card": f"# {name}"}
    if name == "new":
        optional = {"confidence": CALIBRATION, "save_reranker_parameters": {"cider_regression": save}}
    return bundle.write(
        folder, CONFIG, Tokenizer([name]), save, metrics={"name": name}, overwrite=True, **optional
    )


def model_name(folder, size=3):
    """The name in all files of the bundle, which must agree."""

    def name_of(model):
        name = model.tokenizer.word(4)
        assert model.weights.read_text() == name * size and model.metrics == {"name": name}
        assert model.card == ("" if name == "new" else f"# {name}")
        assert bool(model.confidence) == (name == "new") == bool(model.reranker_parameters)
        for path in model.reranker_parameters.values():
            assert path.read_text() == name * size
        return name

    return bundle.opened(folder, name_of)


def leftovers(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]
