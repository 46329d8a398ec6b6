"""The table of metrics, and `evaluate`, which scores captions against references."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from captioner import checks
from captioner.caption_files.image_ids import match, shown
from captioner.errors import DataError, SpecError
from captioner.metrics.base import Candidates, References, Scores
from captioner.metrics.cider import CiderD
from captioner.metrics.official import official_scores, ptb_words
from captioner.registry import Spec, Table, parse_spec
from captioner.text import words
from captioner.text.languages import ENGLISH
from captioner.types import Caption

METRICS = Table(
    "metric",
    {
        "bleu": "captioner.metrics.bleu:Bleu",
        "rouge_l": "captioner.metrics.rouge_l:RougeL",
        "cider_d": "captioner.metrics.cider:CiderD",
        "meteor": "captioner.metrics.meteor:Meteor",
        "diversity": "captioner.metrics.diversity:Diversity",
        "bad_endings": "captioner.metrics.endings:BadEndings",
        "exact_match": "captioner.metrics.exact:ExactMatch",
    },
)
# Default metrics of `evaluate`: all that are fast and need no Java.
DEFAULT_METRICS = ("bleu", "rouge_l", "cider_d", "diversity", "bad_endings")

Prediction = str | Caption
Predictions = Mapping[Any, Prediction] | Sequence[Prediction]
ReferenceTexts = Mapping[Any, Sequence[str]] | Sequence[Sequence[str]]


def evaluate(
    predictions: Predictions,
    references: ReferenceTexts,
    official: bool = False,
    metrics: Iterable[str | Spec] = DEFAULT_METRICS,
    training: Iterable[str] | None = None,
    allow_empty: bool = False,
    language: str = ENGLISH,
) -> dict[str, float]:
    """Scores one predicted caption an image against the image's references.

    Both sides are split into words by `captioner.text.words`. CIDEr-D takes its document frequencies from
    `references`, so it depends on the set of evaluated images; for one image it is NaN, with a `UserWarning`.

    Args:
        predictions: mapping of image id to a caption (str or `Caption`), or a list of them.
        references: mapping of the same ids to lists of captions, or a list of such lists in the same order.
        official: bool, defaults to False. Add the scores of pycocoevalcap with its own tokenisation, named
            "official BLEU-1" and so on. Needs Java.
        metrics: iterable of str or Spec, rows of `METRICS`.
        training: iterable of str, or None. The training captions; adds "novel captions".
        allow_empty: bool, defaults to False. Score a prediction without words 0 instead of raising an error, for
            models in training, which may predict empty captions.
        language: str, defaults to "en". That of the captions, for "bad endings", which languages without rules lack;
            see `captioner.text.languages`.

    Returns:
        dict of a metric's name to float, x100 unless it is a count.

    Raises:
        DataError: if ids differ, or captions are missing or empty; the message lists ids and their number.
        SpecError: if a metric is unknown, or `language` is no code.
        MissingDependency: if a package or Java, needed by a metric, is not installed.

    Example:
        >>> predictions = {"1.jpg": "a dog", "2.jpg": "a cat"}
        >>> references = {"1.jpg": ["A dog ."], "2.jpg": ["Two cats .", "Some cats ."]}
        >>> evaluate(predictions, references, metrics=["rouge_l", "exact_match"])
        {'ROUGE-L': 50.0, 'exact match': 50.0}
    """
    return scored(predictions, references, official, metrics, training, allow_empty, language).corpus


@dataclass(frozen=True)
class Scored:
    """Tokenised captions and references, in the same order of images, with the scores of all metrics.

    Attributes:
        names: list of image ids, [B].
        texts: list of str [B]. The predictions.
        captions: list of lists of str [B]. The references.
        candidates: list of lists of words, [B].
        references: list of lists of lists of words, [B].
        scores: list of `Scores`, one for each metric.
        language: str. The language of the captions.
    """

    names: list[Any]
    texts: list[str]
    captions: list[list[str]]
    candidates: Candidates
    references: References
    scores: list[Scores]
    language: str = ENGLISH

    @property
    def corpus(self) -> dict[str, float]:
        """All corpus scores by name, as `evaluate` returns them."""
        return {name: value for metric_scores in self.scores for name, value in metric_scores.corpus.items()}

    @property
    def per_image(self) -> dict[str, np.ndarray]:
        """The scores of each image, by name: float64 [B]."""
        return {
            name: values for metric_scores in self.scores for name, values in metric_scores.per_image.items()
        }


def scored(
    predictions: Predictions,
    references: ReferenceTexts,
    official: bool = False,
    metrics: Iterable[str | Spec] = DEFAULT_METRICS,
    training: Iterable[str] | None = None,
    allow_empty: bool = False,
    language: str = ENGLISH,
) -> Scored:
    """Scores as `evaluate` does, and returns the tokenised captions and the scores of each image as well.

    Args:
        predictions, references, official, metrics, training, allow_empty, language: as for `evaluate`.

    Returns:
        `Scored`.

    Raises:
        DataError, SpecError, MissingDependency: as `evaluate`.
    """
    options: dict[str, Any] = {"language": checks.language_code(language)}
    if training is not None:
        options["training"] = training
    if isinstance(metrics, str):
        raise SpecError(f"expected a list of metrics such as [{metrics!r}], got {metrics!r}")
    texts, captions, names = _aligned(predictions, references)
    candidates = [words(text) for text in texts]
    wanted = [[words(caption) for caption in image] for image in captions]
    _refuse(
        "references without a word", [n for n, image in zip(names, wanted, strict=True) if not all(image)]
    )
    if not allow_empty:
        _refuse("predictions without a word", [n for n, c in zip(names, candidates, strict=True) if not c])
    all_scores: list[Scores] = []
    for spec in metrics:
        parsed = parse_spec(spec)
        metric = METRICS.build(parsed, **_accepted(parsed, options))
        if not hasattr(metric, "score"):
            raise SpecError(f"expected a metric, which has a method score, got {spec}")
        all_scores.append(metric.score(candidates, wanted))
    if official:
        all_scores += _official(texts, captions)
    return Scored(names, texts, captions, candidates, wanted, all_scores, language)


def _accepted(spec: Spec, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that a metric takes and its spec does not set."""
    try:
        parameters = inspect.signature(METRICS[spec.name]).parameters
    except (TypeError, ValueError):  # no class or function: building it raises the error
        return {}
    return {name: value for name, value in options.items() if name in parameters and name not in spec.args}


