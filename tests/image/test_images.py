"""Preprocessing against Pillow, and every way an image can come in."""

import base64
import io
import os
import struct
import zlib

import numpy as np
import PIL.features
import PIL.Image
import PIL.ImageDraw
import pytest
import skimage.data
import tensorflow as tf

from captioner.errors import ImageError
from captioner.image import loading, pillow_decode, tf_decode

_decode = tf.function(tf_decode.decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
_load = tf.function(
    lambda data: tf_decode.load(data, (96, 64)),
    input_signature=[tf.TensorSpec([], tf.string)],
    autograph=False,
)


def drawn(width: int = 61, height: int = 40) -> PIL.Image.Image:
    """An image with edges, a gradient and no symmetry."""
    image = PIL.Image.linear_gradient("L").resize((width, height)).convert("RGB")
    draw = PIL.ImageDraw.Draw(image)
    draw.rectangle((3, 4, 20, 12), fill=(220, 30, 30))
    draw.ellipse((30, 10, 55, 35), fill=(20, 60, 200), outline=(255, 255, 0))
    return image


def photo(name: str) -> PIL.Image.Image:
    return PIL.Image.fromarray(getattr(skimage.data, name)())


def encoded(image: PIL.Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pillow(data: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def decoded(data: bytes) -> np.ndarray:
    return _decode(tf.constant(data)).numpy().astype(int)


def png(
    width: int, height: int, depth: int, colour_type: int, rows: list[bytes], chunks: bytes = b""
) -> bytes:
    """A PNG written by hand, for the depths that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def exif(orientation: int, order: str = "<", long: bool = False) -> bytes:
    """An EXIF block with other entries around the orientation."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + "HHII", 0x0112, 4, 1, orientation)
    if not long:
        value = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    before = struct.pack(order + "HHIHH", 0x0100, 3, 1, 7, 0)
    after = struct.pack(order + "HHII", 0x0132, 4, 1, 6)
    entries = before + value + after
    return b"Exif\0\0" + mark + struct.pack(order + "IH", 8, 3) + entries + b"\0\0\0\0"


def upright(image: PIL.Image.Image, orientation: int) -> np.ndarray:
    """What Pillow makes of an orientation."""
    image.getexif()[0x0112] = orientation
    return np.asarray(PIL.ImageOps.exif_transpose(image)).astype(int)


# Decoding


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
    data = png(count, 1, depth, 0, [row], chunk(b"tRNS", b"\0\1") if transparent else b"")
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
    assert tuple(decoded(png(1, 1, 16, colour_type, [pixel]))[0, 0]) == expected


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


# Orientation


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_jpeg_orientation(value, order):
    data = encoded(drawn(), "JPEG", quality=95, exif=exif(value, order))
    stored = PIL.Image.open(io.BytesIO(data))
    assert stored.getexif()[0x0112] == value  # Pillow reads what we wrote by hand
    np.testing.assert_array_equal(decoded(data), upright(stored, value))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("value", [3, 6])
def test_orientation_in_other_kinds(kind, value):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(drawn(), kind, exif=exif(value, ">"), **options)
    np.testing.assert_array_equal(decoded(data), upright(drawn(), value))


@pytest.mark.parametrize("value", [1, 3, 6, 8])
def test_load_turns_as_decode_does(value):
    data = encoded(drawn(), "PNG", exif=exif(value))
    by_hand = tf_decode.resize(tf_decode.orient(tf.constant(np.asarray(drawn())), value), (96, 64))
    assert np.abs(_load(tf.constant(data)) - by_hand).max() <= 1


def test_orientation_is_found_behind_other_segments():
    data = encoded(drawn(), "JPEG", exif=exif(6))
    at = data.index(b"\xff\xe1")
    decoys = b"\xff\xe1\x00\x1fhttp://ns.adobe.com/xap/1.0/\0" + b"\xff\xff" + b"\xff\xe2\x00\x04ab"
    np.testing.assert_array_equal(decoded(data[:at] + decoys + data[at:]), decoded(data))


def test_a_long_instead_of_a_short():
    data = encoded(drawn(), "PNG", exif=exif(6, ">", long=True))
    assert decoded(data).shape == (61, 40, 3)


@pytest.mark.parametrize(
    "block",
    [
        exif(0),
        exif(9),
        b"Exif\0\0",
        b"Exif\0\0XX*\0" + exif(6)[10:],  # no byte order
        b"Exif\0\0II*\0\xff\xff\xff\x7f" + exif(6)[14:],  # directory far outside
        exif(6)[:20],  # cut within the entries
        exif(6)[:14] + b"\xff\xff",  # 65535 entries
    ],
    ids=["0", "9", "empty", "no order", "far", "cut", "many"],
)
def test_a_senseless_orientation_leaves_the_image_alone(block):
    plain = encoded(drawn(), "JPEG")
    at = plain.index(b"\xff\xdb")
    data = plain[:at] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[at:]
    np.testing.assert_array_equal(decoded(data), decoded(plain))


# Resizing


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket", "camera"])
def test_load_agrees_with_pillow_on_photos(name):
    data = encoded(photo(name), "JPEG", quality=90)
    ours = _load(tf.constant(data)).numpy()
    theirs = np.asarray(
        PIL.Image.open(io.BytesIO(data)).convert("RGB").resize((64, 96), PIL.Image.Resampling.BILINEAR)
    )
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(ours - theirs).mean() < 0.2  # Pillow also rounds between its two passes


@pytest.mark.parametrize("size", [(7, 5), (64, 96), (64, 200), (640, 30), (1, 1), (1000, 2)])
def test_load_agrees_with_pillow_at_any_size(size):
    data = encoded(drawn(*size) if min(size) > 1 else drawn().resize(size), "PNG")
    ours = _load(tf.constant(data)).numpy()
    theirs = np.asarray(PIL.Image.open(io.BytesIO(data)).resize((64, 96), PIL.Image.Resampling.BILINEAR))
    assert ours.shape == (96, 64, 3) and ours.dtype == np.float32
    assert np.abs(ours - theirs).max() <= 1


def test_load_gives_whole_grey_levels():
    ours = _load(tf.constant(encoded(photo("coffee"), "JPEG"))).numpy()
    np.testing.assert_array_equal(ours, np.round(ours))
    assert ours.min() >= 0 and ours.max() <= 255


def test_the_graph_is_stock_and_saves(tmp_path):
    module = tf.Module()
    module.load = _load
    tf.saved_model.save(module, str(tmp_path))
    graph = _load.get_concrete_function().graph.as_graph_def()
    ops = {n.op for n in graph.node} | {n.op for f in graph.library.function for n in f.node_def}
    assert not ops & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}
    data = encoded(drawn(), "JPEG", exif=exif(6))
    # The road that TensorFlow Serving takes: the V1 loader and a session.
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
        signature = meta.signature_def["serving_default"]
        (given,), (made,) = signature.inputs.values(), signature.outputs.values()
        found = session.run(made.name, {given.name: data})
    np.testing.assert_array_equal(found, _load(tf.constant(data)))


# What cannot be read


def truncated():
    for kind, options in [
        ("JPEG", {"exif": exif(6)}),
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
def test_what_is_no_image_is_refused(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decoded(data)


def test_what_the_graph_would_misread_is_refused_with_words():
    frames = [drawn(), drawn().rotate(90)]
    animated = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="image: animated WebP"):
        decoded(animated)
    with pytest.raises(tf.errors.InvalidArgumentError, match="image: BMP must be"):
        decoded(encoded(drawn().convert("P"), "BMP"))
    # ... and comes through the front door all the same.
    np.testing.assert_array_equal(decoded(loading.to_bytes(animated)), np.asarray(drawn()))
    palette = drawn().convert("P")
    np.testing.assert_array_equal(
        decoded(loading.to_bytes(encoded(palette, "BMP"))), np.asarray(palette.convert("RGB"))
    )


# The front door


def test_every_form_of_an_image_gives_the_same_pixels(tmp_path):
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


def test_either_byte_order_and_what_a_resize_leaves_of_floats():
    wide = np.arange(24, dtype=np.uint16).reshape(2, 4, 3) * 2000
    assert loading.to_bytes(wide.astype(">u2")) == loading.to_bytes(wide)
    floats = np.array([[-1e-6, 1 + 1e-6, 0.5]], np.float32)
    assert np.asarray(PIL.Image.open(io.BytesIO(loading.to_bytes(floats)))).tolist() == [[0, 255, 128]]
    for beyond in (-0.01, 1.01):
        with pytest.raises(ImageError, match="expected float pixels from 0 to 1"):
            loading.to_bytes(np.full((2, 2), beyond))


def test_a_tiff_of_16_bits_in_planes_is_refused():
    entries = [(256, 2), (257, 1), (258, 16), (259, 1), (262, 2), (277, 3), (278, 1), (284, 2)]
    head = struct.pack("<4sI", b"II*\0", 8) + struct.pack("<H", 10)
    for tag, value in entries:
        head += struct.pack("<HHIHxx", tag, 3, 1, value)
    content = 8 + 2 + 12 * 10 + 4
    head += struct.pack("<HHII", 273, 4, 3, content) + struct.pack("<HHII", 279, 4, 3, content + 12)
    places = struct.pack("<6I", *(content + 24 + 4 * i for i in range(3)), 4, 4, 4)
    data = head + bytes(4) + places + np.arange(6, dtype="<u2").tobytes()
    with pytest.raises(ImageError, match="side by side, got planes: save it as JPEG or PNG"):
        loading.to_bytes(data)


def test_an_image_whose_file_is_closed_says_so():
    with PIL.Image.open(io.BytesIO(encoded(drawn(), "PNG"))) as image:
        pass
    for closed in (image, drawn()):
        closed.close()
        with pytest.raises(ImageError, match="its file was closed: open it again"):
            loading.to_bytes(closed)


def test_whatever_an_object_raises_is_an_error_of_its_image():
    class Odd:
        shape = (2, 2)

        def __fspath__(self):
            raise RuntimeError("line one\nline two")

    with pytest.raises(ImageError, match="^dog: cannot read it: RuntimeError: line one line two$"):
        loading.to_bytes(Odd(), "dog")


def test_bool_arrays():
    mask = np.eye(5, dtype=bool)
    np.testing.assert_array_equal(decoded(loading.to_bytes(mask))[..., 1], mask * 255)


def test_what_is_no_ordinary_file_is_one_line(tmp_path):
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


def test_every_ending_is_of_a_kind_that_is_read():
    PIL.Image.init()
    for ending in loading.SUFFIXES:
        kind = PIL.Image.registered_extensions()[ending]
        assert kind in ("JPEG", "MPO", *pillow_decode._FORMATS), ending
        if kind in PIL.Image.SAVE and kind != "MPO":
            assert loading.kind(loading.to_bytes(encoded(drawn(), kind))), ending
    assert not set(loading.SUFFIXES) & set(loading.UNREADABLE_SUFFIXES)
    assert (".avif" in loading.SUFFIXES) == bool(PIL.features.check("avif"))


def test_a_pil_image_is_left_as_it_is():
    image = PIL.Image.open(io.BytesIO(encoded(drawn(), "TIFF", tiffinfo={700: b'<a tiff:Orientation="6"/>'})))
    before = dict(image.info)
    np.testing.assert_array_equal(decoded(loading.to_bytes(image)), np.asarray(drawn()))
    assert image.info == before and "xmp" in before


def test_bytes_and_files_pass_untouched():
    data = encoded(drawn(), "JPEG")
    assert loading.to_bytes(data) == data
    assert loading.to_bytes(data + b"trailing words") == data + b"trailing words"


def test_a_pil_image_brings_its_orientation():
    data = encoded(drawn(), "JPEG", quality=95, exif=exif(6))
    via_pil = decoded(loading.to_bytes(PIL.Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(via_pil, decoded(data))


def test_jpeg_with_a_thumbnail_is_still_seen_to_be_cut():
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
def test_what_cannot_be_an_image_is_one_line(image, words):
    with pytest.raises(ImageError, match=words) as caught:
        loading.to_bytes(image)
    assert "\n" not in str(caught.value)


# Outside a graph


def test_reader_takes_bytes_and_raises_our_error():
    read = tf_decode.reader((96, 64))
    data = encoded(drawn(), "PNG")
    np.testing.assert_array_equal(read(data), _load(tf.constant(data)))
    for bad, words in [
        (data[:-30], "damaged PNG, it cannot be decoded"),
        (b"", "not a JPEG, PNG, GIF, BMP or WebP file"),
        (encoded(drawn().convert("P"), "BMP"), "BMP must be 24 or 32 bit, uncompressed"),
        (base64.b64encode(data), f"not a JPEG, PNG, GIF, BMP or WebP file: {loading.TEXTS[0][1]}"),
        (b"data:image/png;base64,iVBOR", f"not a JPEG, PNG, GIF, BMP or WebP file: {loading.TEXTS[1][1]}"),
        (b"version https://git-lfs.g\noid", f"not a JPEG, PNG, GIF, BMP or WebP file: {loading.TEXTS[2][1]}"),
        (bytes(range(128, 256)), "not a JPEG, PNG, GIF, BMP or WebP file"),
    ]:
        with pytest.raises(ImageError) as error:
            read(bad)
        assert str(error.value) == words
