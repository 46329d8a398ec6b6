"""Asks a server for the sentences of pictures over REST; the standard library is enough.

python rest_client.py http://localhost:8501/v1/models/default dog.jpg cat.jpg
"""

import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path


def ask(model, pictures, timeout=60):
    """One dict a picture: caption, score, ok, error."""
    rows = [{"b64": base64.b64encode(picture).decode()} for picture in pictures]
    request = urllib.request.Request(
        f"{model}:predict",
        json.dumps({"signature_name": "serving_default", "instances": rows}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.load(answer)["predictions"]


def main(model, *paths):
    """Prints a line for each picture."""
    try:
        rows = ask(model, [Path(path).read_bytes() for path in paths])
    except urllib.error.HTTPError as error:
        sys.exit(f"{model}: HTTP {error.code} {error.read().decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"{model}: {error}")
    for path, row in zip(paths, rows, strict=True):
        print(f"{path}: {row['caption'] if row['ok'] else row['error']}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 2 else sys.exit(__doc__)
