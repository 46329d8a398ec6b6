"""Captions photographs with the default model and shows them: `make demo`.

    python training/photos.py [PHOTO ...] [--model FOLDER] [--to demo]

Without photos of your own, those of scikit-image are captioned. `photos.png` shows them with their captions, and
`NAME_words.png` the attention map of each word of the first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import captioner
from captioner import atomic
from captioner.api import DEFAULT_MODEL
from captioner.cli.parser import Parser
from captioner.errors import DataError, ImageError, MissingDependency
from captioner.image import loading
from captioner.image.pillow_preprocess import upright_rgb
from captioner.programs import program
from training.analysis.image_grid import image_grid

# All photographs in the package scikit-image that show a scene; none is left out because it is captioned badly.
_NAMES = ("astronaut.png", "camera.png", "motorcycle_left.png", "chelsea.png", "coffee.png", "rocket.jpg")
_SIDE = 256  # pixels


def sample_photos() -> list[Path]:
    """Photographs of the package scikit-image.

    Raises:
        MissingDependency: if it is not installed.
    """
    try:
        import skimage
    except ImportError:
        raise MissingDependency("skimage", "demo", "the demo without photos of your own") from None
    return [Path(skimage.__file__).parent / "data" / name for name in _NAMES]


def squared(path: Path) -> Image.Image:
    """A photograph on a white square."""
    image = upright_rgb(loading.to_bytes(path))
    image.thumbnail((_SIDE, _SIDE))
    square = Image.new("RGB", (_SIDE, _SIDE), "white")
    square.paste(image, ((_SIDE - image.width) // 2, (_SIDE - image.height) // 2))
    return square


def show(model: captioner.Captioner, photos: Sequence[Path], folder: Path) -> int:
    """Captions photographs, prints and draws the captions; a photograph that fails is skipped.

    Args:
        model: Captioner.
        photos: sequence of paths.
        folder: Path. Where the images go; earlier ones are replaced.

    Returns:
        int, how many failed.

    Raises:
        ImageError: if none can be captioned.
    """
    captions: dict[Path, captioner.Caption] = {}
    texts: dict[Path, str] = {}
    for photo, caption in zip(photos, model.caption_many(photos), strict=True):
        try:
            alt = captioner.alt_text(caption, confidence=model.confidence(caption), language=model.language)
        except DataError as error:
            print(f"photos.py: {caption.error or f'{photo}: {error}'}", file=sys.stderr)
            continue
        confidence = "" if alt.confidence is None else f"  ({alt.confidence:.0%} sure)"
        print(f"  {photo.name}: {alt.text}{confidence}")
        captions[photo], texts[photo] = caption, alt.text
    failed = sum(photo not in texts for photo in photos)
    if not texts:
        raise ImageError("expected photographs that can be captioned, got none; see above")
    if failed:
        print(
            f"photos.py: {len(photos) - failed} of {len(photos)} images captioned, {failed} failed",
            file=sys.stderr,
        )
    first, caption = next(iter(captions.items()))
    if caption.attention is not None:
        heatmap = folder / f"{first.stem}_words.png"
        print(f"attention: {captioner.heatmap(first, caption).save(heatmap, overwrite=True)}")
    with atomic.replacing(folder / "photos.png", suffix=".png") as aside:
        image_grid([squared(photo) for photo in texts], list(texts.values())).save(aside, optimize=True)
    print(f"look at {folder / 'photos.png'}")
    return failed


def parser() -> Parser:
    """The command line."""
    build = Parser(prog="photos.py", description=(__doc__ or "").split("\n")[0])
    build.add_argument(
        "photos", nargs="*", type=Path, metavar="PHOTO", help="(default: some of scikit-image)"
    )
    build.add_argument("--model", default=DEFAULT_MODEL, help="(default: %(default)s)")
    build.add_argument("--to", type=Path, default=Path("demo"), help="the images (default: %(default)s)")
    return build


def run(options: argparse.Namespace) -> int:
    """Captions the photographs; returns 1 if some failed, else 0."""
    with captioner.load(options.model) as model:
        return 1 if show(model, options.photos or sample_photos(), options.to) else 0


main = program(parser, run)

if __name__ == "__main__":
    sys.exit(main())
