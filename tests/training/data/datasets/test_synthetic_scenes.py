"""Synthetic scenes: every caption is true of the pixels, splits and seeds, and horizontal flips."""

import io
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from captioner.errors import DataError, SpecError
from training.data.datasets import DATASETS, scenes
from training.data.datasets.drawing import draw, to_png
from training.data.datasets.example import Example
from training.data.datasets.synthetic_scenes import SyntheticScenes, exact_match
from training.data.transforms import HorizontalFlip, flipped, swap_sides

SMALL = {"train": 60, "validation": 20, "test": 40, "test_unseen": 60}
HUES = {"red": 0, "yellow": 56, "green": 122, "blue": 218, "purple": 284}


def blobs(image):
    """Boolean masks of what stands out from an evenly lit ground, found without knowing the scene."""
    size = len(image)
    y, x = np.mgrid[:size, :size]
    plane = np.stack([x.ravel(), y.ravel(), np.ones(size * size)], 1)
    pixels = image.reshape(-1, 3).astype(float)
    ground = np.abs(pixels - np.median(pixels, 0)).max(1) < 60
    for _ in range(6):
        known = plane * ground[:, None]
        fit = np.linalg.solve(known.T @ known, known.T @ pixels)
        ground = np.abs(pixels - plane @ fit).max(1) < 24
    left = ~ground.reshape(size, size)
    masks = []
    while left.any():
        mask, front = np.zeros_like(left), [tuple(np.argwhere(left)[0])]
        left[front[0]] = False
        while front:
            a, b = front.pop()
            mask[a, b] = True
            for c, d in ((a + 1, b), (a - 1, b), (a, b + 1), (a, b - 1)):
                if 0 <= c < size and 0 <= d < size and left[c, d]:
                    left[c, d] = False
                    front.append((c, d))
        if mask.sum() > 60:
            masks.append(mask)
    return masks


def look(image, mask):
    """Colour, shape, centre (x, y) and area of one blob."""
    red, green, blue = np.median(image[mask].astype(float), 0) / 255
    if max(red, green, blue) - min(red, green, blue) < 0.2:
        colour = "white"
    else:
        hue = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360
        colour = min(HUES, key=lambda name: abs((hue - HUES[name] + 180) % 360 - 180))
    places = np.argwhere(mask)
    y, x = places.mean(0)
    # How far it reaches in 24 directions: a triangle repeats three times a turn, a square four, a star five.
    angle = np.arctan2(places[:, 0] - y, places[:, 1] - x)
    reach = np.hypot(places[:, 0] - y, places[:, 1] - x)
    bins = ((angle / (2 * np.pi) + 0.5) * 24).astype(int) % 24
    wave = np.abs(np.fft.rfft([reach[bins == k].max() for k in range(24)]))
    times = int(wave[3:6].argmax()) + 3
    swing = wave[times] / wave[0]
    if not mask[round(y), round(x)]:
        shape = "ring"
    elif swing < 0.04:
        shape = "circle"
    else:
        shape = {3: "triangle", 4: "square" if swing < 0.12 else "cross", 5: "star"}[times]
    return (colour, shape), (x, y), mask.sum() / mask.size


def read_sentence(text):
    """Size, count, names and relation, by a grammar written apart from the templates."""
    text = re.sub(r"^(there is|there are|the picture shows) ", "", text)
    shape = "|".join(f"{one}|{many}" for one, many in scenes.SHAPES.items())
    singular = {many: one for one, many in scenes.SHAPES.items()}
    text = re.sub(rf"({shape}) (?:in|that are) (\w+)$", r"\2 \1", text)
    text = re.sub(r"^a (\w+) (\w+) that is (small|large)$", r"a \3 \1 \2", text)
    names = [
        (c, singular.get(s, s)) for c, s in re.findall(rf"({'|'.join(scenes.COLOURS)}) ({shape})\b", text)
    ]
    relation = None
    if len(names) == 2:
        gap = text.split(names[0][1], 1)[1]
        back = "with" in gap
        relation = next(r for r in ("left", "right", "above", "below") if r in gap)
        if back:
            names.reverse()
    number = next((n for n, word in scenes.NUMBERS.items() if word in text.split()), len(names))
    size = next((s for s in ("small", "large") if s in text.split()), None)
    return size, number, names, relation


