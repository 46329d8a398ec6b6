"""The images of a report as small data URIs, with attention maps."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captioner.errors import DataError, ImageError
from captioner.image import loading, pillow_preprocess
from captioner.outputs.heatmap import heatmap
from captioner.types import Caption

SIDE = 320  # the longer side of an image, in pixels
_SHEET = 1000  # the longer side of a sheet with a panel for each word, in pixels


@dataclass
class ReportImage:
    """An image of a page, as data URIs.

    Attributes:
        uri: str. The image; empty if it cannot be read.
        problem: str. The reason why it cannot be read.
        overlays, sheets: lists of str, one for each model's caption: the attention of all words, and of each word;
            empty without attention.
    """

    uri: str = ""
    problem: str = ""
    overlays: list[str] = field(default_factory=list)
    sheets: list[str] = field(default_factory=list)


class Images:
    """Images by the ids of predictions.

    Args:
        images: str or PathLike (a folder), mapping of id to anything that
            `captioner.image.loading.to_bytes` takes, or None: ids are paths.

    Raises:
        DataError: if there is no such folder.
    """

    def __init__(self, images: Any = None):
        self._known: Mapping[Any, Any] | None = images if isinstance(images, Mapping) else None
        self._folder = None if images is None or self._known is not None else Path(images)
        if self._folder is not None and not self._folder.is_dir():
            raise DataError(f"expected the folder of the images, got {images}: there is no such folder")

    def shown(self, name: Any, captions: Any = ()) -> ReportImage:
        """An image with the attention maps of each `Caption`; with a `problem` if it cannot be read."""
        try:
            data = loading.to_bytes(self._source(name))
            image = pillow_preprocess.upright_rgb(data)
        except ImageError as error:
            return ReportImage(problem=str(error))
        shown_image = ReportImage(uri=jpeg(image, SIDE))
        for caption in captions:
            overlay = sheet = ""
            if isinstance(caption, Caption) and caption.attention is not None and caption.words:
                with suppress(DataError):  # maps of a wrong shape; the image is shown without them
                    drawn = heatmap(data, caption)
                    overlay, sheet = jpeg(drawn.overlay(), 2 * SIDE), jpeg(drawn.sheet(), _SHEET)
            shown_image.overlays.append(overlay)
            shown_image.sheets.append(sheet)
        return shown_image

    def _source(self, name: Any) -> Any:
        if self._known is not None:
            if name not in self._known:
                raise ImageError(f"{name}: it is missing from the mapping of images")
            return self._known[name]
        if self._folder is None:
            return Path(str(name))
        path = Path(str(name))
        # An id may lack the ending, and a path may come from another folder.
        candidates = [self._folder / path, self._folder / path.name]
        candidates += [self._folder / f"{path.name}{ending}" for ending in loading.SUFFIXES]
        return next((candidate for candidate in candidates if candidate.is_file()), candidates[0])


def jpeg(image: Any, side: int) -> str:
    """A PIL image as a data URI, its longer side at most `side` pixels."""
    image = image.copy()
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=78, optimize=True)
    return data_uri("image/jpeg", buffer.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Content as a data URI.

    Example:
        >>> data_uri("text/plain", b"a")
        'data:text/plain;base64,YQ=='
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
