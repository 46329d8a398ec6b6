"""Decoding in the graph, kind by kind, against Pillow; what the graph refuses."""

import base64
import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from captioner.errors import ImageError
from captioner.image import loading, not_images, tf_decode
from tests.support.images.image_files import (
    chunk,
    decoded,
    drawn,
    encoded,
    exif,
    load_graph,
    loaded,
    photo,
    pillow,
    png,
)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_decodes_as_in_pillow(subsampling, progressive):
    data = encoded(photo("coffee"), "JPEG", quality=85, subsampling=subsampling, progressive=progressive)
    np.testing.assert_array_equal(decoded(data), pillow(data))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_colour_spaces(mode):
    data = encoded(drawn().convert(mode), "JPEG", quality=95)
    np.testing.assert_array_equal(decoded(data), pillow(data))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_png_modes(mode):
    data = encoded(drawn().convert(mode), "PNG")
    np.testing.assert_array_equal(decoded(data), pillow(data))


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("transparent", [False, True])
def test_png_low_depth_greys(depth, transparent):
    # Every value of the depth once; with tRNS the value 1 is see-through, so white.
    count = 2**depth
    bits = "".join(format(value, f"0{depth}b") for value in range(count)).ljust(8, "0")
    row = int(bits, 2).to_bytes(len(bits) // 8, "big")
    data = png(count, 1, depth, 0, b"\0" + row)
    if transparent:
        data = data[:33] + chunk(b"tRNS", b"\0\1") + data[33:]
    expected = [value * 255 // (count - 1) for value in range(count)]
    if transparent:
        expected[1] = 255
    assert decoded(data)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("colour_type", "pixel", "expected"),
    [
        (0, bytes([200, 99]), (200, 200, 200)),
        (2, bytes([200, 99, 10, 0, 30, 255]), (200, 10, 30)),
        (4, bytes([100, 0, 51, 0]), (224, 224, 224)),  # 0.2 * 100 + 0.8 * 255
        (6, bytes([200, 0, 10, 0, 30, 0, 0, 0]), (255, 255, 255)),
    ],
)
def test_png_16_bits_keep_the_upper_8(colour_type, pixel, expected):
    assert tuple(decoded(png(1, 1, 16, colour_type, b"\0" + pixel))[0, 0]) == expected


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composited_on_white(kind, options, mode):
    image = drawn().convert(mode)
    image.putalpha(PIL.Image.linear_gradient("L").resize(image.size))
    data = encoded(image, kind, **options)
    rgba = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(decoded(data) - expected).max() <= 0.5


def test_palette_png_with_transparency():
    image = drawn().quantize(8)
    data = encoded(image, "PNG", transparency=3)
    expected = pillow(encoded(image, "PNG"))
    expected[np.asarray(image) == 3] = 255
    np.testing.assert_array_equal(decoded(data), expected)


def test_gif_gives_its_first_frame():
    frames = [drawn().convert("P"), drawn().rotate(90, expand=True).convert("P")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decoded(data), pillow(data))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_bmp(mode):
    data = encoded(drawn().convert(mode), "BMP")
    np.testing.assert_array_equal(decoded(data), pillow(data))


@pytest.mark.parametrize("lossless", [False, True])
def test_webp(lossless):
    data = encoded(drawn(), "WEBP", lossless=lossless)
    np.testing.assert_array_equal(decoded(data), pillow(data))


def truncated():
    for kind, options in [
        ("JPEG", {"exif": b"Exif\0\0" + exif(6)}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("BMP", {}),
        ("GIF", {}),
    ]:
        data = encoded(drawn(), kind, **options)
        for share in (0.1, 0.5, 0.9):
            yield pytest.param(data[: int(len(data) * share)], id=f"{kind}-{'-'.join(options)}-{share}")


@pytest.mark.parametrize("data", truncated())
def test_a_truncated_file_is_refused(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(data)


@pytest.mark.parametrize(
    "data", [b"", b"GI", b"some text, no image", b"\xff\xd8\xff", b"RIFF....WEBP", b"BM"]
)
def test_non_images_are_refused(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(data)


def test_unsupported_kinds_are_refused():
    frames = [drawn(), drawn().rotate(90)]
    animated = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="image: animated WebP"):
        decoded(animated)
    with pytest.raises(tf.errors.InvalidArgumentError, match="image: BMP must be"):
        decoded(encoded(drawn().convert("P"), "BMP"))
    # ... and `to_bytes` converts them.
    np.testing.assert_array_equal(decoded(loading.to_bytes(animated)), np.asarray(drawn()))
    palette = drawn().convert("P")
    np.testing.assert_array_equal(
        decoded(loading.to_bytes(encoded(palette, "BMP"))), np.asarray(palette.convert("RGB"))
    )


def test_graph_has_stock_ops_and_saves(tmp_path):
    module = tf.Module()
    module.load = load_graph()
    tf.saved_model.save(module, str(tmp_path))
    graph = load_graph().get_concrete_function().graph.as_graph_def()
    ops = {n.op for n in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
    assert not ops & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}
    data = encoded(drawn(), "JPEG", exif=b"Exif\0\0" + exif(6))
    # As TensorFlow Serving loads it: the V1 loader and a session.
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
        signature = meta.signature_def["serving_default"]
        (input_info,), (output_info,) = signature.inputs.values(), signature.outputs.values()
        pixels = session.run(output_info.name, {input_info.name: data})
    np.testing.assert_array_equal(pixels, loaded(data))


def test_reader_raises_image_errors():
    read = tf_decode.reader((96, 64))
    data = encoded(drawn(), "PNG")
    np.testing.assert_array_equal(read(data), loaded(data))
    for bad, words in [
        (data[:-30], "damaged PNG, it cannot be decoded"),
        (b"", "not a JPEG, PNG, GIF, BMP or WebP file"),
        (encoded(drawn().convert("P"), "BMP"), "BMP must be 24 or 32 bit, uncompressed"),
        (base64.b64encode(data), f"not a JPEG, PNG, GIF, BMP or WebP file: {not_images.TEXTS[0][1]}"),
        (b"data:image/png;base64,iVBOR", f"not a JPEG, PNG, GIF, BMP or WebP file: {not_images.TEXTS[1][1]}"),
        (
            b"version https://git-lfs.g\noid",
            f"not a JPEG, PNG, GIF, BMP or WebP file: {not_images.TEXTS[2][1]}",
        ),
        (bytes(range(128, 256)), "not a JPEG, PNG, GIF, BMP or WebP file"),
    ]:
        with pytest.raises(ImageError) as error:
            read(bad)
        assert str(error.value) == words
