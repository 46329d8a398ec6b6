"""Attention heatmaps drawn over images. No TensorFlow here."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner import atomic
from captioner.errors import DataError, SpecError
from captioner.image import loading, pillow_preprocess
from captioner.types import Caption

FORMATS = (".png", ".gif")
_SIDE = 320  # the longer side of a panel, in pixels
_LINE = 22  # the height of a line of text
_MARGIN = 8
_DARK, _LIGHT, _WARM = (24, 24, 28), (240, 240, 240), (255, 150, 30)
# Colours that colour-blind people can tell apart (Okabe and Ito 2008).
_HUES = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (60, 130, 230),
    (213, 94, 0),
    (204, 121, 167),
)
_FRAME = 700  # milliseconds of one word in an animation


class Heatmap:
    """The attention of a model for each word of a caption; made by `heatmap`.

    Args:
        image: PIL image, RGB, upright.
        caption: Caption with attention [T, h, w].

    Attributes:
        words: tuple of str, T of them.
        maps: float32 [T, H, W], attention over the pixels of the image; each keeps the sum of the word's map.
    """

    def __init__(self, image: Any, caption: Caption):
        self.image, self.words, self._logp = image, caption.words, caption.word_logp
        attention = np.asarray(caption.attention, np.float32)
        self.maps = np.stack([_spread(weights, image.size) for weights in attention])

    def panels(self) -> list[Any]:
        """One PIL image a word: the image, bright where attention is high, above the word and its probability."""
        return [self._panel(i) for i in range(len(self.words))]

    def overlay(self) -> Any:
        """A PIL image of all words: each location in the colours of the words with the most attention there."""
        from PIL import Image

        relative = self.maps / np.maximum(self.maps.max(axis=(1, 2), keepdims=True), 1e-12)
        share = (relative / np.maximum(relative.mean(axis=0), 1e-6)) ** 4
        share /= np.maximum(share.sum(axis=0), 1e-12)
        hues = np.array([_HUES[i % len(_HUES)] for i in range(len(self.words))], np.float32)
        colour = np.tensordot(share, hues, axes=(0, 0))
        strength = relative.max(axis=0)[..., None]
        base = np.asarray(self.image, np.float32) * (0.4 + 0.6 * strength)
        light = base * (1 - 0.5 * strength) + 0.5 * strength * colour
        image = Image.fromarray(np.clip(light, 0, 255).astype(np.uint8))
        words = [(word, _HUES[i % len(_HUES)]) for i, word in enumerate(self.words)]
        return _under(image, _lines(words, image.width))

    def sheet(self) -> Any:
        """A PIL image of the overlay, then the panels, in reading order."""
        from PIL import Image

        tiles = [self.overlay(), *self.panels()]
        width, height = max(t.width for t in tiles), max(t.height for t in tiles)
        columns = max(1, min(len(tiles), round(math.sqrt(len(tiles) * 1.6 * height / width))))
        rows = -(-len(tiles) // columns)
        size = (columns * (width + _MARGIN) + _MARGIN, rows * (height + _MARGIN) + _MARGIN)
        sheet = Image.new("RGB", size, _DARK)
        for i, tile in enumerate(tiles):
            row, column = divmod(i, columns)
            sheet.paste(tile, (_MARGIN + column * (width + _MARGIN), _MARGIN + row * (height + _MARGIN)))
        return sheet

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Writes the sheet as PNG, or an animation of the panels as GIF.

        Args:
            path: str or PathLike, ending in .png or .gif.
            overwrite: bool, default False. Whether an existing file may be replaced.

        Returns:
            Path of the file.

        Raises:
            SpecError: for another ending.
            DataError: if the file exists, or the disk refuses.
        """
        path = Path(path)
        if path.suffix.lower() not in FORMATS:
            raise SpecError(f"expected a heatmap's file to end in {' or '.join(FORMATS)}, got {path}")
        if path.exists() and not overwrite:
            raise DataError(f"{path} is there already: name another file, or pass overwrite=True")
        with atomic.replacing(path, suffix=path.suffix.lower()) as temporary:
            if path.suffix.lower() == ".png":
                self.sheet().save(temporary)
            else:
                first, *rest = [*self.panels(), self.overlay()]
                size = (max(t.width for t in (first, *rest)), max(t.height for t in (first, *rest)))
                frames = [_framed(tile, size) for tile in (first, *rest)]
                frames[0].save(
                    temporary, save_all=True, append_images=frames[1:], loop=0,
                    duration=[_FRAME] * len(rest) + [3 * _FRAME],
                )  # fmt: skip
        return path

    def _panel(self, i: int) -> Any:
        from PIL import Image

        strength = (self.maps[i] / max(float(self.maps[i].max()), 1e-12))[..., None]
        base = np.asarray(self.image, np.float32)
        warm = 0.35 * strength * np.array(_WARM, np.float32)
        lit = base * (0.3 + 0.7 * strength) * (1 - 0.35 * strength) + warm
        image = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
        chance = f"{math.exp(self._logp[i]):.0%}"
        return _under(image, _lines([(self.words[i], _LIGHT), (chance, (160, 160, 160))], image.width))


