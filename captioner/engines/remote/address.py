"""Addresses of served models: parses `grpc://host:8500/dogs/versions/3?timeout=20`."""

from __future__ import annotations

import dataclasses
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from captioner import checks
from captioner.errors import EngineError, SpecError
from captioner.registry import unknown

VARIABLE = "CAPTIONER_AUTHORIZATION"
# Ranges of the integer options.
_RANGES = {
    "batch_size": (1, 4096),
    "in_flight": (1, 256),
    "retries": (0, 1000),
    "max_bytes": (1024, (1 << 31) - 1),  # gRPC counts in int32
}
_HERE = ("localhost", "127.0.0.1", "::1")


class Scheme(NamedTuple):
    """A URL scheme: whether connections are encrypted, and the default port."""

    secure: bool
    port: int


@dataclass(frozen=True)
class Options:
    """Options of the requests to a server.

    All but `authorization` may also be given in the address, `?timeout=20&batch_size=4`.

    Args:
        timeout: float, default 60. Seconds that a request may take, retries included.
        batch_size: int, default 8. The most images in a request.
        in_flight: int, default 4. The most concurrent requests of one call of `predict`.
        retries: int, default None: 4 where the server cannot be reached, and any number within `timeout` where it says
            that it is busy. How often a request is retried, with exponential backoff from a tenth of a second to two
            seconds. A request that timed out is never retried.
        max_bytes: int, default 64 MiB. The largest size of a request and of a response.
        root_certificate: str, default None, which is the machine's own. PEM file of the authority that signed the
            server's certificate; for grpcs:// and https://.
        authorization: str, default None. The value of the Authorization header: "Bearer ...". The environment
            variable CAPTIONER_AUTHORIZATION does the same for servers that are encrypted or on this machine.
    """

    timeout: float = 60.0
    batch_size: int = 8
    in_flight: int = 4
    retries: int | None = None
    max_bytes: int = 64 << 20
    root_certificate: str | None = None
    authorization: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            if name != "retries" or self.retries is not None:
                checks.integer(getattr(self, name), name, least, most)
        checks.number(self.timeout, "timeout", 0, 1e6, above=True)
        # A secret: the message does not repeat it.
        if self.authorization is not None and not re.fullmatch(
            r"[\x21-\x7e][\x20-\x7e]*", self.authorization
        ):
            raise SpecError("expected the option authorization to be one line of plain characters")


