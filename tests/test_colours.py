"""Colour profiles become sRGB where an image enters through Python, and cost nothing where there is none."""

import io
import zlib

import numpy as np
import PIL.Image
import pytest
import zoo
from PIL import ImageCms

from captioner import containers, images, inputs, pixels

OPTIONS = {"PNG": {}, "JPEG": {"quality": 95}, "WEBP": {"lossless": True}, "TIFF": {}}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def as_a_viewer(image: PIL.Image.Image, profile: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    made = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return np.asarray(made).astype(int)


def seen(image) -> np.ndarray:
    return np.asarray(pixels.upright_rgb(inputs.to_bytes(image))).astype(int)


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_profile_is_converted(kind):
    data = zoo.encoded(zoo.drawn(), kind, icc_profile=zoo.profile(), **OPTIONS[kind])
    stored = PIL.Image.open(io.BytesIO(data)).convert("RGB")
    wanted = as_a_viewer(stored, zoo.profile())
    assert np.abs(wanted - np.asarray(stored)).max() > 100
    np.testing.assert_array_equal(seen(data), wanted)
    np.testing.assert_array_equal(seen(PIL.Image.open(io.BytesIO(data))), wanted)
    assert not inputs.passes(data)


def test_engines_get_the_same_bytes_of_an_image_with_a_profile():
    data = inputs.to_bytes(zoo.encoded(zoo.drawn(), "PNG", icc_profile=zoo.profile()))
    assert np.abs(images.reader((20, 30))(data).numpy() - pixels.read(data, (20, 30))).max() <= 1
    assert containers.profile(data) is None and inputs.to_bytes(data) == data


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "profile",
    [None, SRGB, b"no profile", zoo.profile()[:200], SRGB[:-60]],
    ids=["none", "srgb", "words", "cut", "end"],
)
def test_srgb_and_broken_profiles_leave_the_file_untouched(kind, profile):
    data = zoo.encoded(zoo.drawn(), kind, icc_profile=profile, **OPTIONS[kind])
    assert inputs.to_bytes(data) == data and inputs.passes(data)


def test_grey_profiles_and_alpha():
    grey = zoo.drawn().convert("L")
    profile = zoo.profile(gamma=1.0, kind=b"GRAY")
    wanted = as_a_viewer(grey, profile)
    assert np.abs(wanted[..., 0] - np.asarray(grey)).max() > 40
    np.testing.assert_array_equal(seen(zoo.encoded(grey, "PNG", icc_profile=profile)), wanted)
    for mode, stored in (("LA", profile), ("RGBA", zoo.profile()), ("P", zoo.profile())):
        image = zoo.few_colours().convert(mode)
        if mode != "P":
            image.putalpha(0)
        found = seen(zoo.encoded(image, "PNG", icc_profile=stored))
        wanted = as_a_viewer(image.convert("RGB"), stored) if mode == "P" else np.full_like(found, 255)
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX"])
def test_colours_held_in_another_form_are_converted(mode):
    image = zoo.drawn().convert(mode)
    image.info["icc_profile"] = zoo.profile()
    np.testing.assert_array_equal(seen(image), as_a_viewer(image.convert("RGB"), zoo.profile()))


def test_a_profile_of_another_kind_of_image_changes_nothing():
    image = zoo.drawn()
    data = zoo.encoded(image, "PNG", icc_profile=zoo.profile(gamma=1.0, kind=b"GRAY"))
    np.testing.assert_array_equal(seen(data), np.asarray(image))


def test_profile_and_orientation():
    data = zoo.encoded(zoo.drawn(), "PNG", icc_profile=zoo.profile(), exif=b"Exif\0\0" + zoo.exif(6))
    np.testing.assert_array_equal(seen(data), zoo.turned(as_a_viewer(zoo.drawn(), zoo.profile()), 6))


def test_a_profile_in_many_parts_and_one_that_never_ends():
    profile = zoo.profile() + bytes(100_000)
    data = zoo.encoded(zoo.drawn(), "JPEG", icc_profile=profile)
    assert containers.profile(data) == profile
    huge = zoo.chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000)))
    png = zoo.encoded(zoo.drawn(), "PNG")
    assert len(containers.profile(png[:33] + huge + png[33:])) == 16_000_000


def test_a_large_jpeg_stays_one():
    image = zoo.drawn(1700, 1200)
    data = inputs.to_bytes(zoo.encoded(image, "JPEG", quality=95, icc_profile=zoo.profile()))
    assert inputs.kind(data) == "JPEG" and containers.profile(data) is None
    small = (24, 32)
    wanted = as_a_viewer(image, zoo.profile()).astype(np.uint8)
    wanted = np.asarray(PIL.Image.fromarray(wanted).resize(small[::-1], PIL.Image.Resampling.BILINEAR))
    assert np.abs(pixels.read(data, small).astype(int) - wanted).max() <= 2
