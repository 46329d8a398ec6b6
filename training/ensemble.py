"""Joins trained models into one captioner whose word probabilities are the mean of theirs.

    python training/ensemble.py runs/seed1/model runs/seed2/model runs/seed3/model --out runs/ensemble/model

They must have the same vocabulary and look with the same encoder and its weights. What comes out is a model folder like
any other: it is exported, scored and served like one, and costs as much as its decoders together.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioner import api
from captioner.cli.parser import Parser, add_trust
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.programs import run_program


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = Parser(prog="ensemble.py", description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="model folders")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the new model folder goes")
    add_trust(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace a model that is there")

    def work() -> None:
        given = parser.parse_args(arguments)
        import_tensorflow("joining models")
        from captioner.engines.keras import KerasEngine
        from captioner.models.ensemble import joined

        model = joined([KerasEngine.open(folder, given.trust).model for folder in given.models])
        lines = [f"# Ensemble of {len(given.models)}", "", *(f"- `{folder}`" for folder in given.models), ""]
        print(api.save(model, given.out, overwrite=given.overwrite, card="\n".join(lines)))

    return run_program("ensemble.py", work)


if __name__ == "__main__":
    sys.exit(main())
