"""Addresses of served models, and options that come with them."""

import pytest

import captioner
from captioner.engines import ENGINES
from captioner.engines.remote import address as remote_address
from captioner.engines.remote.address import VARIABLE, Options
from captioner.errors import CaptionerError, EngineError, SpecError

SCHEMES = {**ENGINES["grpc"].schemes, **ENGINES["http"].schemes}


def parse(source, **options):
    return remote_address.parse_address(source, SCHEMES, **options)


@pytest.mark.parametrize(
    "source, expected",
    [
        ("grpc://host:8500/dogs", "grpc://host:8500/dogs"),
        ("grpc://host/dogs", "grpc://host:8500/dogs"),
        ("grpcs://host/dogs/", "grpcs://host:443/dogs"),
        ("http://host:8501/dogs/versions/12", "http://host:8501/dogs/versions/12"),
        ("https://host/dogs/labels/stable", "https://host:443/dogs/labels/stable"),
        ("http://host:8501/v1/models/dogs", "http://host:8501/dogs"),
        ("https://host/a/b/v1/models/dogs/versions/1", "https://host:443/a/b/dogs/versions/1"),
        ("grpc://[::1]:8500/dogs", "grpc://[::1]:8500/dogs"),
        ("http://host:1/d%C3%B6gs%2F2?timeout=3", "http://host:1/d%C3%B6gs%2F2"),
    ],
)
def test_addresses_round_trip(source, expected):
    parsed, _ = parse(source)
    assert str(parsed) == expected
    if not parsed.base:
        assert parse(str(parsed))[0] == parsed


def test_parts_of_an_address():
    parsed, options = parse("http://host:1/d%C3%B6gs%2F2/labels/a%20b?timeout=3&batch_size=2", in_flight=1)
    assert (parsed.model, parsed.label, parsed.version, parsed.secure) == ("dögs/2", "a b", None, False)
    assert (options.timeout, options.batch_size, options.in_flight) == (3.0, 2, 1)
    assert parse("grpcs://host/dogs/versions/3")[0].version == 3
    assert parse("grpcs://host/dogs")[0].secure


def test_arguments_override_the_address():
    assert parse("grpc://h/d?timeout=3", timeout=5)[1].timeout == 5
    assert parse("grpc://h/d?timeout=3", timeout=None)[1].timeout == 3
    assert parse("grpc://h/d")[1] == Options()


@pytest.mark.parametrize(
    "source",
    [
        "grpc://",
        "grpc:///dogs",
        "grpc://host:8500",
        "grpc://host:8500/",
        "grpc://host:port/dogs",
        "grpc://host:99999/dogs",
        "grpc://host/dogs/3",
        "grpc://host/dogs/versions/x",
        "grpc://host/dogs/versions/-1",
        "grpc://host/dogs/versions/",
        "grpc://host/v1/models/dogs",
        "http://host/dogs:predict",
        "http://host/dogs#stable",
        "http://[host/dogs",
        "grpc://host:0/dogs",
        "grpc://host/dogs/versions/\N{ARABIC-INDIC DIGIT THREE}",
        "ftp://host/dogs",
    ],
)
def test_malformed_addresses_are_one_line(source):
    with pytest.raises(EngineError, match="expected .*://host:port/name") as caught:
        parse(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "query, message",
    [
        ("timout=3", "'timout' .did you mean 'timeout'"),
        ("timeout=soon", "timeout expects a number, got 'soon'"),
        ("timeout=0", "timeout expects a number above 0"),
        ("timeout=nan", "timeout expects a number above 0"),
        ("timeout=", "timeout expects a number"),
        ("batch_size=0", "batch_size expects a whole number from 1 to 4096, got 0"),
        ("batch_size=2.5", "batch_size expects a number, got '2.5'"),
        ("retries=-1", "retries expects a whole number from 0 to 1000, got -1"),
        ("in_flight=0", "in_flight"),
        ("in_flight=99999", "in_flight expects a whole number from 1 to 256"),
        ("max_bytes=1", "max_bytes"),
        ("max_bytes=9999999999", "max_bytes expects a whole number from 1024 to 2147483647"),
        ("timeout=3&timeout=4", "expected the option timeout once"),
    ],
)
def test_wrong_options_are_one_line(query, message):
    with pytest.raises(SpecError, match=message):
        parse(f"grpc://host/dogs?{query}")


def test_wrong_options_as_arguments():
    with pytest.raises(SpecError, match="'timout' .did you mean 'timeout'"):
        captioner.load("grpc://host/dogs", timout=3)
    with pytest.raises(SpecError, match="batch_size"):
        parse("grpc://host/dogs", batch_size="8")


def test_authorization_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv(VARIABLE, "Bearer s3cret")
    for source in (
        "grpcs://host/dogs",
        "https://host/dogs",
        "http://127.0.0.1:1/dogs",
        "grpc://[::1]:1/dogs",
    ):
        assert parse(source)[1].authorization == "Bearer s3cret"
    assert parse("https://host/dogs", authorization="Basic x")[1].authorization == "Basic x"
    # In the clear over a network only when the caller says so.
    with pytest.raises(EngineError, match="not encrypted"):
        parse("http://host/dogs")
    assert parse("http://host/dogs", authorization="Basic x")[1].authorization == "Basic x"


@pytest.mark.parametrize(
    "source, options",
    [
        ("grpc://host/dogs?authorization=s3cret", {}),
        ("http://user:s3cret@host/dogs", {}),
        ("http://user:s3cret@host/", {}),
        ("http://user:s3cret@[host/", {}),
        ("http://host/?token=s3cret", {}),
        ("http://host/dogs?s3cret=1#s3cret", {}),
        ("grpc://host/dogs", {"authorization": "s3cret\nX-Other: 1"}),
        ("grpc://host/dogs", {"authorization": "s3cretö"}),
    ],
)
def test_secrets_are_never_shown(source, options):
    with pytest.raises(CaptionerError) as caught:
        parse(source, **options)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(Options(authorization="s3cret"))
