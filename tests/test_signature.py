"""The served signatures, and the captions in the outputs of `explain`."""

import numpy as np
import pytest

from captioner import signature
from captioner.errors import EngineError
from captioner.signature import SIGNATURES, captions_from, missing

SHAPE = (2, 3)


def maps(*weights):
    """[T, H, W], one constant map a weight."""
    return np.array([np.full(SHAPE, weight) for weight in weights], np.float32)


@pytest.fixture
def outputs():
    """Outputs for two images and an unreadable one: at most two captions for each, T = 3 words."""
    none = maps(0, 0, 0)
    return {
        "caption": np.array([b"a dog", "ein kätzchen".encode(), b""], object),
        "score": np.array([-0.5, -0.75, 0], np.float32),
        "logp": np.array([-1.5, -2.25, 0], np.float32),
        "ids": np.array([[4, 5, 2], [6, 7, 8], [0, 0, 0]], np.int32),
        "words": np.array([[b"a", b"dog", b""], [b"ein", "kätz".encode(), b"chen"], [b""] * 3], object),
        "word_logp": np.array([[-0.5, -0.75, -0.25], [-1, -1, -0.25], [0, 0, 0]], np.float32),
        "attention": np.stack([maps(0.1, 0.2, 0.3), maps(0.4, 0.5, 0.6), none]),
        "ok": np.array([True, True, False]),
        "error": np.array([b"", b"", b"not an\n image"], object),
        "alternatives_caption": np.array([[b"dog", b""], [b"", b""], [b"", b""]], object),
        "alternatives_score": np.array([[-2, -1e9], [-3, -1e9], [0, 0]], np.float32),
        "alternatives_logp": np.array([[-4, -1e9], [-3, -1e9], [0, 0]], np.float32),
        "alternatives_ids": np.array([[[5, 2, 0], [2, 0, 0]], [[2, 0, 0]] * 2, [[0] * 3] * 2], np.int32),
        "alternatives_words": np.array([[[b"dog", b"", b""], [b""] * 3], *[[[b""] * 3] * 2] * 2], object),
        "alternatives_word_logp": np.full((3, 2, 3), -1.5, np.float32),
        "alternatives_attention": np.stack([[maps(0.5, 0.1, 0), none], [none, none], [none, none]]),
    }


def test_captions_equal_the_outputs(outputs):
    dog, cat, bad = captions_from(outputs)
    assert (dog.text, dog.words, dog.score, dog.logp) == ("a dog", ("a", "dog"), -0.5, -1.5)
    # The end token's share is in logp and in no word; its map is of no word either.
    assert dog.word_logp == (-0.5, -0.75)
    assert np.array_equal(dog.attention, maps(0.1, 0.2)) and dog.attention.dtype == np.float32
    # A caption that was cut has no end token.
    assert cat.words == ("ein", "kätz", "chen") and len(cat.word_logp) == len(cat.attention) == 3
    assert (bad.text, bad.error, bad.words, bad.alternatives) == ("", "not an image", (), ())


def test_alternatives_come_in_order_without_the_empty_filling(outputs):
    dog, cat, _ = captions_from(outputs)
    (one,) = dog.alternatives
    assert (one.text, one.words, one.score, one.logp, one.word_logp) == ("dog", ("dog",), -2, -4, (-1.5,))
    assert np.array_equal(one.attention, maps(0.5))
    # Saying nothing is a caption, as long as it is a likely one.
    assert [(c.text, c.words, c.logp, c.attention) for c in cat.alternatives] == [("", (), -3, None)]


def test_one_caption_an_image_needs_no_alternatives(outputs):
    plain = {name: array for name, array in outputs.items() if not name.startswith("alternatives")}
    assert [c.alternatives for c in captions_from(plain)] == [(), (), ()]
    assert [c.text for c in captions_from(plain)] == [c.text for c in captions_from(outputs)]


@pytest.mark.parametrize("kind", ["U", "S", "str"])
def test_strings_come_in_any_form(outputs, kind):
    def convert(array):
        if array.dtype != object:
            return array
        text = np.vectorize(lambda b: b.decode(), otypes=[object])(array)
        return {"U": text.astype("U"), "str": text, "S": np.char.encode(text.astype("U"), "utf-8")}[kind]

    captions = captions_from({name: convert(array) for name, array in outputs.items()})
    for one, other in zip(captions, captions_from(outputs), strict=True):
        assert (one.text, one.words, one.error) == (other.text, other.words, other.error)
        assert type(one.text) is str and {type(word) for word in one.words} <= {str}


