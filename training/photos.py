"""Captions photographs with the default model and shows them: `make demo`.

    python training/photos.py [PHOTO ...] [--model FOLDER] [--to demo]

Without photos of your own, those that scikit-image carries. `photos.png` shows them with their captions, and
`NAME_words.png` where the model looked for each word of the first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from PIL import Image

import captioner
from captioner.api import DEFAULT_MODEL
from captioner.errors import CaptionerError, MissingDependency
from captioner.inputs import to_bytes
from captioner.pixels import upright_rgb
from training.sheet import sheet

# All photographs in scikit-image's own package that show a scene: none is left out because it is captioned badly.
_NAMES = ("astronaut.png", "camera.png", "motorcycle_left.png", "chelsea.png", "coffee.png", "rocket.jpg")
_SIDE = 256  # pixels


def carried() -> list[Path]:
    """The photographs that scikit-image carries.

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
    picture = upright_rgb(to_bytes(path))
    picture.thumbnail((_SIDE, _SIDE))
    square = Image.new("RGB", (_SIDE, _SIDE), "white")
    square.paste(picture, ((_SIDE - picture.width) // 2, (_SIDE - picture.height) // 2))
    return square


def show(model: captioner.Captioner, photos: Sequence[Path], folder: Path) -> Path:
    """Captions photographs, prints what is said of them, and draws it.

    Args:
        model: Captioner.
        photos: sequence of paths.
        folder: path. Where the pictures go; what an earlier call drew is drawn anew.

    Returns:
        Path of the sheet.

    Raises:
        ImageError: if a photograph cannot be read.
    """
    captions = [model.caption(photo) for photo in photos]
    texts = []
    for photo, caption in zip(photos, captions, strict=True):
        found = captioner.alt_text(caption, confidence=model.confidence(caption))
        sure = "" if found.confidence is None else f"  ({found.confidence:.0%} sure)"
        print(f"  {photo.name}: {found.text}{sure}")
        texts.append(found.text)
    folder.mkdir(parents=True, exist_ok=True)
    if captions[0].attention is not None:
        looked = folder / f"{photos[0].stem}_words.png"
        print(f"where it looked: {captioner.heatmap(photos[0], captions[0]).save(looked, overwrite=True)}")
    place = folder / "photos.png"
    sheet([squared(photo) for photo in photos], texts).save(place, optimize=True)
    return place


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="photos.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "photos", nargs="*", type=Path, metavar="PHOTO", help="(default: some of scikit-image)"
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="(default: %(default)s)")
    parser.add_argument("--to", type=Path, default=Path("demo"), help="the pictures (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        with captioner.load(given.model) as model:
            place = show(model, given.photos or carried(), given.to)
    except CaptionerError as error:
        print(f"photos.py: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(
            f"photos.py: cannot read or write {error.filename or ''}: {error.strerror or error}",
            file=sys.stderr,
        )
        return 2
    print(f"look at {place}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
