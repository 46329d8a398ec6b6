"""Draws a scene: flat shapes on a flat ground, antialiased, then uneven light and a little grain."""

from __future__ import annotations

import math
import struct
import zlib
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from training.data.datasets.scenes import Scene, Thing

# Drawn this many times larger and averaged down, because PIL's polygons have hard edges.
_OVERSAMPLE = 3
_GRAIN = 7.0  # the noise is uniform between minus and plus this, in 0..255


def draw(scene: Scene, size: int = 64) -> np.ndarray:
    """Draws a scene.

    Args:
        scene: Scene.
        size: int. Side of the image in pixels. Defaults to 64.

    Returns:
        uint8 array [size, size, 3], the same for the same scene and size.

    Example:
        >>> from training.data.datasets.scenes import make_scene
        >>> draw(make_scene(0, "train", 0)).shape
        (64, 64, 3)
    """
    side = size * _OVERSAMPLE
    canvas = Image.new("RGB", (side, side), scene.background)
    pen = ImageDraw.Draw(canvas)
    for thing in scene.things:
        _paint(pen, thing, scene.background, side)
    flat = np.asarray(canvas.reduce(_OVERSAMPLE), np.float32)
    ramp = np.linspace(-255.0, 255.0, size, dtype=np.float32)
    light = scene.light[0] * ramp[None, :] + scene.light[1] * ramp[:, None]
    flat += light[:, :, None]
    flat += _noise(scene.grain, flat.shape)
    return np.clip(flat, 0, 255, out=flat).astype(np.uint8)


def to_png(image: np.ndarray) -> bytes:
    """Encodes an image as PNG, stored rather than deflated: PIL takes ten times as long.

    Args:
        image: uint8 array [H, W, 3].

    Returns:
        The bytes of a PNG file.

    Example:
        >>> to_png(np.zeros((2, 2, 3), np.uint8))[1:4]
        b'PNG'
    """
    height, width, _ = image.shape
    lines = np.zeros((height, 1 + 3 * width), np.uint8)  # each line begins with its filter: 0, none
    lines[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform noise out of random bytes, several times faster than asking for floats."""
    noise = np.frombuffer(Random(seed).randbytes(math.prod(shape)), np.uint8).reshape(shape)
    return (noise.astype(np.float32) - 127.5) * np.float32(_GRAIN / 127.5)


def _paint(pen: ImageDraw.ImageDraw, thing: Thing, background: tuple[int, int, int], side: int) -> None:
    x, y, r = thing.x * side, thing.y * side, thing.radius * side
    if thing.shape in ("circle", "ring"):
        pen.ellipse((x - r, y - r, x + r, y + r), fill=thing.rgb)
        if thing.shape == "ring":
            hole = 0.55 * r
            pen.ellipse((x - hole, y - hole, x + hole, y + hole), fill=background)
        return
    turn = math.radians(thing.angle)
    cos, sin = r * math.cos(turn), r * math.sin(turn)
    pen.polygon(
        [(x + u * cos - v * sin, y + u * sin + v * cos) for u, v in _OUTLINES[thing.shape]], fill=thing.rgb
    )


def _corners(count: int, radii: tuple[float, ...]) -> list[tuple[float, float]]:
    """Corners on a circle from the top, whose radii alternate."""
    turns = [2 * math.pi * i / count for i in range(count)]
    return [
        (radii[i % len(radii)] * math.sin(t), -radii[i % len(radii)] * math.cos(t))
        for i, t in enumerate(turns)
    ]


# In radii of the thing, y down; none reaches further than scenes.REACH.
_OUTLINES = {
    "square": [(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)],
    "triangle": [(u, v + 0.15) for u, v in _corners(3, (1.15,))],
    "star": _corners(10, (1.2, 0.5)),
    "cross": [
        (a * u - b * v, a * v + b * u)  # the upper arm's three corners, a quarter turn at a time
        for a, b in ((1, 0), (0, 1), (-1, 0), (0, -1))
        for u, v in ((-0.34, -0.34), (-0.34, -1.1), (0.34, -1.1))
    ],
}
