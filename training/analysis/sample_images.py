"""The images whose captions the page of a run shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from captioner.errors import CaptionerError
from captioner.registry import Spec, parse_spec, table_specs_only
from captioner.reports.images import Images, ReportImage
from training.data.datasets import DATASETS
from training.data.datasets.mixture import source_names


def sample_images(config: dict[str, Any], names: Sequence[str]) -> list[ReportImage]:
    """The images of these names, read from their folder or drawn again; empty ones without a folder.

    Args:
        config: the settings of a run, as of `run_folder.read_config`; nothing in them is trusted.
        names: ids of images of the validation split.
    """
    try:
        return _images(parse_spec(config["data"]["source"]), names)
    except (CaptionerError, OSError, KeyError):
        return [ReportImage() for _ in names]  # a page without images


def _images(source: Spec, names: Sequence[str]) -> list[ReportImage]:
    if source.name == "mixture":
        parts = source.args["sources"]
        images: dict[str, ReportImage] = {}
        for prefix, spec in zip(source_names(parts, source.args.get("names")), parts, strict=True):
            inside = [name for name in names if name.startswith(f"{prefix}/")]
            if not inside:  # its split may have no images
                continue
            shown = _images(parse_spec(spec), [name.removeprefix(f"{prefix}/") for name in inside])
            images |= zip(inside, shown, strict=True)
        return [images.get(name, ReportImage()) for name in names]
    known: Any = source.args.get("folder") or source.args.get("path")
    if source.name == "synthetic_scenes":
        with table_specs_only():  # run.json may be anybody's
            examples = DATASETS.build(source).examples("validation")
        known = {example.id: example.read() for example in examples if example.id in names}
    if not known:
        return [ReportImage() for _ in names]
    images_of_source = Images(known)
    return [images_of_source.shown(name) for name in names]
