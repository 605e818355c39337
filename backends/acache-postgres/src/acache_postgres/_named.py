"""Statements with named parameters, as PostgreSQL takes them: `:id` becomes `$1`. Pure."""

import re
from dataclasses import dataclass

# What may hold a colon without meaning a parameter comes first: strings, names, dollar-quoted bodies,
# comments, casts. A slice such as a[1:n] is told from a parameter by what stands before the colon.
_TOKEN = re.compile(
    r"""
    \b[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
    | (?P<quote>\$(?:[A-Za-z_]\w*)?\$).*?(?P=quote)
    | --[^\n]* | /\*.*?\*/ | ::
    | (?<![\w\])]):(?P<name>[A-Za-z_]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement with numbered parameters, and the names of those numbers."""

    text: str
    names: tuple[str, ...]


def statement(text: str) -> Statement:
    """Return *text* with its named parameters numbered; one name is one number."""
    names: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        name = match["name"]
        return match[0] if name is None else f"${names.setdefault(name, len(names) + 1)}"

    return Statement(text=_TOKEN.sub(numbered, text), names=tuple(names))
