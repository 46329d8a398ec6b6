"""The settings of a training run: frozen dataclasses, whose values are checked."""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass, field
from typing import Any

from captioner import checks
from captioner.engines.base import DEFAULT_STRATEGY
from captioner.errors import SpecError
from captioner.registry import unknown

# Ranges of the keys that both stages have.
_OPTIMIZER: dict[str, tuple[float, ...]] = {
    "batch_images": (1,), "learning_rate": (0,), "warmup": (0, 1), "final_lr_ratio": (0, 1),
    "weight_decay": (0,), "global_clipnorm": (0,), "ema_momentum": (0, 0.999999),
}  # fmt: skip


@dataclass(frozen=True)
class Data:
    """Training data, vocabulary and augmentation.

    Attributes:
        source: spec of `DATASETS`, such as `folder(path='photos')`.
        language: str. Language of the captions, for bad endings, flips and alternative texts: `en`, `de`, a code
            without rules such as `fr`, or `auto`, detected from them (`captioner/text/languages.py`).
        min_count: int. Occurrences in the training captions that a word needs to enter the vocabulary.
        max_vocabulary: int. Largest size of the vocabulary, 0 for no bound.
        captions_per_image: int. Captions of one image in a batch (G).
        features: str. Folder of the feature cache.
        max_bad: float. Share of images that may be unreadable.
        augment: bool. Random crops and changes of brightness, contrast and saturation; needs
            `model.train_encoder=true`, as cached features cannot change.
        horizontal_flip: bool. Train on flipped images as well, left and right swapped in their captions (English or
            German): an epoch is twice as long.
        cached_augmentations: int. Cached features of so many augmentations of each training image; a step takes one of
            them or the image itself. For frozen encoders.
        repeats: int. Times that each training image comes in an epoch: more with few images, so that validations do
            not take most of the time.
        images: int. Train on so many of the training images, drawn by the seed; 0 for all.
        hold_out: int. So many of these are the validation split (a hold-out); 0 for the dataset's validation split.
        vocabulary: str. `captions`: the words of the training captions; `union`: those of `model.init_from` too.
    """

    source: str
    language: str = "auto"
    min_count: int = 5
    max_vocabulary: int = 0
    captions_per_image: int = 5
    features: str = "cache/features"
    max_bad: float = 0.01
    augment: bool = False
    horizontal_flip: bool = False
    cached_augmentations: int = 0
    repeats: int = 1
    images: int = 0
    hold_out: int = 0
    vocabulary: str = "captions"

    def __post_init__(self) -> None:
        _check(self, "data.", min_count=(1,), max_vocabulary=(0,), captions_per_image=(1,))
        _check(self, "data.", max_bad=(0, 1), cached_augmentations=(0,), images=(0,), hold_out=(0,))
        _check(self, "data.", repeats=(1,))
        if self.language != "auto":
            checks.language_code(self.language, "data.language")
        _choice(self.vocabulary, "data.vocabulary", ["captions", "union"])


@dataclass(frozen=True)
class Model:
    """Arguments of `CaptionModel`, and its initial weights.

    Attributes:
        encoder: spec of `ENCODERS`, such as `densenet169(weights='imagenet')` or, without a network,
            `densenet169(weights='FILE')`; with `layer=['pool4_relu', 'relu'], join='fine'` features of two depths.
            Empty: that of `init_from`, with its image size.
        decoder: spec of `DECODERS`, such as `lstm(units=512, attention='multi_head(heads=8)', dropout=0.5)`.
            Empty: that of `init_from`.
        image_size: int. Height and width in pixels.
        max_length: int. Most ids of a caption, its end included; longer training captions are cut.
        train_encoder: bool. Train the encoder too, from pixels; else its features are computed once and cached.
        freeze_batch_norm: bool. A trained encoder keeps the means and variances of its batch normalisation and drops no
            units: right for a pretrained one, wrong for one with random weights.
        init_from: str. Model folder of the same networks, whose weights training begins with. Words that its
            vocabulary lacks begin as `new_words` says.
        init_parts: str. `all`: encoder and decoder begin with its weights; `encoder`: the encoder alone.
        new_words: str. How vectors of new words begin: `mean`, that of all words, or `subwords`, that of the words
            whose character n-grams are most alike.
    """

    encoder: str
    decoder: str
    image_size: int = 224
    max_length: int = 22
    train_encoder: bool = False
    freeze_batch_norm: bool = True
    init_from: str = ""
    init_parts: str = "all"
    new_words: str = "subwords"

    def __post_init__(self) -> None:
        _check(self, "model.", image_size=(1,), max_length=(2,))
        _choice(self.init_parts, "model.init_parts", ["all", "encoder"])
        _choice(self.new_words, "model.new_words", ["mean", "subwords"])


