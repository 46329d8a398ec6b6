"""Images that people make on paper and screens: documents, screenshots, line drawings and charts."""

from __future__ import annotations

import string

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.data.far_off.patterns import Size, colour

_LETTERS = np.array(list(string.ascii_lowercase))


def _font(points: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=points)


def _text(random: np.random.Generator, words: int) -> str:
    """Words of random letters."""
    lengths = random.integers(2, 11, words)
    text = " ".join("".join(random.choice(_LETTERS, length)) for length in lengths)
    return text.capitalize()


def _fitting(
    random: np.random.Generator, width: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    """Words of random letters, as many as fit into `width` pixels; one word at least."""
    words = _text(random, max(1, int(width / 20))).split()
    while len(words) > 1 and font.getlength(" ".join(words)) > width:
        words.pop()
    return " ".join(words)


def _paper(random: np.random.Generator) -> tuple[int, int, int]:
    """White, or nearly."""
    red, green, blue = (int(value) for value in random.integers(228, 256, 3))
    return (255, 255, 255) if random.random() < 0.5 else (red, green, blue)


def document(random: np.random.Generator, size: Size) -> Image.Image:
    """A page of print: a title, one to three columns of lines, now and then a rule or a table."""
    height, width = size
    paper = _paper(random)
    image = Image.new("RGB", (width, height), paper)
    pen = ImageDraw.Draw(image)
    ink = tuple(int(value) for value in random.integers(0, 70, 3))
    margin, points = int(0.07 * width), float(random.uniform(9, 20))
    y = margin
    if random.random() < 0.7:
        large = _font(1.8 * points)
        pen.text((margin, y), _fitting(random, width - 2 * margin, large), ink, large)
        y += int(3 * points)
    columns, font = int(random.integers(1, 4)), _font(points)
    across = (width - 2 * margin) // columns
    for column in range(columns):
        left, top = margin + column * across, y
        while top < height - margin:
            if random.random() < 0.1:
                top += int(points)  # a new paragraph
            pen.text((left, top), _fitting(random, across - points, font), ink, font)
            top += int(1.4 * points)
    if random.random() < 0.3:
        _table(random, pen, (margin, height // 2, width - margin, height - margin), points, paper)
    return image


def _table(
    random: np.random.Generator,
    pen: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    points: float,
    paper: tuple[int, int, int],
) -> None:
    """A table of numbers, ruled."""
    left, top, right, bottom = box
    pen.rectangle(box, fill=paper, outline="black")
    rows, columns = int(random.integers(3, 9)), int(random.integers(2, 6))
    for row in range(rows):
        y = top + (bottom - top) * row // rows
        pen.line((left, y, right, y), "black")
        for column in range(columns):
            x = left + (right - left) * column // columns
            pen.line((x, top, x, bottom), "black")
            pen.text((x + 4, y + 3), f"{random.uniform(0, 1000):.1f}", "black", _font(points))


def screenshot(random: np.random.Generator, size: Size) -> Image.Image:
    """Windows of a program: title bar, side bar, buttons, fields and rows of text, light or dark."""
    height, width = size
    dark = random.random() < 0.4
    low, high = (20, 60) if dark else (225, 256)
    ground = tuple(int(value) for value in random.integers(low, high, 3))
    ink = (225, 225, 230) if dark else (35, 35, 40)
    accent = colour(random)
    image = Image.new("RGB", (width, height), ground)
    pen = ImageDraw.Draw(image)
    points = float(random.uniform(9, 15))
    bar = int(random.uniform(1.8, 3.2) * points)
    pen.rectangle((0, 0, width, bar), fill=accent if random.random() < 0.6 else ground, outline=ink)
    pen.text((8, bar // 4), _text(random, 3), ink, _font(points))
    for number in range(3):
        x = width - (number + 1) * bar
        pen.ellipse((x, bar // 4, x + bar // 2, 3 * bar // 4), fill=colour(random))
    side = int(width * random.uniform(0, 0.3)) if random.random() < 0.7 else 0
    if side:
        pen.rectangle((0, bar, side, height), fill=tuple(max(0, value - 15) for value in ground), outline=ink)
    for left, right in ((6, side - 6), (side + 10, width - 10)):
        y = bar + 8
        while right - left > 30 and y < height - bar:
            y = _widget(random, pen, (left, right), y, (points, ink, accent))
    return image


def _widget(
    random: np.random.Generator,
    pen: ImageDraw.ImageDraw,
    span: tuple[int, int],
    y: int,
    style: tuple[float, tuple[int, int, int], tuple[int, int, int]],
) -> int:
    """One row of a window; returns where the next begins."""
    (left, right), (points, ink, accent) = span, style
    tall, font = int(2 * points), _font(points)
    text = _fitting(random, random.uniform(0.2, 0.9) * (right - left), font)
    kind = random.integers(5)
    if kind == 0:
        pen.rounded_rectangle((left, y, left + font.getlength(text) + 16, y + tall), 4, fill=accent)
        pen.text((left + 8, y + 3), text, ink, font)
    elif kind == 1:
        pen.rectangle((left, y, right, y + tall), outline=ink)
        pen.text((left + 5, y + 3), text, ink, font)
    elif kind == 2:
        pen.rectangle((left, y + 3, left + tall // 2, y + 3 + tall // 2), outline=ink, width=2)
        pen.text((left + tall, y + 2), text, ink, font)
    elif kind == 3:
        pen.line((left, y + tall // 2, right, y + tall // 2), ink)
    else:
        pen.text((left, y), text, ink, font)
    return y + int(1.3 * tall)


def line_drawing(random: np.random.Generator, size: Size) -> Image.Image:
    """A sketch in lines on paper: curves, hatching, houses, stick figures and faces."""
    height, width = size
    image = Image.new("RGB", (width, height), _paper(random))
    pen = ImageDraw.Draw(image)
    ink = tuple(int(value) for value in random.integers(0, 110, 3))
    thick = int(random.integers(1, 5))
    for _ in range(int(random.integers(3, 12))):
        x, y = random.uniform(0.1, 0.9, 2) * (width, height)
        r = random.uniform(0.05, 0.2) * min(size)
        kind = random.integers(5)
        if kind == 0:
            steps = np.cumsum(random.normal(0, r / 4, (30, 2)), axis=0)
            pen.line([(x + dx, y + dy) for dx, dy in steps], ink, thick)
        elif kind == 1:
            for k in range(12):
                pen.line((x + k * r / 6, y, x + k * r / 6 - r / 2, y + r), ink, 1)
        elif kind == 2:
            pen.rectangle((x - r, y, x + r, y + r), outline=ink, width=thick)
            pen.line([(x - r, y), (x, y - r), (x + r, y)], ink, thick)
            pen.rectangle((x - r / 4, y + r / 2, x + r / 4, y + r), outline=ink, width=thick)
        elif kind == 3:
            pen.ellipse((x - r / 3, y - r, x + r / 3, y - r / 3), outline=ink, width=thick)
            pen.line((x, y - r / 3, x, y + r / 2), ink, thick)
            for dx, dy in ((-0.5, 0), (0.5, 0)):
                pen.line((x, y, x + dx * r, y + dy * r - r / 8), ink, thick)
                pen.line((x, y + r / 2, x + dx * r, y + r), ink, thick)
        else:
            pen.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=thick)
            pen.arc((x - r / 2, y - r / 2, x + r / 2, y + r / 2), 20, 160, ink, thick)
    return image


def chart(random: np.random.Generator, size: Size) -> Image.Image:
    """A diagram with axes and labels: bars, lines, points, or a pie."""
    height, width = size
    image = Image.new("RGB", (width, height), _paper(random))
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = int(0.12 * width), int(0.12 * height), int(0.95 * width), int(0.88 * height)
    font = _font(float(random.uniform(9, 14)))
    pen.text((left, top // 3), _text(random, 4), "black", font)
    values = random.uniform(0.05, 1, int(random.integers(3, 12)))
    kind = random.integers(4)
    if kind == 3:
        side = min(right - left, bottom - top)
        ends = 360 * np.cumsum(values) / values.sum()
        for start, end in zip([0.0, *ends[:-1]], ends, strict=True):
            pen.pieslice(
                (left, top, left + side, top + side), start, end, fill=colour(random), outline="white"
            )
        return image
    for share in np.linspace(0, 1, 6):
        y = bottom - share * (bottom - top)
        pen.line((left, y, right, y), (210, 210, 210))
        pen.text((4, y - 6), f"{100 * share:.0f}", "black", font)
    pen.line([(left, top), (left, bottom), (right, bottom)], "black", 2)
    for _ in range(int(random.integers(1, 4))):
        fill = colour(random)
        points = [
            (left + (i + 0.5) * (right - left) / len(values), bottom - value * (bottom - top))
            for i, value in enumerate(values)
        ]
        for x, y in points if kind != 1 else ():
            half = (right - left) / len(values) / 3 if kind == 0 else 3
            pen.rectangle((x - half, y, x + half, bottom if kind == 0 else y + 6), fill=fill)
        if kind == 1:
            pen.line(points, fill, 3)
        values = random.uniform(0.05, 1, len(values))
    for i in range(len(values)):
        x = left + (i + 0.3) * (right - left) / len(values)
        pen.text((x, bottom + 5), _text(random, 1)[:5], "black", font)
    return image
