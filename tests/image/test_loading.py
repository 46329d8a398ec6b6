"""Every form of an image that `loading.to_bytes` takes."""

import io

import numpy as np
import PIL.features
import PIL.Image
import pytest
import tensorflow as tf

from captioner.errors import ImageError
from captioner.image import loading, pillow_decode
from tests.support.images.image_files import decoded, drawn, encoded, exif


def test_every_form_gives_the_same_pixels(tmp_path):
    image = drawn()
    array = np.asarray(image)
    data = encoded(image, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    forms = [path, str(path), data, bytearray(data), memoryview(data), image, array, tf.constant(array)]
    forms += [array / np.float32(255), (array / 255).astype(np.float64), tf.constant(array) / 255]
    forms += [np.dstack([array, np.full(array.shape[:2], 255, np.uint8)]), array[:, ::-1][:, ::-1]]
    forms += [encoded(image, "TIFF"), encoded(image, "PPM")]
    for form in forms:
        np.testing.assert_array_equal(decoded(loading.to_bytes(form)), array)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "I;16"])
def test_pil_modes(mode):
    image = (
        drawn().convert(mode)
        if mode != "I;16"
        else PIL.Image.fromarray(np.asarray(drawn().convert("L")).astype(np.uint16) * 256 + 77)
    )
    expected = np.asarray(drawn().convert("L" if mode == "I;16" else mode).convert("RGB"))
    np.testing.assert_array_equal(decoded(loading.to_bytes(image)), expected)


def test_grey_arrays():
    grey = np.asarray(drawn().convert("L"))
    deep = grey.astype(np.uint16) * 256 + 99
    for form in (
        grey,
        grey[..., None],
        deep,
        PIL.Image.fromarray(grey / np.float32(255)),
        grey / np.float16(255),
    ):
        np.testing.assert_array_equal(decoded(loading.to_bytes(form)), np.dstack([grey] * 3))


def test_byte_order_and_float_rounding():
    wide = np.arange(24, dtype=np.uint16).reshape(2, 4, 3) * 2000
    assert loading.to_bytes(wide.astype(">u2")) == loading.to_bytes(wide)
    floats = np.array([[-1e-6, 1 + 1e-6, 0.5]], np.float32)
    assert np.asarray(PIL.Image.open(io.BytesIO(loading.to_bytes(floats)))).tolist() == [[0, 255, 128]]
    for beyond in (-0.01, 1.01):
        with pytest.raises(ImageError, match="expected float pixels from 0 to 1"):
            loading.to_bytes(np.full((2, 2), beyond))


def test_bool_arrays():
    mask = np.eye(5, dtype=bool)
    np.testing.assert_array_equal(decoded(loading.to_bytes(mask))[..., 1], mask * 255)


def test_suffixes_are_readable():
    PIL.Image.init()
    for ending in loading.SUFFIXES:
        kind = PIL.Image.registered_extensions()[ending]
        assert kind in ("JPEG", "MPO", *pillow_decode._FORMATS), ending
        if kind in PIL.Image.SAVE and kind != "MPO":
            assert loading.kind(loading.to_bytes(encoded(drawn(), kind))), ending
    assert not set(loading.SUFFIXES) & set(loading.UNREADABLE_SUFFIXES)
    assert (".avif" in loading.SUFFIXES) == bool(PIL.features.check("avif"))


def test_pil_image_is_not_changed():
    image = PIL.Image.open(io.BytesIO(encoded(drawn(), "TIFF", tiffinfo={700: b'<a tiff:Orientation="6"/>'})))
    before = dict(image.info)
    np.testing.assert_array_equal(decoded(loading.to_bytes(image)), np.asarray(drawn()))
    assert image.info == before and "xmp" in before


def test_bytes_and_files_pass_untouched():
    data = encoded(drawn(), "JPEG")
    assert loading.to_bytes(data) == data
    assert loading.to_bytes(data + b"trailing words") == data + b"trailing words"


def test_pil_image_keeps_its_orientation():
    data = encoded(drawn(), "JPEG", quality=95, exif=b"Exif\0\0" + exif(6))
    via_pil = decoded(loading.to_bytes(PIL.Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(via_pil, decoded(data))
