"""Captions inside image files: XMP (alternative text, description) and IPTC-IIM (Caption/Abstract)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from captioner.errors import ImageError

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
_MOST_BYTES = 8 << 20

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
# In this order: IPTC Photo Metadata 2021.1, AltTextAccessibility; Dublin Core, description.
_PROPERTIES = (
    "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}AltTextAccessibility",
    "{http://purl.org/dc/elements/1.1/}description",
)
# IPTC-IIM 4.2: 1:90 is the coded character set, 2:120 Caption/Abstract.
_CHARACTER_SET, _ABSTRACT = (1, 90), (2, 120)
_UTF8 = b"\x1b%G"
# What cameras and programs write where a caption belongs, in capitals.
_NO_CAPTIONS = {
    "OLYMPUS DIGITAL CAMERA",
    "SONY DSC",
    "MINOLTA DIGITAL CAMERA",
    "KONICA MINOLTA DIGITAL CAMERA",
    "SAMSUNG CAMERA PICTURES",
    "DIGITAL CAMERA",
    "EXIF_JPEG_PICTURE",
    "DEFAULT",
    "UNTITLED",
    "CREATED WITH GIMP",
}


def photo_captions(path: Path, language: str | None = None) -> list[str]:
    """The captions inside an image file: XMP's AltTextAccessibility and dc:description, and IPTC's Caption/Abstract.

    What cameras write there by themselves ("OLYMPUS DIGITAL CAMERA") is no caption.

    Args:
        path: Path of a JPEG, PNG, WebP or TIFF file; others have no captions.
        language: str, default None. Of texts in several languages the one to use, such as "de"; by default the one that
            the file calls its default, or else the first. IPTC does not say its language and is used by default only.

    Returns:
        list of str, each text once; empty if there is none.

    Raises:
        ImageError: in one line without the file's name, if the metadata is damaged, too large, or has a DTD.
    """
    xmp, iptc = _blocks(path)
    texts = xmp_captions(xmp, language) if xmp else []
    if language is None:
        texts += _abstracts(iptc)
    texts = [" ".join(text.split()) for text in texts]
    return [text for text in dict.fromkeys(texts) if text and text.upper() not in _NO_CAPTIONS]


def xmp_captions(packet: bytes, language: str | None = None) -> list[str]:
    """The captions in an XMP packet (ISO 16684-1).

    Args:
        packet: bytes of XML.
        language: str, default None. See `photo_captions`.

    Returns:
        list of str: alternative text, then description.

    Raises:
        ImageError: if it is no XML, or has a DTD, which XMP never has and which can blow up to any size.

    Example:
        >>> xmp_captions(b'''<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
        ...   xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Description><dc:description><rdf:Alt>
        ...   <rdf:li xml:lang="x-default">a dog</rdf:li><rdf:li xml:lang="de">ein Hund</rdf:li>
        ...   </rdf:Alt></dc:description></rdf:Description></rdf:RDF>''', "de")
        ['ein Hund']
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    if len(packet) > _MOST_BYTES:
        raise ImageError(f"its XMP has more than {_MOST_BYTES >> 20} MB")
    try:
        root = fromstring(packet.strip(b"\0 \t\r\n"), forbid_dtd=True)
    except DefusedXmlException:
        raise ImageError("its XMP has a DTD, which is refused") from None
    except (ParseError, LookupError, ValueError, RecursionError) as error:  # LookupError: an unknown encoding
        raise ImageError(f"its XMP is damaged: {' '.join(str(error).split())[:100]}") from None
    # Only what is of the image itself: nested descriptions are those of images that it was made from.
    rdf = root if root.tag == f"{_RDF}RDF" else root.find(f"{_RDF}RDF")
    descriptions = [] if rdf is None else rdf.findall(f"{_RDF}Description")
    return [
        text for name in _PROPERTIES for element in descriptions for text in _texts(element, name, language)
    ]


def _texts(description: Any, name: str, language: str | None) -> list[str]:
    """The texts of a property, which may be an attribute, an element, or an element with alternatives."""
    texts = [description.get(name)] if language is None else []
    for element in description.findall(name):
        items = element.findall(f"{_RDF}Alt/{_RDF}li")
        if items:
            texts.append(
                _alternative([(item.get(_LANGUAGE, "").lower(), item.text) for item in items], language)
            )
        elif language is None:
            texts.append(element.text)
    return [text for text in texts if text]


def _alternative(items: list[tuple[str, str | None]], language: str | None) -> str | None:
    if language is None:
        return next((text for code, text in items if code == "x-default"), items[0][1])
    wanted = language.lower()
    return next((text for code, text in items if code == wanted or code.startswith(f"{wanted}-")), None)


def _blocks(path: Path) -> tuple[bytes, dict[tuple[int, int], Any]]:
    """The XMP packet of an image file and its IPTC fields; empty where there are none. No pixels are read."""
    import PIL.Image
    from PIL.IptcImagePlugin import getiptcinfo

    if not path.is_file():  # reading a pipe would never end
        raise ImageError("not a file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, and of damaged EXIF
            with PIL.Image.open(path, formats=_FORMATS) as image:
                xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
                iptc = getiptcinfo(image) or {}
    except PIL.UnidentifiedImageError:
        return b"", {}
    except Exception as error:  # it raises whatever there is
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"its metadata cannot be read: {' '.join(str(reason).split())[:100]}") from None
    return (xmp.encode() if isinstance(xmp, str) else bytes(xmp)), iptc


def _abstracts(iptc: dict[tuple[int, int], Any]) -> list[str]:
    values = iptc.get(_ABSTRACT) or []
    is_utf8 = iptc.get(_CHARACTER_SET) == _UTF8
    return [_decoded(value, is_utf8) for value in (values if isinstance(values, list) else [values]) if value]


def _decoded(value: bytes, is_utf8: bool) -> str:
    """Text of IPTC: UTF-8 where the file says so or where it is valid, else Windows-1252, which most programs wrote."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("utf-8" if is_utf8 else "cp1252", "replace")
