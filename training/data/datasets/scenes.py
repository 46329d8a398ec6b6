"""Scenes of coloured shapes: what is in the image, and every sentence accepted for it.

A scene is geometry. Its sentences are derived from that geometry (how many things, how large, which lies left
of which), so they are true of the image by construction; `drawing.py` draws the same geometry.

Three kinds of scene, equally worded in six ways each, every wording stating every fact of its kind:

- one thing: its size, colour and shape;
- several alike (two to four): how many, their colour and shape;
- two different things: colour and shape of both, and how they lie (left, right, above, below).

`HELD_OUT` lists the colour-shape pairs that no image of train, validation or test shows. Each colour and
each shape is held out once, so all words are learnt, only never together: the split `test_unseen` asks for
the combination.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from random import Random

# Hue in degrees, its jitter, then the ranges of saturation and value.
COLOURS: dict[str, tuple[float, float, tuple[float, float], tuple[float, float]]] = {
    "red": (0, 8, (0.80, 1.0), (0.75, 1.0)),
    "yellow": (56, 4, (0.75, 1.0), (0.85, 1.0)),
    "green": (122, 14, (0.70, 1.0), (0.60, 0.90)),
    "blue": (218, 10, (0.75, 1.0), (0.75, 1.0)),
    "purple": (284, 10, (0.60, 0.9), (0.65, 0.95)),
    "white": (0, 180, (0.00, 0.06), (0.90, 1.0)),
}
SHAPES = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "star": "stars",
    "cross": "crosses",
    "ring": "rings",
}
NUMBERS = {2: "two", 3: "three", 4: "four"}
HELD_OUT = (
    ("red", "cross"),
    ("yellow", "circle"),
    ("green", "star"),
    ("blue", "triangle"),
    ("purple", "square"),
    ("white", "ring"),
)
SPLITS = ("train", "validation", "test", "test_unseen")

_SEEN = tuple((c, s) for c in COLOURS for s in SHAPES if (c, s) not in HELD_OUT)
# Radii as shares of the image's side. Corners reach at most REACH radii from the centre.
_SMALL, _LARGE, _OF_SEVERAL, _OF_TWO = (0.12, 0.15), (0.27, 0.34), (0.11, 0.13), (0.125, 0.16)
_SMALLER_IS_SMALL = 0.2
REACH = 1.2
_EDGE, _GAP = 0.02, 0.02


@dataclass(frozen=True)
class Thing:
    """One shape in an image; lengths are shares of the image's side, y points down.

    Attributes:
        colour: str. A key of `COLOURS`.
        shape: str. A key of `SHAPES`.
        x: float. Centre, from the left.
        y: float. Centre, from the top.
        radius: float. About half its width.
        angle: float. Rotation in degrees, at most 12 either way.
        rgb: tuple of three int, 0..255. The colour as painted.
    """

    colour: str
    shape: str
    x: float
    y: float
    radius: float
    angle: float
    rgb: tuple[int, int, int]

    @property
    def name(self) -> str:
        """Colour and shape: "red circle"."""
        return f"{self.colour} {self.shape}"

    @property
    def size(self) -> str:
        """ "small" or "large"; only said of a thing that is alone."""
        return "small" if self.radius < _SMALLER_IS_SMALL else "large"


@dataclass(frozen=True)
class Scene:
    """What one image shows.

    Attributes:
        things: tuple of Thing. One; several of the same colour and shape; or two that differ.
        background: tuple of three int. The colour behind them.
        light: tuple of two float. Brightness gained from left to right and from top to bottom.
        grain: int. Seed of the noise.
    """

    things: tuple[Thing, ...]
    background: tuple[int, int, int]
    light: tuple[float, float]
    grain: int

    @property
    def kind(self) -> str:
        """ "one", "several" (alike) or "two" (that differ)."""
        if len(self.things) == 1:
            return "one"
        return "several" if len({t.name for t in self.things}) == 1 else "two"

    @property
    def relation(self) -> str:
        """How the first of two things lies to the second: "left", "right", "above" or "below"."""
        first, second = self.things
        dx, dy = second.x - first.x, second.y - first.y
        if abs(dx) > abs(dy):
            return "left" if dx > 0 else "right"
        return "above" if dy > 0 else "below"


def make_scene(seed: int, split: str, index: int) -> Scene:
    """Makes scene `index` of a split, the same whatever else is made.

    Args:
        seed: int, 0 or more.
        split: str. One of `SPLITS`.
        index: int, 0 or more.

    Returns:
        The `Scene`. In `test_unseen` it shows a pair of `HELD_OUT` (of two things, exactly one is such a
        pair); elsewhere it shows none.

    Example:
        >>> make_scene(0, "train", 7) == make_scene(0, "train", 7)
        True
    """
    # A seed made of text is hashed, so neighbouring examples and splits share nothing.
    rng = Random(f"synthetic_scenes/{seed}/{split}/{index}")
    pair = rng.choice(HELD_OUT if split == "test_unseen" else _SEEN)
    kind = rng.choices(("one", "several", "two"), (3, 3, 4))[0]
    if kind == "one":
        radius = rng.uniform(*rng.choice((_SMALL, _LARGE)))
        things = [_thing(rng, pair, *_inside(rng, radius), radius)]
    elif kind == "several":
        things = _several(rng, pair, rng.choice(list(NUMBERS)))
    else:
        things = _two(rng, pair, rng.choice([p for p in _SEEN if p != pair]))
    grey = rng.uniform(0.10, 0.42)
    red, green, blue = (int(255 * (grey + rng.uniform(-0.03, 0.03))) for _ in range(3))
    light = (rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.06))
    return Scene(tuple(things), (red, green, blue), light, rng.getrandbits(31))


def captions(scene: Scene) -> tuple[str, ...]:
    """Every sentence accepted for a scene: six, each stating all its facts, all true.

    Args:
        scene: Scene.

    Returns:
        Six sentences, in lower case, without punctuation.

    Example:
        >>> thing = Thing("red", "circle", 0.5, 0.5, 0.3, 0.0, (255, 0, 0))
        >>> captions(Scene((thing,), (60, 60, 60), (0.0, 0.0), 0))[0]
        'a large red circle'
    """
    first = scene.things[0]
    if scene.kind == "one":
        what = f"{first.size} {first.name}"
        return (
            f"a {what}",
            f"there is a {what}",
            f"the picture shows a {what}",
            f"one {what}",
            f"a {first.name} that is {first.size}",
            f"a {first.size} {first.shape} in {first.colour}",
        )
    if scene.kind == "several":
        number, plural = NUMBERS[len(scene.things)], SHAPES[first.shape]
        what = f"{number} {first.colour} {plural}"
        return (
            what,
            f"there are {what}",
            f"the picture shows {what}",
            f"a group of {what}",
            f"{number} {plural} that are {first.colour}",
            f"{number} {plural} in {first.colour}",
        )
    # Named from the left or top one, then from the other.
    swap = scene.relation in ("right", "below")
    a, b = (t.name for t in (scene.things[::-1] if swap else scene.things))
    if scene.relation in ("left", "right"):
        there, back, beside = "to the left of", "to the right of", "on its left"
    else:
        there, back, beside = "above", "below", "above it"
    return (
        f"a {a} {there} a {b}",
        f"there is a {a} {there} a {b}",
        f"the picture shows a {a} {there} a {b}",
        f"a {b} {back} a {a}",
        f"a {b} is {back} a {a}",
        f"a {b} with a {a} {beside}",
    )


def _thing(rng: Random, pair: tuple[str, str], x: float, y: float, radius: float) -> Thing:
    hue, jitter, saturation, value = COLOURS[pair[0]]
    h = ((hue + rng.uniform(-jitter, jitter)) % 360) / 360
    rgb = colorsys.hsv_to_rgb(h, rng.uniform(*saturation), rng.uniform(*value))
    red, green, blue = (round(255 * v) for v in rgb)
    return Thing(*pair, x, y, radius, rng.uniform(-12, 12), (red, green, blue))


def _inside(rng: Random, radius: float) -> tuple[float, float]:
    margin = REACH * radius + _EDGE
    return rng.uniform(margin, 1 - margin), rng.uniform(margin, 1 - margin)


def _several(rng: Random, pair: tuple[str, str], count: int) -> list[Thing]:
    radius = rng.uniform(*_OF_SEVERAL)
    apart = 2 * REACH * radius + _GAP
    places: list[tuple[float, float]] = []
    tries = 0
    while len(places) < count:
        place = _inside(rng, radius)
        if all(math.dist(place, other) >= apart for other in places):
            places.append(place)
        tries += 1
        if tries % 40 == 0:
            places = []  # An awkward start can leave no room: begin again.
    return [_thing(rng, pair, x, y, radius) for x, y in places]


def _two(rng: Random, pair: tuple[str, str], other: tuple[str, str]) -> list[Thing]:
    radii = (rng.uniform(*_OF_TWO), rng.uniform(*_OF_TWO))
    margin = REACH * max(radii) + _EDGE
    along = rng.uniform(2 * REACH * max(radii) + _GAP, 1 - 2 * margin)
    # Well under the diagonal, so that nobody would call "left of" a "below".
    across = rng.uniform(-0.4, 0.4) * along
    start = rng.uniform(margin, 1 - margin - along)
    middle = rng.uniform(margin + abs(across) / 2, 1 - margin - abs(across) / 2)
    ends = [(start, middle - across / 2), (start + along, middle + across / 2)]
    if rng.random() < 0.5:
        ends = [(y, x) for x, y in ends]
    if rng.random() < 0.5:
        ends = ends[::-1]
    return [_thing(rng, p, *end, r) for p, end, r in zip((pair, other), ends, radii, strict=True)]
