"""From a URL to what a connection needs. Pure; no error of it shows the URL, which may hold a password."""

from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from acache.errors import ConfigurationError

FORMS: Final = "redis://[[user]:password@][host][:port][/database], unix://[[user]:password@]/path"
PARAMETERS: Final = ("client_name", "db", "timeout")


def read_url(url: str) -> dict[str, Any]:
    """Return the options of a connection of redis-py, and `timeout` if the URL names one.

    Raises `ConfigurationError`, naming the part that is wrong; no frame of it holds the URL.
    """
    options = _read(url)
    del url
    if isinstance(options, str):
        raise ConfigurationError(f"the URL of a Redis store {options}; known is {FORMS}")
    return options


def _read(url: str) -> dict[str, Any] | str:
    """Return the options, or what is wrong."""
    try:
        parts = urlsplit(url)
        options = _place(parts)
    except ValueError:
        return "has no valid host and port"
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = [name for name in parameters if name not in PARAMETERS]
    if parts.scheme not in {"redis", "unix"}:
        return "begins with neither redis:// nor unix://"
    if parts.scheme == "unix" and not parts.path:
        return "names no path"
    if unknown:
        return f"has no parameter {unknown[0]!r} (there are {', '.join(PARAMETERS)})"
    if parts.scheme == "redis" and parts.path.strip("/"):
        parameters.setdefault("db", parts.path.strip("/"))
    for name, value in parameters.items():
        option = _parameter(name, value)
        if option is None:
            return f"has no usable {name!r}"
        options[name] = option
    return options


def _place(parts: SplitResult) -> dict[str, Any]:
    where = {"path": parts.path} if parts.scheme == "unix" else {"host": parts.hostname or "localhost"}
    who = {"username": parts.username, "password": parts.password}
    options: dict[str, Any] = {name: unquote(text) for name, text in (where | who).items() if text}
    return options | ({"port": parts.port} if parts.port else {})


def _parameter(name: str, value: str) -> str | int | float | None:
    if name == "client_name":
        return value or None
    try:
        number = int(value) if name == "db" else float(value)
    except ValueError:
        return None
    lowest = 0 if name == "db" else 0.001
    return number if lowest <= number < float("inf") else None
