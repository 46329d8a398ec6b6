"""What a training run is made of: frozen dataclasses, and `key=value` changes cast to their fields' types."""

from __future__ import annotations

import ast
import dataclasses
import math
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from captioner import checks
from captioner.engines.base import DEFAULT_STRATEGY
from captioner.errors import SpecError
from captioner.registry import unknown


@dataclass(frozen=True)
class Data:
    """Where images and captions come from.

    Attributes:
        source: spec of `DATASETS`.
        min_count: int. A word needs as many occurrences in the training captions to enter the vocabulary.
        max_vocabulary: int, 0 for no bound.
        captions_per_image: int. G: an image's captions are trained side by side, so many at a time.
        features: str. Folder of the feature cache.
        max_bad: float. Share of images that may be unreadable.
        augment: bool. Train on images cropped and in another light each time (`training/data/augment.py`); needs
            `model.train_encoder`, as kept features cannot change.
        mirror: bool. Train on each image in a mirror as well, left and right swapped in its (English) captions.
        views: int. Features of so many other views of each image are kept (`training/data/augment.py`), and a step sees
            one of them or the image itself: what `augment` is where the encoder is frozen.
    """

    source: str
    min_count: int = 5
    max_vocabulary: int = 0
    captions_per_image: int = 5
    features: str = "cache/features"
    max_bad: float = 0.01
    augment: bool = False
    mirror: bool = False
    views: int = 0

    def __post_init__(self) -> None:
        _within(
            self,
            "data.",
            min_count=(1,),
            views=(0,),
            max_vocabulary=(0,),
            captions_per_image=(1,),
            max_bad=(0, 1),
        )


@dataclass(frozen=True)
class Model:
    """What `CaptionModel` is built from.

    Attributes:
        encoder: spec of `ENCODERS`.
        decoder: spec of `DECODERS`.
        image_size: int. Height and width.
        max_length: int. Most ids of a caption; longer training captions are cut.
        train_encoder: bool. Train the encoder too, from pixels; else its features are computed once and cached.
        keep_statistics: bool. A trained encoder keeps the means and variances of its batch normalisation, and drops no
            units: for a pretrained one, which a few images a step would only unsettle.
        start: str. Model folder of the same networks and vocabulary, whose weights training begins with.
    """

    encoder: str
    decoder: str
    image_size: int = 224
    max_length: int = 22
    train_encoder: bool = False
    keep_statistics: bool = True
    start: str = ""

    def __post_init__(self) -> None:
        _within(self, "model.", image_size=(1,), max_length=(2,))


@dataclass(frozen=True)
class CrossEntropy:
    """Teacher forcing with cross-entropy.

    Attributes:
        epochs: int. At most so many; 0 leaves it out.
        batch_images: int. B.
        learning_rate: float. Peak of the schedule.
        warmup: float. Share of all steps over which the rate climbs to its peak.
        final: float. Share of the peak that is left at the end of the cosine.
        label_smoothing: float. Probability spread over the whole vocabulary (Szegedy et al. 2016, section 7).
        attention_penalty: float. Weight of doubly stochastic attention (Xu et al. 2015, eq. 14).
        weight_decay: float. Decoupled (AdamW).
        clip: float. Global norm that gradients are clipped to.
        ema: float. Momentum of the moving average of weights that is evaluated and kept; 0 turns it off.
        mixed_precision: bool. bfloat16 arithmetic in all that is trained, in both phases; float32 weights.
        teacher: str. Model folder whose distributions over words are learnt too (`training/loop/distillation.py`).
        teacher_weight: float. Weight of that loss.
        teacher_temperature: float. Above 1 the teacher's less likely words count more.
    """

    epochs: int = 15
    batch_images: int = 64
    learning_rate: float = 1e-3
    warmup: float = 0.05
    final: float = 0.02
    label_smoothing: float = 0.1
    attention_penalty: float = 0.0
    weight_decay: float = 0.0
    clip: float = 5.0
    ema: float = 0.99
    mixed_precision: bool = False
    teacher: str = ""
    teacher_weight: float = 1.0
    teacher_temperature: float = 1.0

    def __post_init__(self) -> None:
        _within(self, "xe.", epochs=(0,), batch_images=(1,), learning_rate=(0,), warmup=(0, 1), final=(0, 1))
        _within(self, "xe.", label_smoothing=(0, 1), attention_penalty=(0,), weight_decay=(0,), clip=(0,))
        _within(self, "xe.", ema=(0, 0.999999), teacher_weight=(0,), teacher_temperature=(0.05,))


