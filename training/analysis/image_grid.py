"""Several captioned images in one."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

# In pixels, but for the characters of a line.
_MARGIN, _FONT_SIZE, _LINE_HEIGHT, _LINE_CHARACTERS = 20, 21, 28, 24


def image_grid(images: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """One image that shows several, three in a row, each with its caption below.

    Args:
        images: sequence of PIL images of one size.
        captions: sequence of str, one an image.

    Returns:
        PIL image with a palette, a third as large as a file as without.

    Example:
        >>> image_grid([Image.new("RGB", (256, 256))], ["a dark night"]).size
        (296, 330)
    """
    font = ImageFont.load_default(size=_FONT_SIZE)
    wrapped = [textwrap.wrap(caption, _LINE_CHARACTERS) or ["(no words)"] for caption in captions]
    side, columns = images[0].width, min(3, len(images))
    # All rows have the height that the longest caption needs.
    cell = side + _MARGIN, side + _MARGIN + max(map(len, wrapped)) * _LINE_HEIGHT
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * cell[0] + _MARGIN, rows * cell[1] + _MARGIN + 6), "white")
    pen = ImageDraw.Draw(page)
    for index, (image, lines) in enumerate(zip(images, wrapped, strict=True)):
        x = _MARGIN + index % columns * cell[0]
        y = _MARGIN + index // columns * cell[1]
        page.paste(image, (x, y))
        for number, line in enumerate(lines):
            middle = x + side / 2, y + side + 6 + number * _LINE_HEIGHT
            pen.text(middle, line, fill="black", font=font, anchor="ma")
    return page.quantize(255, dither=Image.Dither.NONE)
