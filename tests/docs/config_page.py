"""The page of all options, from signatures and docstrings. Knows no option by name but those of URLs.

A docstring says what a parameter means as `*name*: meaning.`; attributes of a class have one of their own."""

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from textwrap import dedent
from typing import Any

import acache
import acache_postgres
import acache_redis
import acache_sqlite
from acache._memory import from_url
from acache_redis._url import _known

COMMAND = "python tests/docs/renew.py"

INTRODUCTION = f"""\
<!-- Made from the code: change a docstring, then run `{COMMAND}`. -->

# Configuration

Every option there is, made from the code. Durations are seconds; options of a policy take a `timedelta` as well. What is not named here
(signatures, methods, errors) is in the [reference](reference/index.md); what the options of a policy do together is in [policy](policy.md).
"""

# What redis-py or the server makes of a parameter; the names are the code's.
REDIS_MEANINGS = {
    "client_name": ("str", "none", "the name of the connections in `CLIENT LIST`"),
    "db": ("int", "0", "the database, which may also stand in the path; only 0 on a cluster"),
    "timeout": ("float", "1.0", "seconds that a round trip may take; 5.0 for a journal"),
    "sentinel_username": ("str", "none", "who to be at the sentinels"),
    "sentinel_password": ("str", "none", "the password there; the one before the host is the server's"),
    "ssl_ca_certs": ("str", "the system's", "a file of certificates of authorities to trust"),
    "ssl_certfile": ("str", "none", "a file with the client's certificate"),
    "ssl_keyfile": ("str", "none", "a file with the key of that certificate"),
    "ssl_password": ("str", "none", "the password of that key"),
}

# What stands behind a name of ours in a signature.
ALIASES = {
    "NewId": "Callable[[], bytes]",
    "Refresh": 'Literal["background", "caller"]',
    "Weigh": "Callable[[str, object], int]",
    "Invalidating": "Cache",
}

