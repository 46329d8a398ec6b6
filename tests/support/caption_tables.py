"""Caption files to test with: the same rows in all formats."""

import json
import random

from training.data.datasets import DATASETS

CAPTIONS = [("1.png", "a dog"), ("1.png", 'the sign says "stop"'), ("sub/2.png", "zwei Katzen,\nmüde 一只猫")]


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


def table(rows, separator, names=("image", "caption"), end="\n"):
    lines = [separator.join(names), *(separator.join(map(quoted, row)) for row in rows)]
    return end.join(lines) + end


def forms(rows):
    """(ending, text) of each format with the same rows."""
    objects = [dict(zip(("image", "caption"), row, strict=True)) for row in rows]
    texts = {}
    for image, caption in rows:
        texts.setdefault(image, []).append(caption)
    numbers = {image: i for i, image in enumerate(texts)}
    yield from ((".csv", table(rows, ",", end=end)) for end in ("\n", "\r\n", "\r"))
    yield ".csv", "\ufeff" + table(rows, ",", ("file_name", " Text "))
    yield ".csv", table([(c, "x", i) for i, c in rows], ",", ("caption", "", "image_id"))
    yield ".tsv", table(rows, "\t", ("id", "text"))
    yield ".jsonl", "\n\n".join(map(json.dumps, objects))
    yield ".jsonl", "\r\n".join(json.dumps({"filename": i, "captions": c}) for i, c in texts.items())
    yield ".json", json.dumps(objects)
    yield ".json", json.dumps(texts, ensure_ascii=False)
    coco = {"images": [{"id": i, "file_name": name} for name, i in numbers.items()]}
    coco["annotations"] = [{"id": 9, "image_id": numbers[i], "caption": c} for i, c in rows]
    yield ".json", json.dumps(coco)


def read_by_training(photos, file, **options):
    bad = str(photos.parent / "bad.jsonl")
    data = DATASETS.build("folder", path=str(photos), captions=str(file), bad_rows=bad, **options)
    return data, {e.id: list(e.captions) for split in data.splits for e in data.examples(split)}


def written(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def random_captions(count):
    rng = random.Random(count)
    words = ["a", "dog", "cat", "runs", "sleeps", "red", "blue", "on", "the", "grass", "with", "two", "men"]
    return {f"{i}.jpg": [" ".join(rng.choices(words, k=7)) for _ in range(3)] for i in range(count)}
