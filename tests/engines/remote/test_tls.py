"""Encryption and authorization."""

import json
import subprocess

import pytest

import captioner
from captioner.engines.remote.address import VARIABLE
from tests.support.fake_tf_serving import SERVERS, expected
from tests.support.remote_clients import IMAGES, assert_same_caption, error_line


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=captioner -keyout key.pem -out cert.pem"
    )
    try:
        subprocess.run(
            [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"],
            cwd=folder,
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("making a certificate needs openssl")
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(params=list(SERVERS))
def safe(request, world, certificate):
    cert, key = certificate
    if request.param == "grpc":
        import grpc

        trusted = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
    else:
        import ssl

        trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trusted.load_cert_chain(cert, key)
    server = SERVERS[request.param](world, 0, trusted)
    server.source = f"{server.scheme}s://127.0.0.1:{server.port}/dogs"
    yield server
    server.close()


def test_an_encrypted_connection(safe, load, certificate):
    engine = load(safe.source, root_certificate=str(certificate[0]))
    assert_same_caption(engine.predict(IMAGES[:1])[0], expected(IMAGES[0]))
    engine = load(f"{safe.source}?root_certificate={certificate[0]}")
    assert_same_caption(engine.predict(IMAGES[:1])[0], expected(IMAGES[0]))


def test_an_untrusted_certificate(safe):
    assert "no safe connection" in error_line(captioner.load, safe.source)


def test_a_certificate_of_another_host(safe, certificate):
    line = error_line(
        captioner.load,
        safe.source.replace("127.0.0.1", "localhost"),
        root_certificate=str(certificate[0]),
        retries=0,
    )
    assert "no safe connection" in line


def test_encrypted_and_plain_do_not_mix(safe, server):
    assert error_line(captioner.load, safe.source.replace("s://", "://"), retries=0)
    line = error_line(captioner.load, server.source.replace("://", "s://"), retries=0)
    assert "no safe connection" in line


def test_files_that_are_no_certificates(server, tmp_path):
    for content in (None, "no certificate"):
        path = tmp_path / "roots.pem"
        if content:
            path.write_text(content)
        line = error_line(captioner.load, server.source.replace("://", "s://"), root_certificate=str(path))
        assert "expected a PEM file" in line and str(path) in line


def test_authorization_is_sent_and_never_shown(server, load, world, caplog, monkeypatch):
    caplog.set_level("DEBUG")
    world.token = "Bearer s3cret"
    assert "authorization=" in error_line(captioner.load, server.source)
    # This server even repeats what it was sent.
    line = error_line(captioner.load, server.source, authorization="Bearer wr0ng")
    assert "refuses us" in line and "wr0ng" not in line and "who is ...?" in line
    world.error_prefix = "x" * 280  # and cuts must not leave a part of it
    assert "wr0" not in error_line(captioner.load, server.source, authorization="Bearer wr0ng")
    engine = load(server.source, authorization="Bearer s3cret")
    assert_same_caption(engine.predict(IMAGES[:1])[0], expected(IMAGES[0]))
    assert set(world.authorizations[-3:]) == {"Bearer s3cret"}
    monkeypatch.setenv(VARIABLE, "Bearer s3cret")
    load(server.source)
    shown = [caplog.text, json.dumps(engine.describe()), repr(vars(engine))]
    assert not any("s3cret" in text or "wr0ng" in text for text in shown)