@dataclass(frozen=True)
class Address:
    """The address of a served model.

    Attributes:
        scheme: str.
        host: str.
        port: int.
        model: str. Its name on the server.
        version: int or None.
        label: str or None. The version label.
        base: str. The path before /v1/models, for REST behind a gateway; mostly empty.
        secure: bool. Whether the connection is encrypted.

    Example:
        >>> place, options = parse_address("grpc://host/dogs/labels/stable?timeout=5", {"grpc": Scheme(False, 8500)})
        >>> place.port, place.model, place.label, options.timeout
        (8500, 'dogs', 'stable', 5.0)
        >>> str(place)
        'grpc://host:8500/dogs/labels/stable'
    """

    scheme: str
    host: str
    port: int
    model: str
    version: int | None = None
    label: str | None = None
    base: str = ""
    secure: bool = False

    @property
    def server(self) -> str:
        """host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def path(self) -> str:
        """The model in URL paths: `dogs/versions/3`."""
        name = quote(self.model, safe="")
        if self.version is not None:
            return f"{name}/versions/{self.version}"
        return f"{name}/labels/{quote(self.label, safe='')}" if self.label is not None else name

    def __str__(self) -> str:
        return f"{self.scheme}://{self.server}{self.base}/{self.path}"


def parse_address(source: str, schemes: Mapping[str, Scheme], **options: Any) -> tuple[Address, Options]:
    """Parses the address of a served model.

    Args:
        source: str. `grpc://host:port/name`, or the same with grpcs, http or https, then optionally
            `/versions/N` or `/labels/L`, then optionally `?option=value&...`. The URLs that TensorFlow Serving
            documents, `http://host:8501/v1/models/name`, are accepted too.
        schemes: mapping of str to `Scheme`. Those that the engine opens.
        **options: values for fields of `Options`; they override those in the address.

    Returns:
        (`Address`, `Options`).

    Raises:
        EngineError: if it is no such address.
        SpecError: if an option is unknown or has a wrong value.
    """
    head = re.split(r"[?#]", source, maxsplit=1)[0]
    shown = re.sub(r"//[^/]*@", "//", head)  # without password and options, for messages
    scheme = source.partition("://")[0]
    form = f"expected {scheme}://host:port/name[/versions/N or /labels/L]"
    try:
        parts = urlsplit(source)
        host, port, has_user = parts.hostname, parts.port, "@" in parts.netloc
    except ValueError:
        raise EngineError(f"{form}, got {shown}") from None
    if scheme not in schemes or not host or port == 0:
        raise EngineError(f"{form}, got {shown}")
    if has_user:
        raise EngineError(f"{form} without a user: say who you are with authorization= or {VARIABLE}")
    if parts.fragment:
        raise EngineError(f"{form}, got a '#' after {shown}")
    base, path = "", parts.path
    prefixed = re.fullmatch(r"(.*?)/v1/models(/.*)", path) if scheme.startswith("http") else None
    if prefixed:
        base, path = prefixed.groups()
    match = re.fullmatch(r"/([^/]+)(?:/versions/([0-9]{1,18})|/labels/([^/]+))?/?", path)
    if not match or ":" in match[1]:
        raise EngineError(f"{form}, got {shown}")
    name, version, label = match.groups()
    place = Address(
        scheme,
        host,
        schemes[scheme].port if port is None else port,
        unquote(name),
        int(version) if version else None,
        unquote(label) if label else None,
        base,
        schemes[scheme].secure,
    )
    return place, _parse_options(place, parts.query, options)


def root_certificate(options: Options) -> bytes | None:
    """The PEM file that the options name, or None.

    Args:
        options: Options.

    Returns:
        bytes or None.

    Raises:
        EngineError: if the file cannot be read or holds no certificate.
    """
    if options.root_certificate is None:
        return None
    try:
        ssl.create_default_context(cafile=options.root_certificate)
        with open(options.root_certificate, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "strerror", None) or error
        raise EngineError(
            f"expected a PEM file of certificates as root_certificate, got {options.root_certificate}: {reason}"
        ) from None


def _parse_value(name: str, text: str) -> Any:
    """The value of an option in an address."""
    type_ = int if name in _RANGES else float if name == "timeout" else str
    try:
        return type_(text)
    except ValueError:
        raise SpecError(f"{name} expects a number, got {text!r}") from None


def _parse_options(place: Address, query: str, overrides: dict[str, Any]) -> Options:
    """The options in a query, overridden by those passed to `open`, and the secret of the environment."""
    known = {option.name: option for option in dataclasses.fields(Options)}
    values: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name == "authorization":
            raise SpecError(
                f"an address is no place for authorization: pass it to load, or set {VARIABLE} in the environment"
            )
        if name not in known:
            raise SpecError(unknown("option of a server", name, [n for n in known if n != "authorization"]))
        if name in values:
            raise SpecError(f"expected the option {name} once in the address, got it twice")
        values[name] = _parse_value(name, text)
    values.update({name: value for name, value in overrides.items() if value is not None})
    if "authorization" not in values and (ambient := os.environ.get(VARIABLE)):
        if not (place.secure or place.host in _HERE):
            raise EngineError(
                f"{VARIABLE} is set, but {place.scheme}://{place.server} is not encrypted: use "
                f"{place.scheme}s://, or unset it, or pass authorization= to load to send it all the same"
            )
        values["authorization"] = ambient
    return Options(**values)
