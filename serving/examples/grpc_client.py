"""Asks a server for the sentences of images over gRPC; grpcio is enough, no TensorFlow, no generated code.

python grpc_client.py localhost:8500 captioner dog.jpg cat.jpg
"""

import sys
from pathlib import Path

import grpc

MOST = 8  # images in a request: what the server takes in one batch (max_batch_size)


def number(n):
    """A number as protobuf writes it, seven bits a byte."""
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + number(n >> 7)


def field(tag, data):
    """A field of bytes, text or a message."""
    return number(tag << 3 | 2) + number(len(data)) + data


def fields(data):
    """(tag, value) of each field; of strings, messages and whole numbers, which is all that comes here."""
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
    wanted = field(3, b"caption") + field(3, b"error")
    request = field(1, field(1, model.encode())) + field(2, tensor) + wanted
    with grpc.insecure_channel(server) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        answer = predict(request, timeout=timeout)
    entries = [dict(fields(value)) for tag, value in fields(answer) if tag == 1]
    tensors = {entry[1]: fields(entry[2]) for entry in entries}
    captions, errors = ([v.decode() for t, v in tensors[n] if t == 8] for n in (b"caption", b"error"))
    return list(zip(captions, errors, strict=True))


def main(server, model, *paths):
    """Prints a line for each image."""
    for start in range(0, len(paths), MOST):
        some = paths[start : start + MOST]
        try:
            found = ask(server, model, [Path(path).read_bytes() for path in some])
        except grpc.RpcError as problem:
            sys.exit(f"{server}: {problem.code().name} {' '.join(problem.details().split())}")
        except OSError as problem:
            sys.exit(str(problem))
        for path, (caption, error) in zip(some, found, strict=True):
            print(f"{path}: {error or caption}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 3 else sys.exit(__doc__)
