"""Requests captions of images over REST; needs the standard library only.

python rest_client.py http://localhost:8501/v1/models/captioner dog.jpg cat.jpg
"""

import base64
import http.client
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

MAX_BATCH_SIZE = 8  # images in a request: max_batch_size of the server


def ask(model, images, timeout=60):
    """One dict an image: caption, score, ok, error."""
    rows = [{"b64": base64.b64encode(image).decode()} for image in images]
    request = urllib.request.Request(
        f"{model}:predict",
        json.dumps({"signature_name": "serving_default", "instances": rows}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.load(answer)["predictions"]


def main(model, *paths):
    """Prints a line for each image."""
    for start in range(0, len(paths), MAX_BATCH_SIZE):
        batch = paths[start : start + MAX_BATCH_SIZE]
        try:
            rows = ask(model, [Path(path).read_bytes() for path in batch])
            lines = [row["caption"] if row["ok"] else row["error"] for row in rows]
        except urllib.error.HTTPError as error:
            message = " ".join(error.read().decode(errors="replace").split())
            sys.exit(f"{model}: HTTP {error.code} {message}")
        except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException) as error:
            sys.exit(f"{model}: {type(error).__name__}: {error}")
        for path, line in zip(batch, lines, strict=True):
            print(f"{path}: {line}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 2 else sys.exit(__doc__)
