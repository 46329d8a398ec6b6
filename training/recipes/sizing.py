"""Settings that follow from the number of images and captions: what the recipes `own` and `scratch` leave open.

The rules were chosen with 300 images of two kinds, on others than were trained on; training/README.md has the figures.
"""

from __future__ import annotations

import math
from dataclasses import replace

from captioner.registry import Spec, parse_spec
from training.config import Run

# Hold-out: this share of the images, at least so many where that leaves four fifths to train on, at most so many.
_SHARE, _LEAST, _MOST = 0.1, 10, 500
_LEAST_STEPS = 150
# Dropout of features, outputs and words below so many captions.
_FEW_CAPTIONS, _DROPOUT = 5000, {"dropout": 0.5, "word_dropout": 0.3}
# Epochs, and validations, where there are fewer images than that takes; an epoch then shows each several times.
_EPOCHS = 12
# Where the decoder begins from nothing, each training image is shown with so many augmentations, if that makes at most
# this many cached images; a trained decoder gains nothing by them.
_AUGMENTATIONS, _MOST_CACHED = 4, 4000


def hold_out(images: int) -> int:
    """How many of a number of images to validate on: a tenth, but at least 10 of 50 and at most 500.

    Example:
        >>> [hold_out(n) for n in (10, 50, 100, 300, 1000, 20000)]
        [2, 10, 10, 30, 100, 500]
    """
    return min(_MOST, max(round(_SHARE * images), min(_LEAST, images // 5)))


def sized(run: Run, images: int, captions: int) -> Run:
    """A run with the settings that suit a number of training images and captions.

    With c captions, a step has about 2 sqrt(c) of them (8 to 160), and training shows 55 c^0.77 in all, four times as
    many where the decoder begins from nothing: of 1,350 captions each 10 or 42 times, of 30,000 5 or 21 times. There
    are at least 150 steps.

    Args:
        run: Run of the recipe `own` or `scratch`.
        images: int. Training images, those held out not counted.
        captions: int. Their captions.

    Returns:
        A new `Run`.
    """
    per_image = captions / images
    per_step = min(160.0, max(8.0, 2 * math.sqrt(captions)))
    batch = max(2, round(per_step / min(per_image, run.data.captions_per_image)))
    trained = run.model.init_parts == "all"
    shown = max(_LEAST_STEPS * per_step, (55 if trained else 220) * captions**0.77)
    repeats = max(1, round(shown / captions / _EPOCHS))
    epochs = max(3, round(shown / captions / repeats))
    augmentations = 0 if trained else min(_AUGMENTATIONS, _MOST_CACHED // images)
    return replace(
        run,
        data=replace(
            run.data,
            min_count=1 if captions < 1000 else 2 if captions < 5000 else 3,
            cached_augmentations=augmentations,
            repeats=repeats,
        ),
        model=replace(run.model, decoder=with_dropout(run.model.decoder, captions)),
        xe=replace(run.xe, epochs=epochs, batch_images=batch),
    )


def with_dropout(decoder: str, captions: int) -> str:
    """A decoder with the dropout that suits few captions, or as it is from 5,000 on; more dropout stays.

    Args:
        decoder: spec of `DECODERS`.
        captions: int. Training captions.

    Example:
        >>> with_dropout("gru(units=256, dropout=0.3)", 300)
        'gru(units=256, dropout=0.5, word_dropout=0.3)'
    """
    spec = parse_spec(decoder)
    if captions >= _FEW_CAPTIONS or spec.name == "ensemble":
        return decoder
    rates = {name: max(rate, spec.args.get(name) or 0.0) for name, rate in _DROPOUT.items()}
    return str(Spec(spec.name, {**spec.args, **rates}))
