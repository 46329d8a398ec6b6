"""Model folders: writing and reading, damaged files, and other files in the folder."""

import errno
import json
import os

import pytest

import captioner
from captioner import bundle
from captioner.errors import BundleError, CaptionerError
from captioner.text import Tokenizer

CONFIG = {
    "encoder": "small_cnn(width=8)",
    "decoder": "lstm(units=4)",
    "max_length": 20,
    "image_size": [32, 32],
}
TOKENIZER = Tokenizer(["ein", "Hund", "läuft", "狗"])


def save_weights(content: bytes = b"weights"):
    def save(path):
        assert path.endswith(".weights.h5")
        with open(path, "wb") as file:
            file.write(content)

    return save


def write(folder, content=b"weights", tokenizer=TOKENIZER, **options):
    return bundle.write(folder, CONFIG, tokenizer, save_weights(content), **options)


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def files(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_write_and_read(tmp_path):
    folder = tmp_path / "deep" / "er" / "mine"
    assert write(folder, card="# Karte\nü", metrics={"CIDEr-D": 54.1}, parameters={"encoder": 3}) == folder
    model = bundle.read(folder)
    assert model.config == CONFIG
    assert model.tokenizer == TOKENIZER
    assert model.weights.read_bytes() == b"weights"
    assert (model.card, model.metrics, model.parameters) == ("# Karte\nü", {"CIDEr-D": 54.1}, {"encoder": 3})
    assert model.captioner == bundle.version()
    assert os.stat(folder).st_mode & 0o777 == 0o777 & ~_umask()


def test_card_and_metrics_are_optional(tmp_path):
    model = bundle.read(write(tmp_path / "m"))
    assert (model.card, model.metrics) == ("", {})
    assert set(files(tmp_path / "m")) == {"captioner.json", "model.weights.h5", "vocab.txt"}


def test_the_language_is_recorded_and_english_without(tmp_path):
    folder = write(tmp_path / "m", language="de-AT")
    assert bundle.read(folder).language == "de-AT"
    change(folder, language=None)  # as folders of older versions
    assert bundle.read(folder).language == bundle.read(write(tmp_path / "other")).language == "en"
    change(folder, language="German")
    with pytest.raises(
        BundleError, match="language in .*captioner.json expects a code such as 'en'"
    ) as error:
        bundle.read(folder)
    one_line(error)
    with pytest.raises(BundleError, match="got 7"):
        write(tmp_path / "wrong", language=7)
    assert not (tmp_path / "wrong").exists()


def test_the_strategy_is_recorded_if_there_is_one(tmp_path):
    folder = write(tmp_path / "m", strategy="beam(width=20,rerank='cider_regression')")
    assert bundle.read(folder).strategy == "beam(width=20, rerank='cider_regression')"
    change(folder, strategy=None)  # as folders of older versions
    assert bundle.read(folder).strategy == ""
    assert "strategy" not in json.loads((write(tmp_path / "other") / "captioner.json").read_text())
    with pytest.raises(BundleError, match="strategy: expected a spec .* got 'beam.width='") as error:
        write(tmp_path / "wrong", strategy="beam(width=")
    one_line(error)
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize(
    "value", ["", "beam(width=", "beam; greedy", 7, ["beam"], {}, "beam(width=" + "(" * 90_000, "x" * 100_001]
)
def test_a_strategy_that_is_no_spec_is_one_line(tmp_path, value):
    folder = write(tmp_path / "m")
    change(folder, strategy=value)
    with pytest.raises(BundleError, match="damaged .*captioner.json: strategy: expected a ") as error:
        bundle.read(folder)
    assert len(one_line(error)) < 500


def test_a_model_is_not_overwritten_unasked(tmp_path):
    folder = write(tmp_path / "m")
    before = files(folder)
    with pytest.raises(BundleError) as error:
        write(folder, b"others")
    assert "already holds a model: pass overwrite=True (--overwrite)" in one_line(error)
    assert files(folder) == before


def test_overwriting_keeps_other_files(tmp_path):
    folder = write(tmp_path / "m", card="old", metrics={"old": 1})
    (folder / "1").mkdir()
    (folder / "1" / "saved_model.pb").write_bytes(b"export")
    (folder / "notes.txt").write_text("mine")
    write(folder, b"new", card="new", overwrite=True)
    model = bundle.read(folder)
    assert (model.weights.read_bytes(), model.card) == (b"new", "new")
    assert model.metrics == {}  # those of the old model would be a false claim
    assert (folder / "1" / "saved_model.pb").read_bytes() == b"export"
    assert (folder / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_folder_with_other_things_takes_a_model(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path)
    assert bundle.read(tmp_path).config == CONFIG
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_somebody_else_are_not_replaced(tmp_path, overwrite):
    (tmp_path / "vocab.txt").write_text("mine")
    with pytest.raises(BundleError) as error:
        write(tmp_path, overwrite=overwrite)
    assert "holds a vocab.txt that belongs to no model" in one_line(error)
    (tmp_path / "vocab.txt").rename(tmp_path / "captioner.json")
    with pytest.raises(BundleError):
        write(tmp_path, overwrite=overwrite)
    (tmp_path / "captioner.json").write_text("{}")
    with pytest.raises(BundleError) as error:
        write(tmp_path, overwrite=True)
    assert "was not written by captioner" in one_line(error)
    assert files(tmp_path) == {"captioner.json": b"{}"}


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "m").write_text("mine")
    with pytest.raises(BundleError, match="expected a folder to write the model to, got a file"):
        write(tmp_path / "m")
    with pytest.raises(BundleError, match="cannot write the model to"):
        write(tmp_path / "m" / "below")


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(
    "reason",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError("Can't write (failed: time = Sat\n, error message = 'No space left on device', buf = 0x5"),
        RuntimeError("Unable to close: errno = 28, error message = 'No space left on device', buf = 0x5"),
        KeyboardInterrupt(),
    ],
    ids=["system", "HDF5", "HDF5 closing", "Ctrl-C"],
)
def test_a_write_that_fails_changes_nothing(tmp_path, before, reason):
    folder = tmp_path / "m"
    if before:
        write(folder)
    old = files(tmp_path)

    def full(path):
        save_weights(b"half")(path)
        raise reason

    expected = BundleError if isinstance(reason, Exception) else KeyboardInterrupt
    with pytest.raises(expected) as error:
        bundle.write(folder, CONFIG, TOKENIZER, full, overwrite=True)
    if expected is BundleError:
        assert one_line(error) == f"cannot write the model to {folder}: No space left on device"
    assert files(tmp_path) == old
    assert folder.exists() == before


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(BundleError, match="no such model folder"):
        bundle.read(tmp_path / "nothing")
    with pytest.raises(BundleError) as error:
        bundle.read(tmp_path)
    for name in ("captioner.json", "model.weights.h5", "vocab.txt"):
        assert name in one_line(error)
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="the file .* has no captioner.json"):
        bundle.read(tmp_path / "file")