@dataclass(frozen=True)
class CrossEntropy:
    """Teacher forcing with cross-entropy.

    Attributes:
        epochs: int. Most epochs, 0 for none; the learning rate's schedule ends with the last.
        min_steps: int. Least number of steps: epochs are added until there are so many; 0 for none. There are as many
            validations as without them.
        batch_images: int. Images of a batch (B).
        learning_rate: float. Peak of the schedule.
        warmup: float. Share of all steps over which the rate rises to its peak.
        final_lr_ratio: float. Share of the peak that is left at the end of the cosine.
        label_smoothing: float. Probability spread over the whole vocabulary (Szegedy et al. 2016, section 7).
        attention_penalty: float. Weight of doubly stochastic attention (Xu et al. 2015, eq. 14).
        weight_decay: float. Decoupled (AdamW).
        global_clipnorm: float. Global norm that gradients are clipped to, 0 for none.
        ema_momentum: float. Momentum of the moving average of weights that is evaluated and saved, 0 for none; after t
            steps at most (1 + t) / (10 + t).
        mixed_precision: bool. bfloat16 arithmetic in all that is trained, in both stages; weights stay float32.
        distillation_teacher: str. Model folder whose distributions over words are learnt too, such as an ensemble
            (`training/loop/distillation.py`).
        distillation_weight: float. Weight of that loss.
        distillation_temperature: float. Above 1 the teacher's less likely words count more.
        text: str. File of sentences without images that the decoder learns from first, its features being zeros: `.txt`
            with a sentence a line, JSON lines with `text` or `caption`, or any captions file; empty for none.
        text_epochs: int. Epochs of these sentences, before those of `epochs` and with a schedule of their own.
    """

    epochs: int = 15
    min_steps: int = 0
    batch_images: int = 64
    learning_rate: float = 1e-3
    warmup: float = 0.05
    final_lr_ratio: float = 0.02
    label_smoothing: float = 0.1
    attention_penalty: float = 0.0
    weight_decay: float = 0.0
    global_clipnorm: float = 5.0
    ema_momentum: float = 0.99
    mixed_precision: bool = False
    distillation_teacher: str = ""
    distillation_weight: float = 1.0
    distillation_temperature: float = 1.0
    text: str = ""
    text_epochs: int = 1

    def __post_init__(self) -> None:
        _check(self, "xe.", epochs=(0,), min_steps=(0,), label_smoothing=(0, 1), attention_penalty=(0,))
        _check(self, "xe.", distillation_weight=(0,), distillation_temperature=(0.05,), text_epochs=(1,))
        _check(self, "xe.", **_OPTIMIZER)


