"""Images and their captions on one page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_MARGIN, _TEXT, _LINE, _COLUMN = 20, 21, 28, 24  # pixels, letters' and lines' height, letters a line


def sheet(images: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """One image that shows several, three a row, each with its caption below.

    Args:
        images: sequence of PIL images of one size.
        captions: sequence of str, one an image.

    Returns:
        PIL image with a palette, a third as large as a file as without.

    Example:
        >>> sheet([Image.new("RGB", (256, 256))], ["a dark night"]).size
        (296, 330)
    """
    font = ImageFont.load_default(size=_TEXT)
    wrapped = [textwrap.wrap(caption, _COLUMN) or ["(no words)"] for caption in captions]
    side, columns = images[0].width, min(3, len(images))
    # Rows are as high as the longest caption of any needs.
    cell = side + _MARGIN, side + _MARGIN + max(map(len, wrapped)) * _LINE
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * cell[0] + _MARGIN, rows * cell[1] + _MARGIN + 6), "white")
    pen = ImageDraw.Draw(page)
    for place, (image, lines) in enumerate(zip(images, wrapped, strict=True)):
        x = _MARGIN + place % columns * cell[0]
        y = _MARGIN + place // columns * cell[1]
        page.paste(image, (x, y))
        for number, line in enumerate(lines):
            middle = x + side / 2, y + side + 6 + number * _LINE
            pen.text(middle, line, fill="black", font=font, anchor="ma")
    return page.quantize(255, dither=Image.Dither.NONE)
