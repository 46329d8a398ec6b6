"""Colour profiles are converted to sRGB by `loading.to_bytes`, and files without one pass unchanged."""

import io
import zlib

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from captioner.image import file_headers, loading, pillow_preprocess, tf_decode
from tests.support.images import image_files

OPTIONS = {"PNG": {}, "JPEG": {"quality": 95}, "WEBP": {"lossless": True}, "TIFF": {}}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def converted(image: PIL.Image.Image, profile: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    made = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return np.asarray(made).astype(int)


def pixels_of(image) -> np.ndarray:
    return np.asarray(pillow_preprocess.upright_rgb(loading.to_bytes(image))).astype(int)


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_profile_is_converted(kind):
    data = image_files.encoded(image_files.drawn(), kind, icc_profile=image_files.profile(), **OPTIONS[kind])
    stored = PIL.Image.open(io.BytesIO(data)).convert("RGB")
    expected = converted(stored, image_files.profile())
    assert np.abs(expected - np.asarray(stored)).max() > 100
    np.testing.assert_array_equal(pixels_of(data), expected)
    np.testing.assert_array_equal(pixels_of(PIL.Image.open(io.BytesIO(data))), expected)
    assert not loading.passes(data)


def test_converted_bytes_have_no_profile():
    data = loading.to_bytes(
        image_files.encoded(image_files.drawn(), "PNG", icc_profile=image_files.profile())
    )
    assert (
        np.abs(tf_decode.reader((20, 30))(data).numpy() - pillow_preprocess.read(data, (20, 30))).max() <= 1
    )
    assert file_headers.profile(data) is None and loading.to_bytes(data) == data


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "profile",
    [None, SRGB, b"no profile", image_files.profile()[:200], SRGB[:-60]],
    ids=["none", "srgb", "words", "cut", "end"],
)
def test_srgb_and_broken_profiles_pass(kind, profile):
    data = image_files.encoded(image_files.drawn(), kind, icc_profile=profile, **OPTIONS[kind])
    assert loading.to_bytes(data) == data and loading.passes(data)


def test_grey_profiles_and_alpha():
    grey = image_files.drawn().convert("L")
    profile = image_files.profile(gamma=1.0, kind=b"GRAY")
    expected = converted(grey, profile)
    assert np.abs(expected[..., 0] - np.asarray(grey)).max() > 40
    np.testing.assert_array_equal(pixels_of(image_files.encoded(grey, "PNG", icc_profile=profile)), expected)
    for mode, stored in (("LA", profile), ("RGBA", image_files.profile()), ("P", image_files.profile())):
        image = image_files.few_colours().convert(mode)
        if mode != "P":
            image.putalpha(0)
        pixels = pixels_of(image_files.encoded(image, "PNG", icc_profile=stored))
        expected = converted(image.convert("RGB"), stored) if mode == "P" else np.full_like(pixels, 255)
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX"])
def test_colours_held_in_another_form_are_converted(mode):
    image = image_files.drawn().convert(mode)
    image.info["icc_profile"] = image_files.profile()
    np.testing.assert_array_equal(pixels_of(image), converted(image.convert("RGB"), image_files.profile()))


def test_profile_of_another_colour_space():
    image = image_files.drawn()
    data = image_files.encoded(image, "PNG", icc_profile=image_files.profile(gamma=1.0, kind=b"GRAY"))
    np.testing.assert_array_equal(pixels_of(data), np.asarray(image))


def test_profile_and_orientation():
    data = image_files.encoded(
        image_files.drawn(), "PNG", icc_profile=image_files.profile(), exif=b"Exif\0\0" + image_files.exif(6)
    )
    np.testing.assert_array_equal(
        pixels_of(data), image_files.turned(converted(image_files.drawn(), image_files.profile()), 6)
    )


def test_split_and_huge_profiles():
    profile = image_files.profile() + bytes(100_000)
    data = image_files.encoded(image_files.drawn(), "JPEG", icc_profile=profile)
    assert file_headers.profile(data) == profile
    huge = image_files.chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000)))
    png = image_files.encoded(image_files.drawn(), "PNG")
    assert len(file_headers.profile(png[:33] + huge + png[33:])) == 16_000_000


def test_a_large_jpeg_stays_one():
    image = image_files.drawn(1700, 1200)
    data = loading.to_bytes(image_files.encoded(image, "JPEG", quality=95, icc_profile=image_files.profile()))
    assert loading.kind(data) == "JPEG" and file_headers.profile(data) is None
    small = (24, 32)
    expected = converted(image, image_files.profile()).astype(np.uint8)
    expected = np.asarray(PIL.Image.fromarray(expected).resize(small[::-1], PIL.Image.Resampling.BILINEAR))
    assert np.abs(pillow_preprocess.read(data, small).astype(int) - expected).max() <= 2