@dataclass(frozen=True)
class SelfCritical:
    """Self-critical training (`training/loop/self_critical.py`), after cross-entropy or from `model.init_from`.

    Attributes:
        epochs: int. Epochs after cross-entropy, or after `model.init_from` where `xe.epochs` is 0; 0 for none.
        batch_images: int. Images of a batch (B).
        samples: int. Captions sampled for each image.
        baseline: str. What a sample's reward is compared with: `leave_one_out`, the mean of the others, or `greedy`.
        temperature: float. Of sampling: above 1 unlikely words are sampled more often.
        references: int. References of each image that stay in the loss.
        xe_weight: float. Weight of their cross-entropy, in nats a word.
        learning_rate, warmup, final_lr_ratio, weight_decay, global_clipnorm, ema_momentum: as of `xe`.
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
    final_lr_ratio: float = 0.05
    weight_decay: float = 0.0
    global_clipnorm: float = 1.0
    ema_momentum: float = 0.99

    def __post_init__(self) -> None:
        _check(self, "scst.", epochs=(0,), references=(0,), xe_weight=(0,), temperature=(0.01,), **_OPTIMIZER)
        _check(self, "scst.", samples=(2 if self.baseline == "leave_one_out" else 1,))
        _choice(self.baseline, "scst.baseline", ["leave_one_out", "greedy"])


@dataclass(frozen=True)
class Evaluation:
    """Validation, early stopping and the test.

    Attributes:
        strategy: spec of `STRATEGIES`, the same for validation and test.
        final_strategy: spec of the strategy that the finished model has as its default and that its test splits are
            scored with; empty: `strategy`. Parameters of `rerank='cider_regression'` are fitted on the training images.
        every: int. Epochs between validations.
        choose_by: str. What the best epoch is chosen by: `cider`, CIDEr-D; `loss`, cross-entropy of the references in
            nats a word (of self-critical training the last epoch is kept then); `auto`, loss where fewer than 50 images
            are validated, else CIDEr-D; `last`, not chosen: the last epoch is kept.
        patience: int. Stop after so many validations without a better epoch, 0 for never.
        batch_images: int. Images decoded together.
        limit: int. Validate on the first so many images only, 0 for all.
        tests: names of splits, separated by commas. Scored once at the end.
        official: bool. Also score the test splits with pycocoevalcap (needs Java).
    """

    strategy: str = DEFAULT_STRATEGY
    final_strategy: str = ""
    every: int = 1
    choose_by: str = "auto"
    patience: int = 0
    batch_images: int = 50
    limit: int = 0
    tests: tuple[str, ...] = ("test",)
    official: bool = False

    def __post_init__(self) -> None:
        _check(self, "evaluation.", every=(1,), patience=(0,), batch_images=(1,), limit=(0,))
        _choice(self.choose_by, "evaluation.choose_by", ["auto", "cider", "loss", "last"])


@dataclass(frozen=True)
class Run:
    """A training run; what a recipe returns.

    Attributes:
        name: str. Name of the recipe, and of the run's folder unless `--out` is given.
        data, model, xe, scst, evaluation: the parts.
        seed: int. Of weights, order and dropout.
        checkpoint_minutes: float. Minutes between checkpoints: how much work a crash may cost.
        deterministic: bool. Slower kernels whose result does not depend on how threads are scheduled.
        sized_by_data: bool. Batches, epochs, augmentations and hold-out follow from the number of images and captions
            (`training/recipes/sizing.py`), unless they are set.
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
    sized_by_data: bool = False

    def __post_init__(self) -> None:
        _check(self, "", seed=(0, 2**32 - 1), checkpoint_minutes=(0,))


def _check(part: Any, prefix: str, **ranges: tuple[float, ...]) -> None:
    """Raises a SpecError for a field below the first of its bounds, above the second, or not a number of its type."""
    types = typing.get_type_hints(type(part))
    for name, (least, *most) in ranges.items():
        value, option = getattr(part, name), prefix + name
        if types[name] is int:
            checks.integer(value, option, int(least), int(most[0]) if most else None)
        else:
            checks.number(value, option, least, most[0] if most else math.inf)


def _choice(value: str, option: str, choices: list[str]) -> None:
    """Raises a SpecError for a value that is none of the choices."""
    if value not in choices:
        raise SpecError(unknown(option, value, choices))


def as_dict(run: Run) -> dict[str, Any]:
    """A run as plain JSON, for the run's folder and the model's card."""
    return dataclasses.asdict(run)
