"""Makes an ensemble of trained models: one captioner whose word probabilities are the mean of theirs.

    python training/ensemble.py runs/seed1/model runs/seed2/model runs/seed3/model --out runs/ensemble/model

They must have the same vocabulary and the same encoder with the same weights. The result is a model folder: it is
exported, scored and served like any other, and costs as much as its decoders together.
"""

from __future__ import annotations

import argparse
import sys

from captioner import api
from captioner.cli.parser import Parser, add_trust
from captioner.engines.tensorflow_import import import_tensorflow
from captioner.programs import program


def parser() -> Parser:
    """The command line."""
    build = Parser(prog="ensemble.py", description=__doc__)
    build.add_argument("models", nargs="+", metavar="MODEL", help="model folders")
    build.add_argument("--out", required=True, metavar="FOLDER", help="where the new model folder goes")
    add_trust(build)
    build.add_argument("--overwrite", action="store_true", help="replace a model that is there")
    return build


def run(options: argparse.Namespace) -> None:
    """Writes the ensemble's model folder."""
    import_tensorflow("joining models")
    from captioner.engines.keras import KerasEngine
    from captioner.models.ensemble import joined

    model = joined([KerasEngine.open(folder, options.trust).model for folder in options.models])
    card = [f"# Ensemble of {len(options.models)}", "", *(f"- `{folder}`" for folder in options.models), ""]
    print(api.save(model, options.out, overwrite=options.overwrite, card="\n".join(card)))


main = program(parser, run)

if __name__ == "__main__":
    sys.exit(main())
