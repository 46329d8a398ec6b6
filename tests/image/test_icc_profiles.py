"""Colour profiles become sRGB where an image enters through Python, and cost nothing where there is none."""

import io
import zlib

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from captioner.image import file_headers, loading, pillow_preprocess, tf_decode
from tests.support import odd_images

OPTIONS = {"PNG": {}, "JPEG": {"quality": 95}, "WEBP": {"lossless": True}, "TIFF": {}}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def as_a_viewer(image: PIL.Image.Image, profile: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    made = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    return np.asarray(made).astype(int)


def seen(image) -> np.ndarray:
    return np.asarray(pillow_preprocess.upright_rgb(loading.to_bytes(image))).astype(int)


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_profile_is_converted(kind):
    data = odd_images.encoded(odd_images.drawn(), kind, icc_profile=odd_images.profile(), **OPTIONS[kind])
    stored = PIL.Image.open(io.BytesIO(data)).convert("RGB")
    wanted = as_a_viewer(stored, odd_images.profile())
    assert np.abs(wanted - np.asarray(stored)).max() > 100
    np.testing.assert_array_equal(seen(data), wanted)
    np.testing.assert_array_equal(seen(PIL.Image.open(io.BytesIO(data))), wanted)
    assert not loading.passes(data)


def test_engines_get_the_same_bytes_of_an_image_with_a_profile():
    data = loading.to_bytes(odd_images.encoded(odd_images.drawn(), "PNG", icc_profile=odd_images.profile()))
    assert (
        np.abs(tf_decode.reader((20, 30))(data).numpy() - pillow_preprocess.read(data, (20, 30))).max() <= 1
    )
    assert file_headers.profile(data) is None and loading.to_bytes(data) == data


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "profile",
    [None, SRGB, b"no profile", odd_images.profile()[:200], SRGB[:-60]],
    ids=["none", "srgb", "words", "cut", "end"],
)
def test_srgb_and_broken_profiles_leave_the_file_untouched(kind, profile):
    data = odd_images.encoded(odd_images.drawn(), kind, icc_profile=profile, **OPTIONS[kind])
    assert loading.to_bytes(data) == data and loading.passes(data)


def test_grey_profiles_and_alpha():
    grey = odd_images.drawn().convert("L")
    profile = odd_images.profile(gamma=1.0, kind=b"GRAY")
    wanted = as_a_viewer(grey, profile)
    assert np.abs(wanted[..., 0] - np.asarray(grey)).max() > 40
    np.testing.assert_array_equal(seen(odd_images.encoded(grey, "PNG", icc_profile=profile)), wanted)
    for mode, stored in (("LA", profile), ("RGBA", odd_images.profile()), ("P", odd_images.profile())):
        image = odd_images.few_colours().convert(mode)
        if mode != "P":
            image.putalpha(0)
        found = seen(odd_images.encoded(image, "PNG", icc_profile=stored))
        wanted = as_a_viewer(image.convert("RGB"), stored) if mode == "P" else np.full_like(found, 255)
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX"])
def test_colours_held_in_another_form_are_converted(mode):
    image = odd_images.drawn().convert(mode)
    image.info["icc_profile"] = odd_images.profile()
    np.testing.assert_array_equal(seen(image), as_a_viewer(image.convert("RGB"), odd_images.profile()))


def test_a_profile_of_another_kind_of_image_changes_nothing():
    image = odd_images.drawn()
    data = odd_images.encoded(image, "PNG", icc_profile=odd_images.profile(gamma=1.0, kind=b"GRAY"))
    np.testing.assert_array_equal(seen(data), np.asarray(image))


def test_profile_and_orientation():
    data = odd_images.encoded(
        odd_images.drawn(), "PNG", icc_profile=odd_images.profile(), exif=b"Exif\0\0" + odd_images.exif(6)
    )
    np.testing.assert_array_equal(
        seen(data), odd_images.turned(as_a_viewer(odd_images.drawn(), odd_images.profile()), 6)
    )


def test_a_profile_in_many_parts_and_one_that_never_ends():
    profile = odd_images.profile() + bytes(100_000)
    data = odd_images.encoded(odd_images.drawn(), "JPEG", icc_profile=profile)
    assert file_headers.profile(data) == profile
    huge = odd_images.chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000)))
    png = odd_images.encoded(odd_images.drawn(), "PNG")
    assert len(file_headers.profile(png[:33] + huge + png[33:])) == 16_000_000


def test_a_large_jpeg_stays_one():
    image = odd_images.drawn(1700, 1200)
    data = loading.to_bytes(odd_images.encoded(image, "JPEG", quality=95, icc_profile=odd_images.profile()))
    assert loading.kind(data) == "JPEG" and file_headers.profile(data) is None
    small = (24, 32)
    wanted = as_a_viewer(image, odd_images.profile()).astype(np.uint8)
    wanted = np.asarray(PIL.Image.fromarray(wanted).resize(small[::-1], PIL.Image.Resampling.BILINEAR))
    assert np.abs(pillow_preprocess.read(data, small).astype(int) - wanted).max() <= 2
