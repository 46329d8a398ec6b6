"""Model files with hostile content, to test readers with."""

import copy
import io
import json
import shutil
import sys
import zipfile

from captioner.errors import CaptionerError

CALIBRATION = {"bias": 1.0, "weights": {"mean_logp": 2.0, "least_logp": 0.0, "words": 0.0}}
MARKER = "marker-of-a-command"
COMMAND = f"os:system(command='touch {MARKER}')"
INNER = COMMAND.replace("'", "\\'")
SPECS = [
    COMMAND,
    f"os:popen(cmd='touch {MARKER}')",
    f"subprocess:run(args=['touch', '{MARKER}'])",
    "evil_parts:run(units=4)",
    "lstm(attention='evil_parts:run')",
    "ensemble(members=['gru(units=4)', 'evil_parts:run'])",
    "concat(encoders=['small_cnn', 'evil_parts:run'])",
    f"lstm(attention='{INNER}')",
    f"top_down(cell='{INNER}')",
    f"ensemble(members=['lstm', '{INNER}'])",
    f"concat(encoders=['small_cnn', '{INNER}'])",
]


VALUES = [
    None,
    True,
    -1,
    0,
    10**9,
    10**400,
    1.5,
    1e308,
    "",
    "x",
    "NaN",
    [],
    {},
    [1],
    [[1]],
    {"a": {}},
    "(" * 10**5,
]


def paths(value, start=()):
    """The paths of all entries of a JSON value, objects and lists included."""
    yield from [start] if start else []
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths(value[key], (*start, key))


def changed(value, path, new):
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


def survives(open_and_use):
    """Whether a call succeeds; else it must raise a CaptionerError of one line."""
    try:
        open_and_use()
    except CaptionerError as error:
        assert "\n" not in str(error) and 10 < len(str(error)) < 2000, str(error)[:3000]
        return False
    return True


def rewritten(path, target, metadata, words=None):
    """A `.tflite` file with the same graph and other metadata."""
    with zipfile.ZipFile(path) as archive:
        length = json.loads(archive.read("captioner.json"))["bytes"]
        words = archive.read("vocab.txt") if words is None else words
    data = io.BytesIO(path.read_bytes()[:length])
    data.seek(0, io.SEEK_END)
    with zipfile.ZipFile(data, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("captioner.json", metadata if isinstance(metadata, bytes) else json.dumps(metadata))
        archive.writestr("vocab.txt", words)
    target.write_bytes(data.getvalue())
    return target


def metadata_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("captioner.json")) | {"confidence": CALIBRATION}


def folder_with(small_bundle, tmp_path, name, content):
    folder = tmp_path / "m"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(small_bundle, folder)
    (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def package(tmp_path, monkeypatch, name):
    """Writes a package of the user, with a strategy, an attention and a registered layer."""
    (tmp_path / f"{name}.py").write_text(
        "import keras\n"
        "from captioner.decoding.strategies.greedy import Greedy\n"
        "from captioner.models.attention import Additive\n"
        "class Mine(Greedy):\n    pass\n"
        "class Look(Additive):\n    pass\n"
        f"@keras.saving.register_keras_serializable('{name}')\n"
        "class Double(keras.layers.Layer):\n"
        "    def call(self, x):\n        return x * 2\n"
    )
    monkeypatch.delitem(sys.modules, name, raising=False)
