"""Images of nothing: noise, textures, gradients and flat shapes, drawn with NumPy and Pillow from a generator."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

Size = tuple[int, int]  # height, width


def colour(random: np.random.Generator) -> tuple[int, int, int]:
    """A random colour, as Pillow takes it."""
    red, green, blue = (int(value) for value in random.integers(0, 256, 3))
    return red, green, blue


def noise(random: np.random.Generator, size: Size) -> Image.Image:
    """Noise of one kind: white in grey or colours, normal around a colour, coarse blocks, or isolated dots."""
    height, width = size
    kind = random.integers(5)
    pixels: np.ndarray
    if kind == 0:
        pixels = random.integers(0, 256, (height, width, 1)).repeat(3, axis=2)
    elif kind == 1:
        pixels = random.integers(0, 256, (height, width, 3))
    elif kind == 2:
        pixels = random.normal(colour(random), random.uniform(20, 80), (height, width, 3))
    elif kind == 3:
        block = int(random.integers(4, 33))
        coarse = random.integers(0, 256, (-(-height // block), -(-width // block), 3))
        pixels = coarse.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]
    else:
        dots = random.random((height, width, 1)) < random.uniform(0.01, 0.2)
        pixels = np.where(dots, colour(random), colour(random))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def texture(random: np.random.Generator, size: Size) -> Image.Image:
    """A texture between two colours: stripes, a chequerboard, rings, a weave, or clouds of several octaves."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float64)
    angle, period = random.uniform(0, np.pi), random.uniform(6, 60)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    kind = random.integers(5)
    if kind == 0:
        wave = np.sin(2 * np.pi * along / period)
        level = wave if random.random() < 0.5 else np.sign(wave)
    elif kind == 1:
        level = np.sign(np.sin(2 * np.pi * along / period) * np.sin(2 * np.pi * across / period))
    elif kind == 2:
        centre = random.uniform(0, 1, 2) * (height, width)
        level = np.sin(2 * np.pi * np.hypot(y - centre[0], x - centre[1]) / period)
    elif kind == 3:
        level = np.sin(2 * np.pi * along / period) + np.sin(2 * np.pi * across / period)
        level = level / 2 + 0.3 * random.normal(size=(height, width))
    else:
        level = clouds(random, size)
    share = np.clip(0.5 + level / 2, 0, 1)[..., np.newaxis]
    pixels = share * colour(random) + (1 - share) * colour(random)
    return Image.fromarray(pixels.astype(np.uint8))


def clouds(random: np.random.Generator, size: Size) -> np.ndarray:
    """Value noise of five octaves, each half as strong as the one before: float [H, W], about -1 to 1."""
    height, width = size
    total = np.zeros(size)
    for octave in range(5):
        cells = random.normal(size=(2 + 2**octave, 2 + 2**octave))
        layer = Image.fromarray(cells.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(layer) / 2**octave
    return total / 2


def gradient(random: np.random.Generator, size: Size) -> Image.Image:
    """A gradient between two to four colours, linear, radial or by angle; one in five is a single colour."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y, x = y / height - random.uniform(0, 1), x / width - random.uniform(0, 1)
    angle = random.uniform(0, 2 * np.pi)
    position = (x * np.cos(angle) + y * np.sin(angle), np.hypot(x, y), np.arctan2(y, x))[random.integers(3)]
    position = (position - position.min()) / max(np.ptp(position), 1e-9)
    count = 1 if random.random() < 0.2 else int(random.integers(2, 5))
    colours = np.array([colour(random) for _ in range(count)], np.float64)
    at = np.linspace(0, 1, count)
    pixels = np.stack([np.interp(position, at, colours[:, c]) for c in range(3)], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def shapes(random: np.random.Generator, size: Size) -> Image.Image:
    """Flat shapes on a flat ground, as in a poster or an abstract painting."""
    height, width = size
    image = Image.new("RGB", (width, height), colour(random))
    pen = ImageDraw.Draw(image)
    for _ in range(int(random.integers(3, 25))):
        x, y = random.uniform(0, 1, 2) * (width, height)
        radius = random.uniform(0.03, 0.25) * min(size)
        box = (
            x - radius,
            y - radius * random.uniform(0.3, 1),
            x + radius,
            y + radius * random.uniform(0.3, 1),
        )
        kind = random.integers(4)
        if kind == 0:
            pen.ellipse(box, fill=colour(random))
        elif kind == 1:
            pen.rectangle(box, fill=colour(random))
        elif kind == 2:
            pen.regular_polygon((x, y, radius), int(random.integers(3, 8)), fill=colour(random))
        else:
            ends = random.uniform(0, 1, (2, 2)) * (width, height)
            pen.line([tuple(end) for end in ends], colour(random), int(random.integers(2, 20)))
    return image
