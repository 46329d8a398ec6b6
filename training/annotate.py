"""Shows what to caption next, and takes the captions: a page in the browser, used by keyboard alone.

    python training/annotate.py photos

Of the images in the folder that have no captions yet, those come first whose captions would teach the model most: it
is unsure of them, and they are unlike the others (training/analysis/active_learning.py). The page proposes the model's
caption of each image; what is typed is saved to the captions file half a second later. Other rows and columns of the
file stay as they are. Then adapt the model to the captions, by the command that is printed or on the page, and go on
with the new model's proposals.
"""

from __future__ import annotations

from captioner.programs import program  # first: it sets the import path

# isort: split
import argparse
import json
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from captioner import checks
from captioner.api import DEFAULT_MODEL, located
from captioner.cli.parser import Parser, add_trust
from captioner.errors import DataError, EngineError, MissingDependency
from training.annotation.caption_table import CaptionTable

_PORT = 8765
# Files that training reads in place of captions.csv, or would no longer read beside it.
_OTHER_FILES = ("captions.jsonl", "captions.json", "metadata.jsonl", "metadata.csv")


def parser() -> Parser:
    """The command line."""
    build = Parser(prog="annotate.py", description=__doc__)
    build.add_argument("photos", metavar="PHOTOS", help="folder of images; sub-folders are searched")
    build.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="FOLDER", help="model folder (default: %(default)s)"
    )
    build.add_argument(
        "--captions", metavar="FILE.csv",
        help="captions file, CSV or TSV; made if there is none (default: captions.csv in PHOTOS)",
    )  # fmt: skip
    build.add_argument("--count", type=int, default=50, help="most images to caption (default: %(default)s)")
    build.add_argument(
        "--all",
        action="store_true",
        help="on the page, behind the others: images with captions, to correct them",
    )
    build.add_argument(
        "--list", action="store_true", help="print the images and the uncertainty of each, without the page"
    )
    build.add_argument("--json", action="store_true", help="with --list: an object a line, with proposals")
    build.add_argument(
        "--port", type=int, default=_PORT, help="of the page, 0 for any that is free (default: %(default)s)"
    )
    add_trust(build)
    return build


def run(options: argparse.Namespace) -> None:
    """Ranks the images, and lists them or serves the page until Ctrl-C."""
    checks.integer(options.count, "--count", 1)
    checks.integer(options.port, "--port", 0, 65535)
    if options.json and not options.list:
        raise DataError("--json prints what --list does: add --list")
    if options.all and options.list:
        raise DataError("--all is for the page: leave out --list, which prints images without captions")
    from training.annotation.candidates import Photos, uncaptioned

    photos = Photos.of(options.photos)
    table = CaptionTable(_captions_file(photos.folder, options.captions))
    numbers = uncaptioned(photos, table.captions())
    for note in photos.notes:
        _note(note)
    if not numbers and not options.all:
        raise DataError(
            f"all {len(photos.names):,} images in {photos.folder} have captions in {table.path} already: "
            "add images, or name another captions file with --captions"
        )
    if options.list:
        _print(photos, _ranking(options, photos, numbers, options.model), options.json)
        return
    table.check_writable()
    _serve(options, photos, table, numbers)


def _serve(options: argparse.Namespace, photos: Any, table: CaptionTable, numbers: list[int]) -> None:
    """Serves the page until Ctrl-C, then prints how to adapt."""
    from training.annotation.adapting import Adapting
    from training.annotation.candidates import uncaptioned
    from training.annotation.session import Session, with_captioned

    try:
        from training.annotation.server import HOST, application, listener, serve
    except ImportError as error:
        raise MissingDependency(error.name or "starlette", "devserver", "the page") from None
    with listener(options.port) as listening:  # first: ranking takes long, and would be wasted

        def ranking_by(model: str, numbers: list[int]) -> Any:
            ranking = _ranking(options, photos, numbers, model)
            return with_captioned(ranking, photos, table.captions()) if options.all else ranking

        session = Session(photos, table, ranking_by(options.model, numbers))

        def renew(model: str) -> None:
            session.renew(ranking_by(model, uncaptioned(photos, table.captions())))

        # Outside the project's folder the default model is named by its path.
        model = "" if located(options.model) == DEFAULT_MODEL else located(options.model)
        adapting = Adapting(photos.folder, table.path, renew, model)
        print(f"caption on http://{HOST}:{listening.getsockname()[1]}/ - Ctrl-C ends", flush=True)
        try:
            with suppress(KeyboardInterrupt):  # the usual end
                serve(application(session, adapting), listening)
        finally:
            adapting.stop()
    count = session.captioned
    print(f"{count} image{'s' * (count != 1)} captioned in {table.path}")
    print(f"adapt the model to them: {shlex.join(adapting.command)}")


def _captions_file(photos: Path, captions: str | None) -> Path:
    """The captions file; refuses to write beside one of another format that training would confuse it with."""
    if captions is not None:
        return Path(captions)
    if (photos / "captions.csv").is_file():
        return photos / "captions.csv"
    if (photos / "captions.tsv").is_file():
        return photos / "captions.tsv"
    other = next((photos / name for name in _OTHER_FILES if (photos / name).is_file()), None)
    if other is not None:
        raise DataError(
            f"expected captions in a CSV or TSV file, got {other}: save it as captions.csv with the columns image and "
            "caption, or name a captions file with --captions"
        )
    return photos / "captions.csv"


def _ranking(options: argparse.Namespace, photos: Any, numbers: list[int], model: str) -> Any:
    """The images to caption, by the proposals of a model; unreadable ones are listed on standard error."""
    from captioner.engines.keras import KerasEngine
    from training.annotation.candidates import rank

    source = located(model)
    if not os.path.isdir(source) or not KerasEngine.opens(source):
        raise EngineError(f"expected a model folder, got {model}: the page needs its weights, not an export")
    engine = KerasEngine.open(source, options.trust)
    try:
        ranking = rank(engine.model, photos, numbers, options.count)
    finally:
        engine.close()
    for name, reason in ranking.unreadable.items():
        _note(f"{name}: {reason}")
    if ranking.unreadable:
        _note(f"{len(ranking.unreadable)} of {len(photos.names)} images cannot be read and are left out")
    return ranking


def _print(photos: Any, ranking: Any, as_json: bool) -> None:
    """Prints the images, one a line."""
    for candidate in ranking.candidates:
        name = photos.names[candidate.number]
        if as_json:
            row = {
                "image": name,
                "uncertainty": candidate.uncertainty,
                "proposal": candidate.proposal,
            }
            print(json.dumps(row, ensure_ascii=False))
        else:
            print(f"{candidate.uncertainty:.3f}  {name}")


def _note(line: str) -> None:
    print(f"annotate.py: {line}", file=sys.stderr, flush=True)


main = program(parser, run)

if __name__ == "__main__":
    sys.exit(main())
