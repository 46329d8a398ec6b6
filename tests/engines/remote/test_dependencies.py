"""Remote engines without TensorFlow, and without their own packages."""

import subprocess
import sys

from tests.support.fake_tf_serving import SERVERS, expected
from tests.support.remote_clients import GIF

BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}.split():
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Block())
import captioner
"""


def run(code, names):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(names=names) + code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_no_tensorflow_is_needed(world):
    servers = [SERVERS[name](world) for name in SERVERS]
    sources = [f"{server.scheme}://127.0.0.1:{server.port}/dogs" for server in servers]
    code = f"for s in {sources!r}: print(captioner.load(s).caption({GIF!r}).text)"
    printed = run(code, "tensorflow keras tensorflow_serving jax h5py")
    assert printed.splitlines() == [expected(GIF).text] * 2
    for server in servers:
        server.close()


def test_missing_packages_name_the_extra():
    code = """
from captioner.errors import MissingDependency
from captioner.engines import ENGINES
ENGINES.describe()
for source in ("grpc://127.0.0.1:9/dogs", "http://127.0.0.1:9/dogs"):
    try:
        captioner.load(source)
    except MissingDependency as error:
        print(error)
"""
    for names, missing in (("grpc httpx", "grpc httpx"), ("google httpx", "google.protobuf httpx")):
        printed = run(code, f"tensorflow keras h5py {names}").splitlines()
        for line, name in zip(printed, missing.split(), strict=True):
            assert name.split(".")[0] in line and "pip install 'captioner[serve]'" in line