@pytest.mark.parametrize(("split", "mirror"), [("train", False), ("train", True), ("test_unseen", False)])
def test_every_caption_is_true_of_the_pixels(split, mirror):
    for index in range(30):
        scene = scenes.make_scene(5, split, index)
        example = Example("", tuple(scenes.captions(scene)), lambda scene=scene: draw(scene, 128))
        if mirror:
            example = flipped(example)
        image = np.asarray(example.pixels(tf.constant))
        seen = [look(image, mask) for mask in blobs(image)]
        for text in example.captions:
            size, number, names, relation = read_sentence(text)
            assert sorted(name for name, _, _ in seen) == sorted(names * (number // len(names))), text
            if size:
                assert (seen[0][2] > 0.085) == (size == "large"), text
            if relation:
                place = {name: np.array(centre) for name, centre, _ in seen}
                dx, dy = place[names[1]] - place[names[0]]
                ahead = {"left": dx, "right": -dx, "above": dy, "below": -dy}
                assert ahead[relation] == max(ahead.values()), text


def test_horizontal_flip_doubles_the_training_split():
    plain = DATASETS.build("synthetic_scenes(train=9, validation=4)")
    both = HorizontalFlip(plain)
    assert (both.splits, both.fingerprint) == (plain.splits, plain.fingerprint)
    assert [e.id for e in both.examples("validation")] == [e.id for e in plain.examples("validation")]
    once, twice = list(plain.examples("train")), both.examples("train")
    assert [e.id for e in twice[:9]] == [e.id for e in once] and len({e.id for e in twice}) == 18
    assert [e.flipped for e in twice] == [False] * 9 + [True] * 9


@pytest.mark.parametrize(
    ("caption", "seen"),
    [
        ("a dog on the left, a cat on the right", "a dog on the right, a cat on the left"),
        ("LEFT of the Right-hand door", "RIGHT of the Left-hand door"),
        ("the leftmost one looks rightwards", "the rightmost one looks leftwards"),
        ("bright and upright, a lefty", "bright and upright, a lefty"),
    ],
)
def test_sides_are_swapped(caption, seen):
    assert swap_sides(caption) == seen and swap_sides(seen) == caption


@pytest.mark.parametrize(
    ("caption", "other"),
    [
        ("ein Hund links, eine Katze rechts", "ein Hund rechts, eine Katze links"),
        ("Linker Schuh, rechte Hand, linkes Bein", "Rechter Schuh, linke Hand, rechtes Bein"),
        ("in einer Linkskurve, rechtsseitig", "in einer Rechtskurve, linksseitig"),
        ("eine rechteckige Wiese, recht groß, der Link", "eine rechteckige Wiese, recht groß, der Link"),
        ("the left one", "the left one"),
    ],
)
def test_sides_are_swapped_in_german(caption, other):
    assert swap_sides(caption, "de") == other and swap_sides(other, "de") == caption


def test_unknown_sides_are_refused():
    with pytest.raises(SpecError, match=r"known \(en, de\).*got 'fr': set data.horizontal_flip=false"):
        HorizontalFlip(DATASETS.build("synthetic_scenes(train=2)"), "fr")


def test_scenes_have_six_wordings_each():
    kinds, vocabulary = set(), set()
    for index in range(300):
        scene = scenes.make_scene(0, "train", index)
        texts = scenes.captions(scene)
        assert len(set(texts)) == 6
        kinds.add(scene.kind)
        vocabulary.update(word for text in texts for word in text.split())
    assert kinds == {"one", "several", "two"}
    assert 35 <= len(vocabulary) <= 45


def test_held_out_pairs_appear_in_test_unseen_only():
    held = {f"{c} {s}" for c, s in scenes.HELD_OUT}
    assert {c for c, _ in scenes.HELD_OUT} == set(scenes.COLOURS)
    assert {s for _, s in scenes.HELD_OUT} == set(scenes.SHAPES)
    for split in scenes.SPLITS:
        for index in range(200):
            names = {t.name for t in scenes.make_scene(1, split, index).things}
            assert len(names & held) == (split == "test_unseen")


def test_examples_depend_on_seed_split_and_index():
    small, large = SyntheticScenes(**SMALL), SyntheticScenes(train=200, test=3)
    for a, b in zip(small.examples("train")[:5], large.examples("train")[:5], strict=True):
        assert (a.id, a.captions, a.read()) == (b.id, b.captions, b.read())
    first = [SyntheticScenes(seed=s, train=1).examples("train")[0].read() for s in (0, 1)]
    assert first[0] != first[1] != large.examples("test")[0].read()


def test_images_are_lossless_png():
    example = SyntheticScenes(train=1, size=40).examples("train")[0]
    image = np.asarray(Image.open(io.BytesIO(example.read())))
    np.testing.assert_array_equal(image, draw(scenes.make_scene(0, "train", 0), 40))
    odd = np.random.default_rng(0).integers(0, 256, (7, 300, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(to_png(odd)))), odd)


def test_exact_match_wants_every_fact():
    examples = SyntheticScenes(**SMALL).examples("test")
    assert exact_match([e.captions[i % 6].upper() + "." for i, e in enumerate(examples)], examples) == 100
    assert exact_match([e.captions[0].rsplit(" ", 1)[0] for e in examples], examples) == 0
    constant = max(
        {c for e in examples for c in e.captions}, key=lambda c: sum(c in e.captions for e in examples)
    )
    assert exact_match([constant] * len(examples), examples) < 15
    with pytest.raises(DataError, match="one caption for each example"):
        exact_match(["a"], examples)


def test_scene_options_are_checked():
    for options in ({"seed": -1}, {"size": 8}, {"train": 1.5}, {"test": "many"}):
        with pytest.raises(DataError, match=next(iter(options))):
            SyntheticScenes(**options)
    with pytest.raises(SpecError, match="did you mean 'train'"):
        DATASETS.build("synthetic_scenes(trian=3)")
    with pytest.raises(DataError, match="in the split 'test'"):
        SyntheticScenes(test=0).examples("test")


def test_scene_fingerprint_changes_with_the_images():
    options = [{}, {"seed": 1}, {"size": 32}, {"train": 7}]
    prints = {SyntheticScenes(**o).fingerprint for o in options}
    assert len(prints) == len(options)
    assert SyntheticScenes().fingerprint == SyntheticScenes().fingerprint