def change(folder, **entries):
    path = folder / "captioner.json"
    manifest = json.loads(path.read_text())
    manifest.update(entries)
    path.write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))


def test_a_newer_format_is_refused(tmp_path):
    folder = write(tmp_path / "m")
    change(folder, format=bundle.FORMAT + 1, captioner="9.0")
    with pytest.raises(BundleError) as error:
        bundle.read(folder)
    assert f"newer captioner (9.0, format {bundle.FORMAT + 1})" in one_line(error)
    assert "upgrade" in one_line(error)
    change(folder, format=10**400, captioner="9\n0\n" * 50)
    with pytest.raises(BundleError) as error:
        bundle.read(folder)
    assert "newer captioner (9 0 " in one_line(error) and len(one_line(error)) < 500
    write(folder, overwrite=True)  # whoever asks for it may still replace it
    assert bundle.read(folder).config == CONFIG


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_a_damaged_manifest(tmp_path, text):
    folder = write(tmp_path / "m")
    (folder / "captioner.json").write_text(text)
    with pytest.raises(BundleError) as error:
        bundle.read(folder)
    assert "captioner.json" in one_line(error)


@pytest.mark.parametrize("entry", ["model", "vocabulary", "sha256", "format"])
def test_a_manifest_that_lacks_an_entry(tmp_path, entry):
    folder = write(tmp_path / "m")
    change(folder, **{entry: None})
    with pytest.raises(BundleError) as error:
        bundle.read(folder)
    assert "captioner.json" in one_line(error)


@pytest.mark.parametrize("name", ["model.weights.h5", "vocab.txt"])
def test_a_missing_file(tmp_path, name):
    folder = write(tmp_path / "m")
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"incomplete model .*{name} is missing"):
        bundle.read(folder)


def test_damaged_weights(tmp_path):
    folder = write(tmp_path / "m")
    (folder / "model.weights.h5").write_bytes(b"weighty")
    with pytest.raises(BundleError) as error:
        bundle.read(folder)
    assert "damaged" in one_line(error) and "model.weights.h5" in one_line(error)


@pytest.mark.parametrize("words", [["ein", "Hund", "läuft"], ["Hund", "ein", "läuft", "狗"]])
def test_a_vocabulary_that_does_not_match_the_weights(tmp_path, words):
    folder = write(tmp_path / "m")
    Tokenizer(words).save(folder / "vocab.txt")
    with pytest.raises(BundleError) as error:
        bundle.read(folder)
    assert "a vocabulary that does not match the weights" in one_line(error)


def test_a_vocabulary_that_is_none(tmp_path):
    folder = write(tmp_path / "m")
    (folder / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(BundleError) as error:
        bundle.read(folder)
    assert "vocab.txt" in one_line(error)


def test_the_card_may_be_edited(tmp_path):
    folder = write(tmp_path / "m", card="first")
    (folder / "card.md").write_text("second")
    assert bundle.read(folder).card == "second"


def test_find_lists_the_models_of_a_folder(tmp_path):
    for name in ("b", "a", ".hidden"):
        write(tmp_path / name)
    (tmp_path / "other").mkdir()
    assert [p.name for p in bundle.find(tmp_path)] == ["a", "b"]
    assert bundle.find(tmp_path / "nowhere") == []


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("name", ["x" * 256, "a\0b", None, 7])
def test_impossible_folder_names_are_one_line(tmp_path, name):
    folder = tmp_path / name if isinstance(name, str) else name
    for use in (write, bundle.read, captioner.load):
        with pytest.raises(CaptionerError) as error:
            use(folder)
        assert len(one_line(error)) < 400
