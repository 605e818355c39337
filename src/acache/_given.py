"""What callers hand in: names, tags, templates and loads, checked. Pure; knows no cache."""

from collections.abc import Coroutine, Iterable

from acache._keys import check_key, finish
from acache._policy import unique


def names(parameter: str, given: Iterable[str]) -> tuple[str, ...]:
    """Return *given* as a tuple; a bare str, whose letters nobody means, is a TypeError."""
    if isinstance(given, str | bytes):
        raise TypeError(f"{parameter} takes an iterable of str, not {given!r}: write {parameter}=[{given!r}]")
    if not isinstance(given, Iterable):
        raise TypeError(f"{parameter} takes an iterable of str, not {kind_of(given)}")
    return tuple(given)


def checked(key: str, *, what: str = "key") -> str:
    """Return the name that a hand-written key or tag is stored under; raises what `check_key` does."""
    return finish(check_key(key, what=what))


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return *tags* as they are stored, each once; refuses what is none."""
    return () if tags == () else unique(checked(tag, what="tag") for tag in names("tags", tags))


def check_template(parameter: str, text: object) -> None:
    """Raise TypeError unless *text* is a template, or None for one to be made."""
    if callable(text):
        raise TypeError("write @cache.cached(ttl=...), with parentheses: how long is the value good for?")
    if not isinstance(text, str | None):
        raise TypeError(f'{parameter}: a template is a str such as "user:{{user_id}}", not {kind_of(text)}')


def kind_of(value: object) -> str:
    """Return the name of the type of *value*, for an error."""
    return type(value).__name__


def check_load(load: object, parameter: str) -> None:
    """Raise TypeError unless *load* can be called."""
    if not callable(load):
        if isinstance(load, Coroutine):
            load.close()  # nobody else will await it
        raise TypeError(
            f"{parameter} must be an async function, not {kind_of(load)}: pass the function, do not call it"
        )
