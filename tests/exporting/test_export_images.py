"""Images inside a served graph: one bad file fails alone; the batch continues, and is told in the same words."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from captioner.errors import ImageError
from captioner.image import loading, pillow_preprocess, tf_bytes, tf_decode, tf_headers
from tests.support.images import odd_images

SIZE = (24, 32)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def read():
    return tf_decode.reader(SIZE)


@pytest.fixture(scope="module")
def rows():
    graph = tf.function(
        lambda data: tf_decode.load_rows(data, SIZE),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )
    return lambda files: [part.numpy() for part in graph(tf.constant(files, tf.string, shape=[len(files)]))]


def told(read, data):
    """The pixels, or the reason why not."""
    try:
        return read(data).numpy()
    except ImageError as error:
        return str(error)


def test_rows_are_read_as_one_by_one(read, rows):
    files = {**odd_images.good(), **odd_images.bad()}
    names = sorted(files, key=lambda name: hash(name) % 97)
    made, errors = rows([files[name] for name in names])
    for name, image, error in zip(names, made, errors, strict=True):
        expected = told(read, files[name])
        if isinstance(expected, str):
            assert error.decode() == expected, name
            assert not image.any()
            assert name in odd_images.bad(), f"{name}: {expected}"
        else:
            assert error == b"" and name in odd_images.good(), f"{name}: {error}"
            np.testing.assert_array_equal(image, expected, name)


def test_reasons_say_what_is_wrong(rows):
    reasons = dict(
        zip(odd_images.bad(), (e.decode() for e in rows(list(odd_images.bad().values()))[1]), strict=True)
    )
    assert (
        reasons["bomb-png"]
        == "20000 x 20000 pixels are more than 50 megapixels: make it smaller or save it as JPEG"
    )
    assert reasons["bomb-jpeg"] == "60000 x 60000 pixels are more than 400 megapixels: make it smaller"
    assert reasons["bomb-bmp"].startswith("30000 x 30000 pixels are more than 50 megapixels")
    assert reasons["bomb-webp"].startswith("16384 x 16384 pixels are more than 50 megapixels")
    assert reasons["bomb-gif-screen"].startswith("65535 x 65535 pixels are more than 50 megapixels")
    assert reasons["bomb-gif-frame"].startswith("65535 x 65535 pixels are more than 50 megapixels")
    assert reasons["text"] == reasons["empty"] == "not a JPEG, PNG, GIF, BMP or WebP file"
    assert reasons["png-damaged-at-60"] == "damaged PNG, it cannot be decoded"
    assert reasons["cut-JPEG-0.6"] == "damaged JPEG, it cannot be decoded"
    assert reasons["webp-animated"] == "animated WebP is not supported"
    assert all(reason and "\n" not in reason for reason in reasons.values())


@pytest.mark.parametrize("files", [[], [b"x"], [b""] * 20], ids=len)
def test_all_bad_or_none(rows, files):
    made, errors = rows(files)
    assert made.shape == (len(files), *SIZE, 3) and not made.any()
    assert all(error.startswith(b"not a JPEG") for error in errors)


def test_order_is_kept_when_some_are_slow(read, rows):
    large = [odd_images.encoded(odd_images.drawn(1500, 1500, turn=i), "PNG") for i in range(2)]
    small = [odd_images.encoded(odd_images.drawn(40, 30, turn=5 * i), "PNG") for i in range(20)]
    files = [large[0], *small[:10], b"bad", large[1], *small[10:]]
    made, errors = rows(files)
    assert [place for place, error in enumerate(errors) if error] == [11]
    for place, data in enumerate(files):
        if place != 11:
            np.testing.assert_array_equal(made[place], read(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "webp-lossless", "webp-alpha"])
def test_the_limit_is_the_pixels_of_the_file(kind):
    image = odd_images.drawn(50, 40)
    if kind.startswith("webp-"):
        alpha = image.convert("RGBA")
        alpha.putpixel((0, 0), (1, 2, 3, 4))
        data = odd_images.encoded(
            *((image, "WEBP") if "less" in kind else (alpha, "WEBP")), lossless="less" in kind
        )
    else:
        data = odd_images.encoded(image, kind)
    data = tf.constant(data)
    if kind == "JPEG":  # decoded at a half or a quarter first, up to eight times the limit
        assert tf_headers.refusal(data, 250).numpy() == b""
        assert (
            tf_headers.refusal(data, 249).numpy()
            == b"50 x 40 pixels are more than 0.001992 megapixels: make it smaller"
        )
        return
    assert tf_headers.refusal(data, 2000).numpy() == b""
    assert (
        tf_headers.refusal(data, 1999)
        .numpy()
        .startswith(b"50 x 40 pixels are more than 0.001999 megapixels: make")
    )


def test_only_the_first_gif_frame_is_unpacked(read):
    frames = [odd_images.drawn(50, 40, turn=20 * i) for i in range(9)]
    data = odd_images.encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], optimize=False)
    frame = tf_headers.gif_frame(tf_bytes.padded(tf.constant(data)))
    assert (int(frame.height), int(frame.width)) == (40, 50) and int(frame.end) < len(data) / 4
    np.testing.assert_array_equal(read(data[: int(frame.end)] + b"and no more frames"), read(data))
    # A file cut into pieces of one byte, with a length that changes so that no run is skipped.
    pieces = b"".join(bytes([1 + i % 2]) + b"xx"[: 1 + i % 2] for i in range(9000))
    fine = odd_images.gif_frame(5, 5)[:-6] + b"\x02" + pieces + b"\0;"
    refusal = tf.function(
        tf_headers.refusal, autograph=False
    )  # a loop of thousands of steps is slow outside a graph
    assert refusal(tf.constant(fine)).numpy() == b"GIF with too many pieces"
    with pytest.raises(ImageError, match="GIF with too many pieces"):
        pillow_preprocess.read(fine, SIZE)


def test_a_decompression_bomb_costs_no_memory():
    """In a process of its own, so that the peak is its own."""
    code = f"""
import resource, sys
sys.path[:0] = {[str(ROOT)]!r}
import tensorflow as tf
from captioner.image import tf_decode
from tests.support.images import odd_images
graph = tf.function(lambda data: tf_decode.load_rows(data, (224, 224)),
                    input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
small = odd_images.encoded(odd_images.drawn(), "PNG")
bombs = [v for k, v in odd_images.bad().items() if k.startswith("bomb")]
graph(tf.constant([small] * (1 + len(bombs))))
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
_, errors = graph(tf.constant([*bombs, small]))
assert [bool(e) for e in errors.numpy()] == [True] * len(bombs) + [False], errors
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout.split()[-1]) < 300


def test_the_front_door_agrees(read):
    """What `captioner.image.loading` lets through, the graph reads, or says why not."""
    for name, data in odd_images.good().items():
        assert not isinstance(told(read, loading.to_bytes(data)), str), name
