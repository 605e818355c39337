"""From a URL to what connections need. Pure; no error of it shows the URL, which may hold a password."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from acache.errors import ConfigurationError

FORMS: Final = (
    "redis://[[user]:password@][host][:port][/database], unix://[[user]:password@]/path, "
    "redis+cluster://[[user]:password@]host[:port][,host[:port]...], "
    "redis+sentinel://[[user]:password@]host[:port][,host[:port]...]/service[/database], "
    "and rediss for redis in each of them, for TLS"
)
PORTS: Final = {"redis": 6379, "redis+cluster": 6379, "redis+sentinel": 26379}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a URL names."""

    kind: str  # redis, unix, redis+cluster or redis+sentinel
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()  # of a cluster or of sentinels
    service: str = ""  # that sentinels watch
    options: Mapping[str, Any] = field(repr=False)  # of a connection of redis-py, and `timeout`
    sentinel_options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)


def read_url(url: str) -> Target:
    """Return what *url* names.

    Raises `ConfigurationError`, naming the part that is wrong; no frame of it holds the URL.
    """
    target = _read(url)
    del url
    if isinstance(target, str):
        raise ConfigurationError(f"the URL of a Redis store {target}; known is {FORMS}")
    return target


class _Wrong(Exception):
    """What is wrong with a URL, without any of it."""


def _read(url: str) -> Target | str:
    """Return the target, or what is wrong."""
    try:
        parts = urlsplit(url)
        kind, tls = parts.scheme.replace("rediss", "redis", 1), parts.scheme.startswith("rediss")
        if kind not in {*PORTS, "unix"}:
            return "begins with neither redis:// nor unix://, nor is it of a cluster or sentinels"
        # A slash, ? or # that was misplaced, or left as it is in a password, makes a path of who it is.
        if "@" in parts.path or parts.fragment or not url.startswith(f"{parts.scheme}://"):
            return "has no user and password between // and @: write / as %2F, ? as %3F, # as %23, @ as %40"
        options, hosts = _who(parts), _hosts(parts, PORTS.get(kind, 0))
    except ValueError:
        return "has no valid host and port"
    try:
        service, database = _path(kind, unquote(parts.path), options)
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
        if database:
            parameters.setdefault("db", database)
        options |= _parameters(parameters, _known(kind, tls=tls))
        if kind == "redis":
            options |= _one(hosts, PORTS[kind])
    except _Wrong as wrong:
        return str(wrong)
    theirs = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    return Target(
        kind=kind,
        tls=tls,
        hosts=hosts if kind in {"redis+cluster", "redis+sentinel"} else (),
        service=service,
        options=options,
        sentinel_options={name: value for name, value in theirs.items() if value},
    )


def _path(kind: str, path: str, options: dict[str, Any]) -> tuple[str, str]:
    """Return the service and the database that a path names."""
    if kind == "unix":
        if not path:
            raise _Wrong("names no path")
        options["path"] = path
        return "", ""
    service, _, database = path.strip("/").rpartition("/")
    if kind == "redis+sentinel":
        service, _, database = path.strip("/").partition("/")
        if not service or "=" in service:  # a parameter without its question mark
            raise _Wrong("names no service")
    elif service:
        raise _Wrong("has no usable 'db'")
    return service, database


def _parameters(
    parameters: Mapping[str, str], known: Mapping[str, Callable[[str], str | int | float | None]]
) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in parameters.items():
        if name not in known:
            shown = f"parameter {name!r}" if value and name.isidentifier() else "such parameter"
            raise _Wrong(f"has no {shown} (there are {', '.join(known)})")
        options[name] = known[name](value)
        if options[name] is None:
            raise _Wrong(f"has no usable {name!r}")
    return options


def _one(hosts: tuple[tuple[str, int], ...], usual: int) -> dict[str, Any]:
    (host, port), *others = hosts
    if others:
        raise _Wrong("names several hosts: write redis+cluster:// or redis+sentinel://")
    return {"host": host} | ({} if port == usual else {"port": port})


def _who(parts: SplitResult) -> dict[str, Any]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return {name: unquote(text) for name, text in (("username", user), ("password", password)) if text}


def _hosts(parts: SplitResult, port: int) -> tuple[tuple[str, int], ...]:
    """Return each host and port. Raises ValueError."""
    each = [urlsplit(f"//{address}") for address in parts.netloc.rpartition("@")[2].split(",")]
    return tuple((one.hostname or "localhost", one.port or port) for one in each)


def _known(kind: str, *, tls: bool) -> dict[str, Callable[[str], str | int | float | None]]:
    """Return the parameters of such a URL, each with what reads it: None is unusable."""
    known: dict[str, Callable[[str], str | int | float | None]] = {
        "client_name": _text,
        "db": _only_database if kind == "redis+cluster" else _database,
        "timeout": _seconds,
    }
    if kind == "redis+sentinel":
        known |= {"sentinel_username": _text, "sentinel_password": _text}
    if tls:
        names = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password")
        known |= dict.fromkeys(names, _text)
    return known


def _text(value: str) -> str | None:
    return value or None


def _database(value: str) -> int | None:
    return int(value) if value.isdecimal() else None


def _only_database(value: str) -> int | None:
    return 0 if value == "0" else None


def _seconds(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0.001 <= number < float("inf") else None