PATTERNS = (acache.ReadThrough, acache.WriteThrough, acache.WriteBehind)
SINGLE = (acache.MemoryStore, acache.MemoryJournal)
ADAPTERS: Mapping[str, tuple[Callable[..., Any], ...]] = {
    "acache-redis": (acache_redis.RedisStore, acache_redis.RedisJournal),
    "acache-sqlite": (acache_sqlite.SQLiteTable, acache_sqlite.QuerySource, acache_sqlite.SQLiteJournal),
    "acache-postgres": (
        acache_postgres.PostgresTable,
        acache_postgres.QuerySource,
        acache_postgres.PostgresChanges,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Option:
    """One row of a table."""

    name: str
    type: str
    default: str
    meaning: str


def render() -> str:
    """Return the whole page."""
    return "\n".join(
        [
            INTRODUCTION,
            "## Of a call: `Policy`",
            "",
            "By name at every caching call, or together as `policy=Policy(...)`. The call overrides its policy,",
            "its policy the cache's, which may carry everything but `ttl`.",
            "",
            *_table(_of_policy()),
            "## Of a cache: `Cache(store, ...)`",
            "",
            "`cache.configure(store, ...)` takes the same, before the first use.",
            "",
            *_table(_of_call(acache.Cache)),
            "## Stores by URL",
            "",
            "### `memory://`",
            "",
            "In this process: `memory://?max_entries=100000&max_weight=50000000`. No host, no path.",
            "",
            *_table(option for option in _of_call(acache.MemoryStore) if option.name in memory_parameters()),
            "### `redis://` and its kin",
            "",
            *(f"- `{form}`" for form in _redis_forms()),
            "",
            "`rediss` instead of `redis` in each of them is TLS. A user and password stand before the host, escaped as in any URL.",
            "",
            *_table(_of_redis_url()),
            "## Patterns",
            "",
            "They take the options of a policy, too.",
            "",
            *_sections(PATTERNS),
            "## Stores and journals as objects",
            "",
            *_sections(SINGLE),
            *(line for name, makers in ADAPTERS.items() for line in (f"## {name}", "", *_sections(makers))),
        ]
    )


def _sections(makers: Iterable[Callable[..., Any]]) -> Iterator[str]:
    for maker in makers:
        yield f"### `{maker.__name__}`"
        yield ""
        yield from _table(_of_call(maker))


def _table(options: Iterable[Option]) -> list[str]:
    rows = [f"| `{each.name}` | {each.type} | {each.default} | {each.meaning} |" for each in options]
    return ["| option | type | default | meaning |", "|---|---|---|---|", *rows, ""]


# --- from the code ----------------------------------------------------------------------------------


def _of_policy() -> Iterator[Option]:
    """Attributes of the class, each with the string below it."""
    body = _class_body(acache.Policy)
    given = acache._policy.Options.__annotations__
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and field.target.id in given:
            default = "required" if field.target.id == "ttl" else _value(ast.literal_eval(field.value))
            yield Option(
                name=field.target.id,
                type=_type(ast.unparse(field.annotation).replace(" | Unset", "")),
                default=default,
                meaning=_sentence(text.value.value),
            )


def _class_body(cls: type) -> list[Any]:
    return ast.parse(dedent(inspect.getsource(cls))).body[0].body


def _of_call(maker: Callable[..., Any]) -> Iterator[Option]:
    """Parameters of a constructor, each with what the docstrings of it and of its bases say."""
    meanings = dict(_meanings(maker))
    for name, parameter in inspect.signature(maker).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        yield Option(
            name=name,
            type=_type(_written(maker, name)),
            default="required" if parameter.default is parameter.empty else _value(parameter.default),
            meaning=_sentence(meanings[name]),
        )


def _meanings(maker: Any) -> Iterator[tuple[str, str]]:
    for cls in reversed(maker.__mro__[:-1]):
        for text in (cls.__doc__, cls.__dict__.get("__init__", cls).__doc__):
            yield from meanings(inspect.cleandoc(text or ""))


def meanings(docstring: str) -> Iterator[tuple[str, str]]:
    """Yield each parameter of `*name*: meaning` or `*one*, *two*: meaning`, up to the next or a blank line."""
    mark = r"(?:\*\w+\*(?:, | and )?)+: "
    for paragraph in docstring.split("\n\n"):
        flat = " ".join(paragraph.split())
        for found in re.finditer(rf"({mark})(.*?)(?= {mark}|$)", flat):
            for name in re.findall(r"\*(\w+)\*", found[1]):
                yield name, found[2]


def _written(maker: Callable[..., Any], name: str) -> str:
    """Return the annotation of a parameter as the source has it."""
    for node in ast.walk(ast.parse(dedent(inspect.getsource(maker.__init__)))):
        if isinstance(node, ast.arg) and node.arg == name:
            annotation = node.annotation
            is_text = isinstance(annotation, ast.Constant)
            return annotation.value if is_text else ast.unparse(annotation)
    raise LookupError(name)


def memory_parameters() -> set[str]:
    """Return what a memory:// URL takes, by asking it for what it does not."""
    try:
        from_url("memory://?nothing=1")
    except acache.errors.ConfigurationError as error:
        return set(re.findall(r"\w+", str(error).partition("it takes ")[2])) - {"and"}
    raise AssertionError("memory:// took a parameter that there is not")


def redis_parameters() -> list[str]:
    """Return what a redis:// URL of some kind takes."""
    return list(_known("redis+sentinel", tls=True))


def _redis_forms() -> list[str]:
    forms = acache_redis._url.FORMS
    return re.findall(r"(?:redis|unix)[+\w]*://\S*[^\s,]", forms)


def _of_redis_url() -> Iterator[Option]:
    for name in redis_parameters():
        type_, default, meaning = REDIS_MEANINGS[name]
        only = (
            "with sentinels: " if name.startswith("sentinel") else "with TLS: " if name[:3] == "ssl" else ""
        )
        yield Option(name=name, type=f"`{type_}`", default=default, meaning=only + meaning)


# --- as text ----------------------------------------------------------------------------------------


def _type(annotation: str) -> str:
    """Return alternatives one by one: a bar would end the cell of a table."""
    parts = (each.strip().replace("'", '"') for each in _alternatives(annotation))
    return " or ".join(f"`{ALIASES.get(each, each)}`" for each in parts)


def _alternatives(annotation: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(annotation):
        depth += (letter in "[(") - (letter in "])")
        if letter == "|" and not depth:
            parts.append(annotation[start:place])
            start = place + 1
    return [part.replace("|", "or") for part in [*parts, annotation[start:]]]


def _value(default: Any) -> str:
    if isinstance(default, str):
        return f'`"{default}"`'
    if isinstance(default, bool) or default is None:
        return f"`{default}`"
    if isinstance(default, int | float):
        return f"{default:,.0f}" if default > 1_000 else f"{default:g}"
    if default == ():
        return "none"
    if isinstance(default, type):
        return f"`{default.__name__}`"
    return "`Any`" if default is Any else "the system's"


def _sentence(text: str) -> str:
    return " ".join(text.split()).rstrip(".").replace("|", "\\|")
