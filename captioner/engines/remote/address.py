"""Where a served model is, and how to ask for it: `grpc://host:8500/dogs/versions/3?timeout=20`, taken apart."""

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
# What the options that are whole numbers may be.
_RANGES = {
    "batch_size": (1, 4096),
    "in_flight": (1, 256),
    "retries": (0, 1000),
    "max_bytes": (1024, (1 << 31) - 1),  # gRPC counts in int32
}
_HERE = ("localhost", "127.0.0.1", "::1")


class Scheme(NamedTuple):
    """What the scheme of an address says: whether the connection is encrypted, and the port if none is given."""

    secure: bool
    port: int


@dataclass(frozen=True)
class Options:
    """How to ask a server.

    All but `authorization` may also stand at the end of the address, `?timeout=20&batch_size=4`.

    Args:
        timeout: float, default 60. Seconds that a request may take, repeats included.
        batch_size: int, default 8. Images in a request, at most.
        in_flight: int, default 4. Requests under way at a time for one call of `predict`.
        retries: int, default None: where nobody answers 4 times, and where the server says that it is busy for as long
            as `timeout` allows. How often a request is repeated; the pauses grow from a tenth of a second to two
            seconds. A request that ran out of time is never repeated.
        max_bytes: int, default 64 MiB. Size of a request, and of an answer, at most.
        root_certificate: str, default None, which is the machine's own. PEM file of who signed the server's
            certificate; for grpcs:// and https://.
        authorization: str, default None. Sent as the header of that name: "Bearer ...". The environment
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
        # What it was is not told: it is a secret.
        if self.authorization is not None and not re.fullmatch(
            r"[\x21-\x7e][\x20-\x7e]*", self.authorization
        ):
            raise SpecError("expected the option authorization to be one line of plain characters")


@dataclass(frozen=True)
class Address:
    """A served model.

    Attributes:
        scheme: str.
        host: str.
        port: int.
        model: str. Its name there.
        version: int or None.
        label: str or None. A name that the server gives to a version.
        base: str. What comes before /v1/models in the path, for REST behind a gateway; mostly empty.
        secure: bool. Whether the connection is encrypted.

    Example:
        >>> found, options = address("grpc://host/dogs/labels/stable?timeout=5", {"grpc": Scheme(False, 8500)})
        >>> found.port, found.model, found.label, options.timeout
        (8500, 'dogs', 'stable', 5.0)
        >>> str(found)
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
        """The model as paths spell it: `dogs/versions/3`."""
        name = quote(self.model, safe="")
        if self.version is not None:
            return f"{name}/versions/{self.version}"
        return f"{name}/labels/{quote(self.label, safe='')}" if self.label is not None else name

    def __str__(self) -> str:
        return f"{self.scheme}://{self.server}{self.base}/{self.path}"


def address(source: str, schemes: Mapping[str, Scheme], **given: Any) -> tuple[Address, Options]:
    """Takes a source apart.

    Args:
        source: str. `grpc://host:port/name`, or the same with grpcs, http or https, then optionally
            `/versions/N` or `/labels/L`, then optionally `?option=value&...`. What TensorFlow Serving documents,
            `http://host:8501/v1/models/name`, does too.
        schemes: mapping of str to `Scheme`. Those that the engine opens.
        **given: values for fields of `Options`; they come before those in the address.

    Returns:
        (`Address`, `Options`).

    Raises:
        EngineError: if it is no such address.
        SpecError: if an option is unknown or has a wrong value.
    """
    head = re.split(r"[?#]", source, maxsplit=1)[0]
    shown = re.sub(r"//[^/]*@", "//", head)  # what messages may show: no password, no options
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
    rest = re.fullmatch(r"(.*?)/v1/models(/.*)", path) if scheme.startswith("http") else None
    if rest:
        base, path = rest.groups()
    found = re.fullmatch(r"/([^/]+)(?:/versions/([0-9]{1,18})|/labels/([^/]+))?/?", path)
    if not found or ":" in found[1]:
        raise EngineError(f"{form}, got {shown}")
    name, version, label = found.groups()
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
    return place, _options(place, parts.query, given)


def root_certificate(options: Options) -> bytes | None:
    """The certificates that the options name, as PEM, or None.

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


def _read(name: str, text: str) -> Any:
    """The value of an option that stands in an address."""
    kind = int if name in _RANGES else float if name == "timeout" else str
    try:
        return kind(text)
    except ValueError:
        raise SpecError(f"{name} expects a number, got {text!r}") from None


def _options(place: Address, query: str, given: dict[str, Any]) -> Options:
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
        values[name] = _read(name, text)
    values.update({name: value for name, value in given.items() if value is not None})
    if "authorization" not in values and (ambient := os.environ.get(VARIABLE)):
        if not (place.secure or place.host in _HERE):
            raise EngineError(
                f"{VARIABLE} is set, but {place.scheme}://{place.server} is not encrypted: use "
                f"{place.scheme}s://, or unset it, or pass authorization= to load to send it all the same"
            )
        values["authorization"] = ambient
    return Options(**values)
