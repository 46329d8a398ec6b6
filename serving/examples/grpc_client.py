"""Requests captions of images over gRPC; needs grpcio, but neither TensorFlow nor generated code.

python grpc_client.py localhost:8500 captioner dog.jpg cat.jpg
"""

import sys
from pathlib import Path

import grpc

MAX_BATCH_SIZE = 8  # images in a request: max_batch_size of the server


def number(n):
    """A number as a protobuf varint, seven bits a byte."""
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + number(n >> 7)


def field(tag, data):
    """A field of bytes, text or a message."""
    return number(tag << 3 | 2) + number(len(data)) + data


def fields(data):
    """(tag, value) of each field; only for strings, messages and varints."""
    values = iter(data)

    def read():
        return (byte & 127) | (read() << 7) if (byte := next(values)) > 127 else byte

    for first in values:
        tag = first >> 3  # all tags here are below 16
        yield tag, bytes(next(values) for _ in range(read())) if first & 7 == 2 else read()


def ask(server, model, images, timeout=60):
    """(caption, error) of each image; one of the two is empty."""
    shape = field(2, field(2, b"\x08" + number(len(images))))
    strings = b"".join(field(8, image) for image in images)
    tensor = field(1, b"image_bytes") + field(2, b"\x08\x07" + shape + strings)  # 7: strings
    output_filter = field(3, b"caption") + field(3, b"error")
    request = field(1, field(1, model.encode())) + field(2, tensor) + output_filter
    with grpc.insecure_channel(server) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        answer = predict(request, timeout=timeout)
    entries = [dict(fields(value)) for tag, value in fields(answer) if tag == 1]
    tensors = {entry[1]: fields(entry[2]) for entry in entries}
    captions, errors = ([v.decode() for t, v in tensors[n] if t == 8] for n in (b"caption", b"error"))
    return list(zip(captions, errors, strict=True))


def main(server, model, *paths):
    """Prints a line for each image."""
    for start in range(0, len(paths), MAX_BATCH_SIZE):
        batch = paths[start : start + MAX_BATCH_SIZE]
        try:
            rows = ask(server, model, [Path(path).read_bytes() for path in batch])
        except grpc.RpcError as error:
            sys.exit(f"{server}: {error.code().name} {' '.join(error.details().split())}")
        except OSError as error:
            sys.exit(str(error))
        for path, (caption, message) in zip(batch, rows, strict=True):
            print(f"{path}: {message or caption}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 3 else sys.exit(__doc__)
