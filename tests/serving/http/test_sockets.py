"""Connections of the REST server: slow, idle, broken and disconnecting clients."""

import asyncio
import socket
import time

import pytest

pytest.importorskip("starlette")
pytest.importorskip("grpc")
from captioner.errors import EngineError
from serving.http.app import HttpServer, Limits, RestApp
from serving.http.sockets import listener
from serving.runtime.admission import AdmissionControl
from serving.runtime.metrics import Metrics
from tests.support.serving.rest_server import RestServer, head, receive_all
from tests.support.serving.waiting import wait_until


@pytest.fixture(scope="module")
def server():
    with RestServer(body=20_000, client=0.6) as server:
        yield server


def test_expect_continue_is_rejected_before_the_body(server):
    with server.connect() as connection:
        connection.sendall(head(10**9).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        assert receive_all(connection).startswith(b"HTTP/1.1 413")


def test_endless_body_is_cut_off(server):
    with server.connect() as connection:
        connection.sendall(head(10**9))
        start = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() < start + 30:
                connection.sendall(b" " * 65536)
                time.sleep(0.01)


def test_incomplete_body_times_out(server):
    with server.connect() as connection:
        connection.sendall(head(100) + b'{"instances"')
        assert server.post().status_code == 200
        answer = receive_all(connection)
    assert answer.startswith(b"HTTP/1.1 408") and b"did not arrive in 0.6 s" in answer


def test_slow_body_does_not_extend_the_timeout(server):
    with server.connect() as connection:
        connection.sendall(head(1000))
        start = time.monotonic()
        try:
            while time.monotonic() < start + 20:
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            pass
        assert time.monotonic() - start < 15


def test_idle_connection_is_closed(server):
    with server.connect() as connection:
        connection.sendall(head(18) + b'{"instances": [4]}')
        start = time.monotonic()
        assert receive_all(connection).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - start < 15


def test_silent_connections_are_limited(monkeypatch):
    """Closing them is left to a proxy; here their number is limited, and further requests get 503."""
    monkeypatch.setattr("serving.http.app._MAX_CONNECTIONS", 3)
    with RestServer() as server, server.connect(), server.connect(), server.connect():
        wait_until(lambda: server.post().status_code == 503)
    with RestServer() as server, server.connect():
        assert server.post().status_code == 200


def test_disconnect_during_the_body_is_logged(server, capsys):
    with server.connect() as connection:
        connection.sendall(head(100) + b"{")
    end = time.monotonic() + 20
    log = ""
    while "client_gone" not in log and time.monotonic() < end:
        log += capsys.readouterr().err
        time.sleep(0.02)
    assert "client_gone" in log


def test_other_protocols_are_rejected(server):
    with server.connect() as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")
        assert receive_all(connection).startswith(b"HTTP/1.1 400")


def test_nagles_algorithm_is_off():
    """asyncio sets TCP_NODELAY only on sockets whose protocol is TCP."""

    async def accept():
        writers = asyncio.Queue()
        listening = listener("127.0.0.1", 0)
        async with await asyncio.start_server(lambda _, writer: writers.put_nowait(writer), sock=listening):
            with socket.create_connection(listening.getsockname()):
                writer = await asyncio.wait_for(writers.get(), 30)
                writer.close()
                connection = writer.get_extra_info("socket")
                return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    assert asyncio.run(accept())


def test_port_in_use(server):
    metrics = Metrics(AdmissionControl(1, 1))
    app = RestApp(lambda: None, AdmissionControl(1, 1), metrics, Limits())
    with pytest.raises(
        EngineError, match=r"cannot listen on 127.0.0.1:\d+ for REST: .*; give another --rest-port"
    ):
        HttpServer(app, metrics, Limits(), "127.0.0.1", server.http.port)
