import pytest

import captioner
from captioner.engines.remote.address import VARIABLE
from tests.support.fake_tf_serving import SERVERS, World


@pytest.fixture(autouse=True)
def no_authorization(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def world():
    return World()


@pytest.fixture(params=list(SERVERS))
def server(request, world):
    """A server of each protocol, with the address of its model as `source`."""
    server = SERVERS[request.param](world)
    server.source = f"{server.scheme}://127.0.0.1:{server.port}/dogs"
    yield server
    server.close()


@pytest.fixture
def load():
    """Opens engines, and closes them after the test."""
    opened = []

    def load(source, **options):
        opened.append(captioner.load(source, **options))
        return opened[-1].engine

    yield load
    for model in opened:
        model.close()
