"""The same drawn images with the same captions, in every format that a dataset reads."""

import csv
import io
import json
import struct
import tarfile

import numpy as np
from PIL import Image, PngImagePlugin

# Image to its captions: accents, commas, quotes, other scripts, several captions.
CAPTIONS = {
    "a.png": ["a café, by the sea", 'the sign says "stop"'],
    "b.jpg": ["zwei müde Katzen"],
    "c.png": ["一只狗在跑", "a dog, running"],
    "d.jpg": ["nothing but grass"],
    "e.png": ["ein Hündchen bellt"],
}
SPLITS = {"a.png": "train", "b.jpg": "train", "c.png": "validation", "d.jpg": "test", "e.png": "train"}
_RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
_NAMESPACES = (
    f'{_RDF} xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"'
)


def draw(path, number=0, **options):
    """A small image, another one for each number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def draw_all(folder, place=lambda name: name):
    """The images of `CAPTIONS`, each in the place that the function gives."""
    for number, name in enumerate(CAPTIONS):
        draw(folder / place(name), number)
    return folder


def by_split(name):
    """The place of an image in folders that are called as splits."""
    return f"{SPLITS[name]}/{name}"


def write_csv(path, rows, end="\r\n"):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator=end).writerows(rows)
    return path


def folder(place, **options):
    draw_all(place)
    rows = [(name, text, SPLITS[name]) for name, texts in CAPTIONS.items() for text in texts]
    write_csv(place / "captions.csv", [("image", "caption", "split"), *rows])
    return {"path": str(place), **options}


def image_folder(place, **options):
    draw_all(place, by_split)
    for split in set(SPLITS.values()):
        rows = [{"file_name": n, "text": t} for n, ts in CAPTIONS.items() for t in ts if SPLITS[n] == split]
        (place / split / "metadata.jsonl").write_text("".join(json.dumps(row) + "\r\n" for row in rows))
    return {"path": str(place), **options}


def coco_value(names):
    """COCO's annotations of some of the images."""
    numbers = {name: 100 + number for number, name in enumerate(CAPTIONS)}
    texts = [(name, text) for name in names for text in CAPTIONS[name]]
    return {
        "info": {"year": 2017},
        "images": [{"id": numbers[name], "file_name": name, "height": 9, "width": 12} for name in names],
        "annotations": [{"id": i, "image_id": numbers[n], "caption": t} for i, (n, t) in enumerate(texts)],
    }


def coco_json(place, **options):
    years = {"train": "train2017", "validation": "val2017", "test": "test2017"}
    draw_all(place, lambda name: f"{years[SPLITS[name]]}/{name}")
    (place / "annotations").mkdir()
    for split, year in years.items():
        value = coco_value([name for name in CAPTIONS if SPLITS[name] == split])
        (place / "annotations" / f"captions_{year}.json").write_text(json.dumps(value))
    (place / "annotations" / "instances_val2017.json").write_text('{"images": [], "annotations": []}')
    return {"path": str(place), **options}


def karpathy_value(filepath=""):
    """A Karpathy file of all images."""
    entries = [
        {
            "filename": name,
            **({"filepath": filepath} if filepath else {}),
            "split": {"validation": "val"}.get(SPLITS[name], SPLITS[name]),
            "sentences": [{"raw": text, "tokens": text.split()} for text in texts],
        }
        for name, texts in CAPTIONS.items()
    ]
    return {"dataset": "drawn", "images": entries}


def flickr(place, **options):
    draw_all(place)
    captions = place / "dataset_drawn.json"
    captions.write_text(json.dumps(karpathy_value()))
    return {"folder": str(place), "captions": str(captions), **options}


def text_files(place, **options):
    draw_all(place, by_split)
    for name, texts in CAPTIONS.items():
        path = (place / by_split(name)).with_suffix(".txt")
        path.write_bytes("\r\n".join([*texts, "", ""]).encode("utf-8-sig"))
    return {"path": str(place), **options}


def write_tar(path, members):
    """A tar file of (name or TarInfo, content) pairs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def samples(images, names):
    """The members of a tar file of some of the images: `.txt` for those with one caption, else `.json`."""
    for name in names:
        key, texts = name.partition(".")[0], CAPTIONS[name]
        yield name, (images / name).read_bytes()
        if len(texts) == 1:
            yield f"{key}.txt", texts[0].encode()
        else:
            yield f"{key}.json", json.dumps({"captions": texts, "width": 12}).encode()


def webdataset(place, **options):
    images = draw_all(place.parent / f"{place.name}_images")
    for split in set(SPLITS.values()):
        names = [name for name in CAPTIONS if SPLITS[name] == split]
        write_tar(place / f"drawn-{split}-000.tar", samples(images, names))
    return {"path": str(place / "*.tar"), **options}


def xmp(description=(), alt_text=(), inside=""):
    """An XMP packet; texts are (language, text) pairs."""

    def alternatives(name, texts):
        items = "".join(f'<rdf:li xml:lang="{code}">{text}</rdf:li>' for code, text in texts)
        return f"<{name}><rdf:Alt>{items}</rdf:Alt></{name}>" if texts else ""

    body = alternatives("dc:description", description) + alternatives(
        "Iptc4xmpCore:AltTextAccessibility", alt_text
    )
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        f'{_NAMESPACES}><rdf:Description rdf:about="">{body}{inside}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    )
    return packet.encode()


def iptc_segment(text, utf8=True):
    """The APP13 segment of a JPEG with Caption/Abstract, as Photoshop writes it (a resource 0x0404)."""

    def field(record, number, content):
        return struct.pack(">BBBH", 0x1C, record, number, len(content)) + content

    content = (field(1, 90, b"\x1b%G") if utf8 else b"") + field(2, 120, text)
    resource = b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(content)) + content + b"\0" * (len(content) % 2)
    body = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


def add_segment(path, segment):
    """Puts a segment behind the start of a JPEG."""
    data = path.read_bytes()
    path.write_bytes(data[:2] + segment + data[2:])


def draw_with_xmp(path, packet, number=0):
    """A drawn image with an XMP packet, in the format of its name."""
    if path.suffix == ".png":
        chunk = PngImagePlugin.PngInfo()
        chunk.add_itxt("XML:com.adobe.xmp", packet.decode())
        return draw(path, number, pnginfo=chunk)
    if path.suffix == ".tif":
        return draw(path, number, tiffinfo={700: packet})
    return draw(path, number, xmp=packet)


def embedded(place, **options):
    for number, (name, texts) in enumerate(CAPTIONS.items()):
        description, *others = texts
        alt_text = [("x-default", others[0])] if others else []
        draw_with_xmp(place / by_split(name), xmp([("x-default", description)], alt_text), number)
    return {"path": str(place), **options}


# Dataset to the function that writes its source into a folder and returns the arguments.
WRITERS = {
    "folder": folder,
    "image_folder": image_folder,
    "coco_json": coco_json,
    "flickr": flickr,
    "text_files": text_files,
    "webdataset": webdataset,
    "embedded": embedded,
    "auto": folder,
}
