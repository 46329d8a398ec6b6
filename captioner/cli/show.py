"""Says what a model is: parameters, config, vocabulary, scores and card. Checks that its files are whole."""

from __future__ import annotations

import argparse
import json

from captioner import bundle
from captioner.api import engine_for
from captioner.errors import EngineError
from captioner.types import SPECIALS


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="model folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Prints what is known of the model."""
    if engine_for(options.model) != "keras":
        raise EngineError(f"expected a model folder to show, got {options.model}")
    found = bundle.read(options.model)
    words = found.tokenizer.vocabulary[len(SPECIALS) :]
    if options.json:
        facts = {
            "folder": str(found.folder),
            "captioner": found.captioner,
            "parameters": found.parameters,
            "model": found.config,
            "vocabulary": {"size": len(found.tokenizer), "fingerprint": found.tokenizer.fingerprint},
            "metrics": found.metrics,
            "card": found.card,
        }
        print(json.dumps(facts, ensure_ascii=False))
        return 0
    size = found.weights.stat().st_size / 1e6
    parts = ", ".join(f"{part} {count:,}" for part, count in found.parameters.items())
    print(f"{found.folder}  (written by captioner {found.captioner})")
    print(f"weights      {size:.1f} MB; parameters: {parts or 'not recorded'}")
    for key, value in found.config.items():
        print(f"{key:<12} {value if isinstance(value, str) else json.dumps(value)}")
    print(f"vocabulary   {len(words)} words and {len(SPECIALS)} special tokens: {', '.join(words[:8])} ...")
    for name, value in found.metrics.items():
        print(
            f"{name:<12} {value:.2f}" if isinstance(value, int | float) else f"{name:<12} {json.dumps(value)}"
        )
    if found.card:
        print(f"\n{found.card.strip()}")
    return 0
