"""Word confusions: predicted words that no reference has, with the words of the references that are missing.

A word is *invented* if the caption has it and no reference of the image does, and *missed* if at least half of the
references have it and the caption does not. The missed word that an invented one replaces is not known: all missed
words of the image get equal weights. Function words, and others that name nothing visible, are left out where the
language has rules (`captioner.text.languages`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from captioner.metrics import Scored
from captioner.text.languages import rules


def confusions(model: Scored, most: int = 15) -> dict[str, Any]:
    """The most frequent confusions of one model.

    Args:
        model: Scored.
        most: int, default 15. Largest number of each kind.

    Returns:
        dict with "pairs" (list of said, missed, weight), "invented" and "missed" (lists of word, count), most frequent
        first, with an example: image and caption of the first occurrence.

    Example:
        >>> from captioner.metrics import scored
        >>> world = scored({"1.jpg": "a cat sleeps"}, {"1.jpg": ["A dog sleeps ."]}, metrics=["exact_match"])
        >>> confusions(world)["pairs"][0]["said"], confusions(world)["pairs"][0]["missed"]
        ('cat', 'dog')
    """
    language = rules(model.language)
    left_out = language.function_words | language.without_content
    pairs: Counter[tuple[str, str]] = Counter()
    invented: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    first: dict[Any, int] = {}
    for i, (candidate, references) in enumerate(zip(model.candidates, model.references, strict=True)):
        predicted = set(candidate)
        reference_counts = Counter(word for reference in references for word in set(reference))
        wrong = sorted(predicted - set(reference_counts) - left_out)
        wanted = {word for word, number in reference_counts.items() if 2 * number >= len(references)}
        absent = sorted(wanted - predicted - left_out)
        invented.update(wrong)
        missed.update(absent)
        for word in wrong:
            first.setdefault(("invented", word), i)
            for other in absent:
                pairs[word, other] += 1 / len(absent)  # type: ignore[assignment]
                first.setdefault((word, other), i)
        for word in absent:
            first.setdefault(("missed", word), i)

    def example(key: Any) -> dict[str, str]:
        i = first[key]
        return {"image": str(model.names[i]), "caption": model.texts[i]}

    def listed(kind: str, counts: Counter[str]) -> list[dict[str, Any]]:
        return [
            {"word": word, "count": count, "example": example((kind, word))}
            for word, count in _most(counts, most)
        ]

    return {
        "pairs": [
            {"said": pair[0], "missed": pair[1], "weight": weight, "example": example(pair)}
            for pair, weight in _most(pairs, most)
        ],
        "invented": listed("invented", invented),
        "missed": listed("missed", missed),
    }


def _most(counts: Counter[Any], most: int) -> list[tuple[Any, Any]]:
    """The most frequent items, ties sorted by name; counts that differ by rounding errors only are ties."""
    return sorted(counts.items(), key=lambda item: (-round(item[1], 9), item[0]))[:most]