def _official(texts: Sequence[str], captions: Sequence[Sequence[str]]) -> list[Scores]:
    # A single run of the tokeniser: starting Java takes most of its time.
    sizes = [len(image) for image in captions]
    tokens = iter(ptb_words([*texts, *(caption for image in captions for caption in image)]))
    candidates: Candidates = [next(tokens) for _ in texts]
    references: References = [[next(tokens) for _ in range(size)] for size in sizes]
    scores = official_scores(candidates, references)
    if not CiderD().prepare(references).defined:  # that of pycocoevalcap is then 0 for all captions
        undefined = np.full(len(candidates), np.nan)
        scores["cider_d"] = Scores({"CIDEr-D": np.nan}, {"CIDEr-D": undefined})
    official = scores.values()
    return [Scores(_official_names(score.corpus), _official_names(score.per_image)) for score in official]


def _official_names(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"official {name}": value for name, value in values.items()}


def _aligned(
    predictions: Predictions, references: ReferenceTexts
) -> tuple[list[str], list[list[str]], list[Any]]:
    """Texts, reference texts and names in the same order; DataError if they do not match."""
    mappings = isinstance(predictions, Mapping) and isinstance(references, Mapping)
    if not mappings and not (_is_list(predictions) and _is_list(references)):
        raise DataError(
            "expected predictions and references to be both mappings by id or both lists, got "
            f"{type(predictions).__name__} and {type(references).__name__}"
        )
    if isinstance(predictions, Mapping):
        assert isinstance(references, Mapping)
        _same_ids(predictions, references)
        names = list(predictions)
    else:
        if len(predictions) != len(references):
            raise DataError(
                f"expected one prediction for each list of references, got {len(predictions)} predictions "
                f"and {len(references)} lists"
            )
        names = list(range(len(predictions)))
    if not names:
        raise DataError("expected at least one prediction to evaluate, got none")
    texts = [predictions[name] for name in names]  # type: ignore[index]
    captions = [references[name] for name in names]  # type: ignore[index]
    _refuse(
        "predictions that are errors, not captions",
        [n for n, text in zip(names, texts, strict=True) if isinstance(text, Caption) and not text.ok],
    )
    plain = [text.caption if isinstance(text, Caption) else text for text in texts]
    _refuse(
        "predictions that are no string",
        [n for n, t in zip(names, plain, strict=True) if not isinstance(t, str)],
    )
    _refuse(
        "entries whose references are no list of strings",
        [n for n, c in zip(names, captions, strict=True) if isinstance(c, str) or not _all_strings(c)],
    )
    _refuse("images without references", [n for n, c in zip(names, captions, strict=True) if not len(c)])
    return plain, [list(image) for image in captions], names


def _same_ids(predictions: Mapping[Any, Any], references: Mapping[Any, Any]) -> None:
    """Raises DataError if ids differ, with a hint if only their spelling differs."""
    unmatched = [n for n in predictions if n not in references]
    unused = [n for n in references if n not in predictions]
    pairs, ways = match(unmatched, unused)
    hint = ""
    if pairs:
        (name, other), way = next(iter(pairs.items())), next(iter(ways))
        hint = (
            f" ({shown(name)} and {shown(other)} have the same {way.removeprefix('same ')}: spell them alike)"
        )
    _refuse("predictions without references", unmatched, hint)
    _refuse("images with references but no prediction", unused, hint)


def _is_list(values: Any) -> bool:
    is_sequence = hasattr(values, "__len__") and hasattr(values, "__getitem__")
    return is_sequence and not isinstance(values, str | bytes | Mapping)


def _all_strings(captions: Any) -> bool:
    return isinstance(captions, Sequence) and all(isinstance(caption, str) for caption in captions)


def _refuse(what: str, names: list[Any], hint: str = "") -> None:
    """Raises DataError if `names` is not empty; the message has their number and the first three."""
    if names:
        first = ", ".join(map(shown, names[:3])) + (", ..." if len(names) > 3 else "")
        raise DataError(f"cannot evaluate: {len(names)} {what}: {first}{hint}")