def test_a_model_without_attention_has_none(outputs):
    outputs["attention"] = np.zeros((3, 3, 1, 1), np.float32)
    outputs["alternatives_attention"] = np.zeros((3, 2, 3, 1, 1), np.float32)
    dog = captions_from(outputs)[0]
    assert dog.attention is None and dog.alternatives[0].attention is None


def test_no_images_no_captions(outputs):
    assert captions_from({name: array[:0] for name, array in outputs.items()}) == []


def test_a_caption_does_not_hold_the_response(outputs):
    assert captions_from(outputs)[0].attention.base is None


def test_a_bad_row_always_has_a_reason(outputs):
    outputs["error"] = np.array([b"", b"", b""], object)
    assert captions_from(outputs)[2].error


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("caption", None, "'caption'"),
        ("alternatives_words", None, "'alternatives_words'"),
        ("words", lambda a: np.zeros(a.shape), r"strings \[3, 3\] in the output 'words', got float64"),
        ("caption", lambda a: a[:2], r"\[2\]"),
        ("word_logp", lambda a: a[:, :2], r"'word_logp', got float32 \[3, 2\]"),
        ("attention", lambda a: a[..., 0], r"\[3, 3, H, W\].*got float32 \[3, 3, 2\]"),
        ("alternatives_attention", lambda a: a[..., :2], r"\[3, 2, 3, 2, 3\]"),
        ("score", lambda a: np.where(a, a, np.nan), "finite"),
        ("attention", lambda a: a / np.float32(0), "finite"),
        ("ok", lambda a: a.astype(np.float32), "booleans"),
        ("ids", lambda a: a.astype(np.float32), "integers"),
        ("caption", lambda a: np.array([b"\xff\xfe", b"", b""], object), "UTF-8"),
        ("caption", lambda a: np.array(["\ud800", "", ""]), "UTF-8"),
        ("words", lambda a: np.where(a == b"a", 7, a), "string"),
        ("words", lambda a: a[:, ::-1], "gaps"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_foreign_files_are_refused(outputs, name, change, message):
    if change is None:
        del outputs[name]
    else:
        outputs[name] = change(outputs[name])
    with pytest.raises(EngineError, match=message) as caught:
        captions_from(outputs)
    assert "\n" not in str(caught.value)


def test_the_signatures_are_these():
    """They are public: a change breaks clients that we never see."""
    assert {name: " ".join(SIGNATURES[name]) for name in SIGNATURES} == {
        "serving_default": "caption score ok error",
        "captions": "caption score logp ok error",
        "explain": "caption score logp ids words word_logp attention alternatives_caption alternatives_score "
        "alternatives_logp alternatives_ids alternatives_words alternatives_word_logp alternatives_attention ok error",
    }
    names = {name for outputs in SIGNATURES.values() for name in outputs}
    assert not any(name.endswith("_bytes") for name in names), "REST would answer with base64"


@pytest.mark.parametrize("n_best", [1, 3])
def test_engines_read_what_explain_gives(n_best):
    sizes = {"B": 2, "K-1": n_best - 1, "T": 4, "H": 3, "W": 5}
    arrays = {
        name: np.full([sizes[axis] for axis in output.axes], b"" if output.dtype == "str" else 0)
        .astype(output.dtype.replace("str", "S"))
        for name, output in signature.outputs("explain", n_best).items()
    }  # fmt: skip
    arrays["ok"][0] = True
    good, bad = captions_from(arrays)
    assert (good.ok, good.text, len(good.alternatives), bad.ok) == (True, "", n_best - 1, False)
    assert missing(["image_bytes"], arrays) == []
    for name in arrays:
        others = {n: array for n, array in arrays.items() if n != name}
        with pytest.raises(EngineError, match=f"expected the output '{name}'"):
            captions_from(others)
        assert missing(["image_bytes"], others) == ([] if name.startswith("alternatives_") else [name])
    assert missing(["images"], arrays) == missing(["image_bytes", "size"], arrays) == ["image_bytes"]
