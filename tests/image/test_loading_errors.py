"""What `loading.to_bytes` refuses, each in one line."""

import base64
import io
import os
import struct

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from captioner.errors import ImageError
from captioner.image import loading
from tests.support.images.image_files import drawn, encoded


def test_closed_pil_image():
    with PIL.Image.open(io.BytesIO(encoded(drawn(), "PNG"))) as image:
        pass
    for closed in (image, drawn()):
        closed.close()
        with pytest.raises(ImageError, match="its file was closed: open it again"):
            loading.to_bytes(closed)


def test_foreign_exceptions_become_image_errors():
    class Odd:
        shape = (2, 2)

        def __fspath__(self):
            raise RuntimeError("line one\nline two")

    with pytest.raises(ImageError, match="^dog: cannot read it: RuntimeError: line one line two$"):
        loading.to_bytes(Odd(), "dog")


def test_special_files_are_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("gone.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with (tmp_path / "sparse.tif").open("wb") as file:
        file.truncate(2**31)
    for name, words in [
        ("pipe.jpg", "expected an image file, got a pipe or device"),
        ("link.jpg", "a link to gone.jpg, which is not there"),
        ("loop.jpg", "cannot read it: Too many levels of symbolic links"),
        ("sparse.tif", "expected an image file of at most 1024 MB, got 2048 MB"),
        ("gone.jpg", "no such image file"),
    ]:
        with pytest.raises(ImageError) as caught:
            loading.to_bytes(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {words}"
    with pytest.raises(ImageError, match="got a pipe or device"):
        loading.to_bytes("/dev/zero")


def test_planar_16_bit_tiff_is_refused():
    entries = [(256, 2), (257, 1), (258, 16), (259, 1), (262, 2), (277, 3), (278, 1), (284, 2)]
    head = struct.pack("<4sI", b"II*\0", 8) + struct.pack("<H", 10)
    for tag, value in entries:
        head += struct.pack("<HHIHxx", tag, 3, 1, value)
    content = 8 + 2 + 12 * 10 + 4
    head += struct.pack("<HHII", 273, 4, 3, content) + struct.pack("<HHII", 279, 4, 3, content + 12)
    offsets = struct.pack("<6I", *(content + 24 + 4 * i for i in range(3)), 4, 4, 4)
    data = head + bytes(4) + offsets + np.arange(6, dtype="<u2").tobytes()
    with pytest.raises(ImageError, match="side by side, got planes: save it as JPEG or PNG"):
        loading.to_bytes(data)


def test_truncated_jpeg_with_thumbnail():
    thumbnail = encoded(drawn().resize((16, 16)), "JPEG")
    data = encoded(drawn(), "JPEG", exif=b"Exif\0\0" + thumbnail)
    assert loading.to_bytes(data) == data
    with pytest.raises(ImageError, match="truncated JPEG"):
        loading.to_bytes(data[:-40])


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("/no/such/dog.jpg", "/no/such/dog.jpg: no such image file"),
        ("/", "/: expected an image file, got a folder"),
        ("a\0b", "cannot read"),
        (b"", "empty file"),
        (b"some text, no image", "got text"),
        (b"abc", "got text: save it as JPEG or PNG"),
        (bytes(range(256)), "got unknown bytes: save it as JPEG or PNG"),
        (b"\0\0\0\x18ftypheic" + bytes(99), "got HEIC: save"),
        (
            base64.b64encode(encoded(drawn(), "PNG")),
            "got text: this is base64 text: decode it first, or over REST wrap",
        ),
        (base64.b64encode(encoded(drawn(), "JPEG"))[:30], "this is base64 text"),
        (base64.urlsafe_b64encode(encoded(drawn(), "JPEG")), "this is base64 text"),
        (
            b"data:image/png;base64,iVBORw0KGgo=",
            "this is a data: URL: decode the base64 text behind its comma",
        ),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer: run git lfs pull"),
        (b"\0\0\0\x18ftypmif1" + bytes(99), "got HEIC: save"),
        (b"\0\0\0\x18ftypcrx " + bytes(99), "got a camera's raw file: save"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "got text: save it as"),
        (b"%PDF-1.7\n%\xe2\xe3\n", "got a PDF document: save"),
        (b"\0\0\0\x18ftypisom" + bytes(99), "got a video: save"),
        (encoded(drawn(), "TIFF")[:500], "image"),
        (encoded(drawn(), "PNG")[:-20], "truncated PNG"),
        ("http://example.com/a.jpg", "http://example.com/a.jpg: expected .* a URL: download it"),
        ("file:///home/me/a.jpg", "a file: URL: pass the path"),
        (
            base64.b64encode(encoded(drawn(), "PNG")).decode() * 3,
            r"^\S{60}\.\.\.: expected the path .* base64 text",
        ),
        ("data:image/png;base64,iVBORw0KGgo=", "expected the path of an image file: this is a data: URL"),
        ("~/no-such-dog.jpg", "no such image file: write out the home folder"),
        ("no\nsuch.jpg", r"^no\\nsuch.jpg: no such image file"),
        ("", "expected the path of an image file, got an empty one"),
        (b"/home/me/a.jpg", "this is a path: pass it as str"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page: download the image itself"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "this is SVG: save it as PNG"),
        (b"II*\0\x08\0\0\0\0\0", "got a TIFF of a depth or layout that is not read: save it as JPEG or PNG"),
        (io.BytesIO(encoded(drawn(), "PNG")), r"got BytesIO: pass its \.read\(\)"),
        (["a.jpg"], "got list: caption several with caption_many"),
        (np.frombuffer(encoded(drawn(), "PNG"), np.uint8), "pass an encoded file as bytes"),
        (tf.constant(encoded(drawn(), "PNG")), "pass an encoded file as bytes"),
        (np.zeros((3, 8, 9), np.uint8), r"got shape \[3, 8, 9\]; put the channels last"),
        (PIL.Image.new("RGB", (0, 0)), "expected an image with pixels, got 0 x 0"),
        (7, "expected a path, encoded bytes.*got int"),
        (None, "got NoneType"),
        (np.zeros((4, 4, 2), np.uint8), r"got shape \[4, 4, 2\]"),
        (np.zeros((2, 4, 4, 3), np.uint8), "caption_many"),
        (np.zeros((0, 4, 3), np.uint8), r"got shape \[0, 4, 3\]"),
        (np.zeros((4, 4, 3), np.int64), "got int64: convert it with astype"),
        (np.full((4, 4, 3), 200.0), "got 200 to 200; use uint8"),
        (np.full((4, 4, 3), np.nan), "got nan"),
        (np.array([["a"]]), "got <U1"),
        (
            np.zeros((4, 4), np.int16),
            r"expected pixels of uint8 \(0 to 255\), uint16 \(0 to 65535\) or float",
        ),
        (
            encoded(PIL.Image.fromarray(np.arange(99, dtype=np.int32).reshape(9, 11)), "TIFF"),
            "expected 8 or 16 bits",
        ),
        (
            encoded(PIL.Image.fromarray(np.full((9, 9), 7, np.float32)), "TIFF"),
            "expected float pixels from 0 to 1, got 7",
        ),
        (
            PIL.Image.new("I", (4, 4)),
            "expected 8 or 16 bits a channel, or floats from 0 to 1; got integers of 32 bits: scale it and save",
        ),
        (PIL.Image.new("F", (4, 4), 200), "got 200 to 200"),
    ],
)
def test_wrong_input_is_one_line(image, words):
    with pytest.raises(ImageError, match=words) as caught:
        loading.to_bytes(image)
    assert "\n" not in str(caught.value)
