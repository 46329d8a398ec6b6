"""The state behind the page: images to caption, proposals, and the captions that are saved."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from captioner.caption_files.image_ids import composed
from captioner.errors import DataError, SpecError
from captioner.image import loading
from captioner.image.pillow_preprocess import upright_rgb
from training.annotation.candidates import Candidate, Photos, Ranking
from training.annotation.caption_table import CaptionTable
from training.data.datasets.files import caption_fault

MAX_CAPTIONS = 5  # of one image
MAX_CHARACTERS = 1000  # of one caption
_SIDE = 1024  # pixels of an image on the page
_REVISIONS = 10_000


class Session:
    """What the pages of one server share; any number of threads may use it.

    Args:
        photos: Photos.
        table: CaptionTable. Where captions are saved.
        ranking: Ranking. The images to show, in order.
    """

    def __init__(self, photos: Photos, table: CaptionTable, ranking: Ranking):
        self.photos, self.table = photos, table
        self._lock = threading.Lock()
        self._ranking, self._version = ranking, 1
        self._captioned: set[int] = set()
        # The last revision of each page and image, so that a request that was overtaken changes nothing.
        self._revisions: OrderedDict[tuple[str, int], int] = OrderedDict()
        self.thumbnail: Callable[[int], bytes] = lru_cache(32)(self._thumbnail)

    @property
    def captioned(self) -> int:
        """How many images have been captioned by this server."""
        return len(self._captioned)

    def renew(self, ranking: Ranking) -> None:
        """Shows other images and proposals from now on, to pages that are loaded again."""
        with self._lock:
            self._ranking, self._version = ranking, self._version + 1

    def state(self) -> dict[str, Any]:
        """What a page needs at its start, for JSON."""
        with self._lock:
            ranking, version = self._ranking, self._version
        captions = self.table.captions()
        images = [
            {
                "number": candidate.number,
                "name": self.photos.names[candidate.number],
                "proposal": candidate.proposal,
                "uncertainty": candidate.uncertainty,
                "captions": captions.get(composed(self.photos.names[candidate.number]), []),
            }
            for candidate in ranking.candidates
        ]
        return {
            "session": self.photos.fingerprint,
            "version": version,
            "file": str(self.table.path),
            "max_captions": MAX_CAPTIONS,
            "unreadable": len(ranking.unreadable),
            "images": images,
        }

    def save(self, edit: Any) -> dict[str, Any]:
        """Saves the captions of one image.

        Args:
            edit: dict with "session", "page" (str, random), "revision" (int, ascending within a page), "number" and
                "captions" (list of str), from JSON.

        Returns:
            dict with "captions", those of the image now, and "captioned", how many images have been.

        Raises:
            SpecError: if the edit is none, or is of other images than those here.
            DataError: if the file cannot be read or written.
        """
        number, page, revision, captions = self._checked(edit)
        name = self.photos.names[number]
        with self._lock:
            if revision > self._revisions.get((page, number), -1):
                self.table.put(name, captions)
                self._revisions[page, number] = revision
                if len(self._revisions) > _REVISIONS:
                    self._revisions.popitem(last=False)
                (self._captioned.add if captions else self._captioned.discard)(number)
            saved = self.table.captions().get(composed(name), [])
        return {"captions": saved, "captioned": self.captioned}

    def _checked(self, edit: Any) -> tuple[int, str, int, list[str]]:
        if not isinstance(edit, dict):
            raise SpecError("expected an object with session, page, revision, number and captions")
        if edit.get("session") != self.photos.fingerprint:
            raise SpecError("the images have changed since this page was loaded: load it again")
        number: Any = edit.get("number")
        revision: Any = edit.get("revision")
        page = edit.get("page")
        if not _is_number(number, len(self.photos.names)) or not _is_number(revision, 2**53):
            raise SpecError("expected the number of an image and a revision, whole numbers of at least 0")
        if not isinstance(page, str) or not 0 < len(page) <= 64:
            raise SpecError("expected a page, a string of at most 64 characters")
        return number, page, revision, _captions(edit.get("captions"))

    def _thumbnail(self, number: int) -> bytes:
        """An image as a JPEG of at most 1024 pixels a side.

        Raises:
            ImageError: if it cannot be read.
            DataError: if there is no such image.
        """
        if not _is_number(number, len(self.photos.names)):
            raise DataError(f"there is no image {number}")
        image = upright_rgb(loading.to_bytes(self.photos.path(number), self.photos.names[number]))
        image.thumbnail((_SIDE, _SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85)
        return file.getvalue()


def with_captioned(ranking: Ranking, photos: Photos, captions: Mapping[str, Sequence[str]]) -> Ranking:
    """A ranking followed by the images that have captions, to correct them; those with more than five are left out.

    Args:
        ranking: Ranking.
        photos: Photos.
        captions: mapping of an image's composed name to its captions, as `CaptionTable.captions` returns it.
    """
    ranked = {candidate.number for candidate in ranking.candidates}
    others = []
    for number, name in enumerate(photos.names):
        texts = captions.get(composed(name), ())
        if number not in ranked and 0 < len(texts) <= MAX_CAPTIONS and name not in ranking.unreadable:
            others.append(Candidate(number, texts[0], 0.0))
    return Ranking([*ranking.candidates, *others], ranking.unreadable)


def _is_number(value: Any, end: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < end


def _captions(texts: Any) -> list[str]:
    """Captions in one line each; those without a word are left out, as are repetitions."""
    if not isinstance(texts, Sequence) or isinstance(texts, str) or len(texts) > MAX_CAPTIONS:
        raise SpecError(f"expected a list of at most {MAX_CAPTIONS} captions")
    captions = []
    for text in texts:
        if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
            raise SpecError(f"expected captions of at most {MAX_CHARACTERS} characters")
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise SpecError("expected captions of plain text, got a character that no text has")
        caption = " ".join(text.split())
        if caption not in captions and not caption_fault(caption):
            captions.append(caption)
    return captions