@dataclass(frozen=True)
class SelfCritical:
    """Self-critical training (`training/loop/self_critical.py`), after cross-entropy or from `model.start`.

    Attributes:
        epochs: int. 0 for none.
        batch_images: int. B.
        samples: int. Captions drawn for each image.
        baseline: "leave_one_out" (the mean of the other samples) or "greedy".
        temperature: float. Above 1 draws bolder.
        references: int. Captions of each image that stay in the loss.
        xe_weight: float. Weight of their cross-entropy, in nats a word.
        learning_rate, warmup, final, weight_decay, clip, ema: as for cross-entropy.
    """

    epochs: int = 0
    batch_images: int = 32
    samples: int = 5
    baseline: str = "leave_one_out"
    temperature: float = 1.0
    references: int = 2
    xe_weight: float = 0.1
    learning_rate: float = 2e-4
    warmup: float = 0.05
    final: float = 0.05
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.99

    def __post_init__(self) -> None:
        _within(self, "scst.", epochs=(0,), batch_images=(1,), references=(0,), xe_weight=(0,), clip=(0,))
        _within(
            self,
            "scst.",
            learning_rate=(0,),
            warmup=(0, 1),
            final=(0, 1),
            weight_decay=(0,),
            ema=(0, 0.999999),
        )
        _within(self, "scst.", samples=(2 if self.baseline == "leave_one_out" else 1,), temperature=(0.01,))
        if self.baseline not in ("leave_one_out", "greedy"):
            raise SpecError(unknown("scst.baseline", self.baseline, ["leave_one_out", "greedy"]))


@dataclass(frozen=True)
class Evaluation:
    """How a model is chosen and scored.

    Attributes:
        strategy: spec of `STRATEGIES`, the same for choosing and for the test.
        every: int. Epochs between scorings on the validation split.
        patience: int. Stop after so many scorings without a better CIDEr-D; 0 never stops early.
        batch_images: int.
        limit: int. Score the first so many validation images only; 0 for all.
        tests: names of the splits scored once at the end.
        official: bool. Also score the test splits with pycocoevalcap (needs Java).
    """

    strategy: str = DEFAULT_STRATEGY
    every: int = 1
    patience: int = 0
    batch_images: int = 50
    limit: int = 0
    tests: tuple[str, ...] = ("test",)
    official: bool = False

    def __post_init__(self) -> None:
        _within(self, "evaluation.", every=(1,), patience=(0,), batch_images=(1,), limit=(0,))


@dataclass(frozen=True)
class Run:
    """A whole training run; what a recipe returns.

    Attributes:
        name: str. The recipe's name.
        data, model, xe, scst, evaluation: the parts.
        seed: int. Of weights, order and dropout.
        checkpoint_minutes: float. How much work a crash may cost.
        deterministic: bool. Slower kernels whose result does not depend on how threads are scheduled.
    """

    name: str
    data: Data
    model: Model
    xe: CrossEntropy = field(default_factory=CrossEntropy)
    scst: SelfCritical = field(default_factory=SelfCritical)
    evaluation: Evaluation = field(default_factory=Evaluation)
    seed: int = 1
    checkpoint_minutes: float = 5.0
    deterministic: bool = False

    def __post_init__(self) -> None:
        _within(self, "", seed=(0, 2**32 - 1), checkpoint_minutes=(0,))


def with_changes(run: Run, changes: Sequence[str]) -> Run:
    """A run with `key=value` changes applied.

    Args:
        run: Run.
        changes: strings such as "xe.epochs=20" or "seed=3"; the value is cast to the field's type.

    Returns:
        A new `Run`.

    Raises:
        SpecError: for a change without "=", an unknown key (the nearest is named), or a value of another type or out of
            range.

    Example:
        >>> run = Run("x", Data("folder(path='a', captions='b')"), Model("small_cnn", "lstm"))
        >>> with_changes(run, ["xe.epochs=3"]).xe.epochs
        3
    """
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise SpecError(f"expected --set key=value, got {change!r}")
        run = _change(run, key.strip(), key.strip().split("."), value.strip())
    return run


def _change(part: Any, key: str, path: list[str], value: str) -> Any:
    types = typing.get_type_hints(type(part))
    name, *rest = path
    if name not in types or bool(rest) != dataclasses.is_dataclass(types[name]):
        raise SpecError(unknown("key", key, keys(part, prefix=key[: len(key) - len(".".join(path))])))
    new = _change(getattr(part, name), key, rest, value) if rest else _cast(key, types[name], value)
    return dataclasses.replace(part, **{name: new})


def keys(part: Any, prefix: str = "") -> list[str]:
    """All keys that `--set` takes below a part, in order."""
    found: list[str] = []
    for each in dataclasses.fields(part):
        value = getattr(part, each.name)
        if dataclasses.is_dataclass(value):
            found += keys(value, f"{prefix}{each.name}.")
        else:
            found.append(prefix + each.name)
    return found


def _within(part: Any, prefix: str, **bounds: tuple[float, ...]) -> None:
    """Raises a SpecError for a field below the first of its bounds, above the second, or not a number of its type."""
    types = typing.get_type_hints(type(part))
    for name, (least, *most) in bounds.items():
        value, option = getattr(part, name), prefix + name
        if types[name] is int:
            checks.integer(value, option, int(least), int(most[0]) if most else None)
        else:
            checks.number(value, option, least, most[0] if most else math.inf)


def _cast(key: str, kind: Any, text: str) -> Any:
    wrong = SpecError(f"expected {key} to be {getattr(kind, '__name__', kind)}, got {text!r:.100}")
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                text.lower()
            ]
        if kind is str:
            return text
        if kind in (int, float):
            return kind(text)
        value = ast.literal_eval(text) if text[:1] in "([" else tuple(filter(None, text.split(",")))
        return tuple(str(each) for each in value)
    except (ValueError, KeyError, SyntaxError):
        raise wrong from None


def as_dict(run: Run) -> dict[str, Any]:
    """A run as plain JSON, for the run's folder and the model's card."""
    return dataclasses.asdict(run)