def heatmap(image: Any, caption: Caption) -> Heatmap:
    """Draws the attention of each word of a caption.

    Args:
        image: what `captioner.Captioner.caption` takes. Its EXIF orientation is applied.
        caption: `Caption` of that image, with attention.

    Returns:
        `Heatmap`.

    Raises:
        ImageError: if the image cannot be read.
        DataError: if the caption has no attention, as of a model without attention, or has no words.

    Example:
        >>> attention = np.ones((2, 2, 2), np.float32) / 4
        >>> caption = Caption("a dog", words=("a", "dog"), word_logp=(-0.1, -0.7), attention=attention)
        >>> drawn = heatmap(np.zeros((30, 40, 3), np.uint8), caption)
        >>> drawn.maps.shape, round(float(drawn.maps[0].sum()), 4)
        ((2, 30, 40), 1.0)
    """
    if not caption.ok:
        raise DataError(f"expected a caption to draw, got none: {caption.error}")
    if caption.attention is None or not len(caption.words):
        what = "no words" if not caption.words else "no attention: its model does not attend"
        raise DataError(f"expected a caption with a map for each word, got one with {what}")
    try:
        maps = np.asarray(caption.attention, np.float32)
    except (TypeError, ValueError):  # ragged, or no numbers
        maps = np.empty(0, np.float32)
    complete = maps.ndim == 3 and len(maps) == len(caption.words) == len(caption.word_logp) and maps.size
    if not complete or not np.isfinite(maps).all():
        raise DataError(
            f"expected attention [words, rows, columns] of finite numbers and a word_logp for each of "
            f"{len(caption.words)} words, got attention of shape {list(maps.shape)}"
        )
    upright = pillow_preprocess.upright_rgb(loading.to_bytes(image))
    scale = min(1.0, _SIDE / max(upright.size))
    size = (max(1, round(upright.width * scale)), max(1, round(upright.height * scale)))
    return Heatmap(upright.resize(size), caption)


def _spread(attention: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Upsamples a map [h, w] to an image of (width, height), bicubic, without negative values, keeping its sum."""
    from PIL import Image

    # The model sees the image resized to its input size, so the grid covers all of it.
    upsampled = Image.fromarray(attention.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    spread = np.maximum(np.asarray(upsampled, np.float32), 0.0)
    total = float(spread.sum())
    return spread * (float(attention.sum()) / total) if total > 0 else spread


def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=15)


def _lines(
    words: Sequence[tuple[str, tuple[int, int, int]]], width: int
) -> list[list[tuple[str, Any, float]]]:
    """Breaks coloured words into lines: (word, colour, left edge)."""
    font, lines, left = _font(), [[]], 0.0  # type: ignore[var-annotated]
    for word, colour in words:
        word_width = font.getlength(word + " ")
        if left and left + word_width > width - 2 * _MARGIN:
            lines.append([])
            left = 0.0
        lines[-1].append((word, colour, left))
        left += word_width
    return lines


def _under(image: Any, lines: Sequence[Sequence[tuple[str, Any, float]]]) -> Any:
    """An image with lines of text under it."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (image.width, image.height + len(lines) * _LINE + _MARGIN), _DARK)
    canvas.paste(image)
    draw, font = ImageDraw.Draw(canvas), _font()
    for row, line in enumerate(lines):
        for word, colour, left in line:
            draw.text((_MARGIN + left, image.height + 4 + row * _LINE), word, fill=colour, font=font)
    return canvas


def _framed(tile: Any, size: tuple[int, int]) -> Any:
    from PIL import Image

    frame = Image.new("RGB", size, _DARK)
    frame.paste(tile)
    return frame
