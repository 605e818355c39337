"""Key templates: from "user:{user_id}" to a key, by hand or by generated source. Pure.

    shape = CallShape.of(function)                      how the function is called
    template = key_template(shape, "user:{user_id}")    or key_template(shape): all its parameters
    names = shape.names()
    source = f"async def wrapper({shape.definition(names)}): key = {template.expression(shape, names)} ..."
    exec(source, names.values)

    Template.parse("user:{}").format(42)                "user:42", what the expression makes of 42
    template.typed(shape).format(42)                    the same, with the annotations of the function
    finish(raw)                                         the key to store under: a long one is hashed
    check_key(key)                                      for a key that somebody wrote by hand

The expression yields the key unfinished, so that a hit does not pay for the test of its length. A long raw
key is simply never found: whoever then looks further does so under `finish(raw)`.

No text of a value contains a separator (see `_text`), so two calls get one key only if each of their values
has the same text. Templates in which that would not hold, such as "{a}-{b}", are refused."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from keyword import iskeyword
from operator import call
from typing import Any, Final

from acache._signature import CallShape, Names
from acache._text import WORDS, Writer, reader, scalar
from acache._text import text as write_any
from acache.errors import InvalidKey, InvalidTemplate

MAX_KEY: Final = 1024
"""The longest key, in characters."""
LONGEST_READABLE: Final = 250
"""A generated key beyond this many characters is hashed; a hashed one has exactly as many."""

_DIGEST_BYTES = 20
_SURROGATE = re.compile("[\ud800-\udfff]")
_FIELD = re.compile(r"\{([^{}]*)\}")
# What tells two values apart: a character that no text of a value has, or has within parentheses only.
_SEPARATES = re.compile(r"[^A-Za-z0-9_.@%'(),=-]|^[^()]*[,=][^()]*$")
# Tests for the values whose text an f-string makes without a call of ours. `__class__` is cheaper than
# `type()`; what is an identifier can be no number.
_COMMON: Final[dict[type[Any] | None, str]] = {
    int: "{first}.__class__ is {int}",
    str: "{first}.__class__ is {str} and {value}.isascii() and {value}.isalnum()",
    None: "{first}.__class__ is {int} or {value}.__class__ is {str} and {value}.isascii()"
    " and {value}.isidentifier() and {value} not in {words}",
}
_MEANINGS: Final = {"int": int, "str": str, "words": WORDS}


@dataclass(frozen=True, slots=True)
class Template:
    """The text of a key or tag, with fields for values. Make one with `parse`."""

    text: str
    literals: tuple[str, ...]  # what stands before, between and after the fields
    fields: tuple[str, ...]  # "user_id", "self.tenant", or "" for a positional {}
    pattern: str  # for the % operator, which is what formats fastest
    writers: tuple[Writer, ...] = field(compare=False, repr=False)  # of the values of the fields

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Return the template that *text* spells, or raise InvalidTemplate."""
        pieces = _FIELD.split(text)
        pattern = "%s".join(each.replace("%", "%%") for each in pieces[::2])
        fields = tuple(pieces[1::2])
        template = cls(text, tuple(pieces[::2]), fields, pattern, (write_any,) * len(fields))
        problem = _problem_of(template)
        if problem:
            raise InvalidTemplate(f"template {text!r} {problem}")
        return template

    @property
    def shape(self) -> str:
        """The text with all fields alike, "user:{}": templates of one shape build the same keys."""
        return "{}".join(self.literals)

    @property
    def roots(self) -> frozenset[str]:
        """The parameters that the fields start from: "self" of "{self.tenant}"; "" of "{}"."""
        return frozenset(each.partition(".")[0] for each in self.fields)

    def format(self, /, *args: object, **named: object) -> str:
        """Return the finished key with *named* in the fields of a name, and *args* in the others in order.

        It is what `expression` yields: for values that no annotation describes, or of a `typed` template.
        Raises TypeError unless each field has one value, UncacheableArgument for a value without text."""
        rest = [each for each in self.fields if each not in named] if named else self.fields
        if len(args) != len(rest) or (named and not named.keys() <= set(self.fields)):
            raise TypeError(_wrong_values(self, len(args), named))
        if named:
            given = iter(args)
            args = tuple(named[each] if each in named else next(given) for each in self.fields)
        written = map(call, self.writers, args)  # pyright: ignore[reportArgumentType]  (a ParamSpec in map)
        return finish(self.pattern % tuple(written))

    def typed(self, shape: CallShape) -> "Template":
        """Return this template with the annotations of *shape* fixing the types of what it formats."""
        return replace(self, writers=tuple(_reader(each, shape) for each in self.fields))

    def typed_like(self, other: "Template") -> "Template":
        """Return this template with the types of *other*, which has the same shape but other names."""
        return replace(self, writers=other.writers)

    def expression(self, shape: CallShape, names: Names, *, item: str | None = None) -> str:
        """Return the source of an expression that yields the unfinished key of a call of *shape*.

        What it refers to is bound in *names*. *item* is the local name that `{}` stands for, one element
        of the iterable that a batch function takes first. Raises InvalidTemplate if a field does not
        belong to the function. Evaluating it raises UncacheableArgument, or what the attributes of the
        caller's own objects raise; ValueError for an int of more digits than the interpreter would print."""
        source = _in_source(self.literals[0])
        for each, literal in zip(self.fields, self.literals[1:], strict=True):
            _check_field(self, each, shape, item)
            source += f"{{{_value_source(each, shape, names, item or '')}}}{_in_source(literal)}"
        return f'f"{source}"'


def key_template(shape: CallShape, text: str | None = None, *, batch: bool = False) -> Template:
    """Return the template of the keys of a function: *text*, or all its parameters after its name.

    *batch*: the first parameter is an iterable of ids, and `{}` stands for each. Raises InvalidTemplate, also
    for a method without the instance in its template: all instances would share their keys."""
    shown = [each for each in shape.parameters if each.name != shape.instance][batch:]
    fields = ["{}"] * batch + [f"{{{each.name}}}" for each in shown]
    template = Template.parse(":".join([shape.name, *fields]) if text is None else text)
    if shape.instance and shape.instance not in template.roots:
        example = ":".join([shape.name.rpartition(".")[2], f"{{{shape.instance}.id}}", *fields])
        raise InvalidTemplate(
            f"{shape.name} is a method, and with {template.text!r} all instances would share their keys:"
            f' name what tells them apart, as in "{example}"'
        )
    if batch and (shape.iterable is None or "" not in template.roots):
        raise InvalidTemplate(
            f"template {template.text!r} needs a {{}} for each of the ids, as in 'user:{{}}',"
            f" and {shape.name} a first parameter that takes them"
        )
    return template


def finish(key: str) -> str:
    """Return *key*, or if it is long its readable head, `~` and a digest (BLAKE2b, 160 bit)."""
    if len(key) <= LONGEST_READABLE:
        return key
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{key[: LONGEST_READABLE - 1 - len(digest)]}~{digest}"


def check_key(key: object, *, what: str = "key") -> str:
    """Return *key* if it can be one; *what* it is, "key" or "tag", goes into the error.

    Raises TypeError for what is not a str, InvalidKey for what is empty, too long, or no Unicode text."""
    if not isinstance(key, str):
        wrong = type(key).__name__
        raise TypeError(
            f'a {what} is a str, not {wrong}: build one, as in cache.{what}("user:{{}}", user_id)'
        )
    if not key:
        raise InvalidKey(f"a {what} is empty")
    if len(key) > MAX_KEY:
        raise InvalidKey(f"a {what} has {len(key)} characters, more than {MAX_KEY}: {key[:40]!a}...")
    if _SURROGATE.search(key):
        raise InvalidKey(f"a {what} has half of a surrogate pair: {key!a}")
    return key


def _problem_of(template: Template) -> str | None:
    """Return what is wrong with a template whatever function it is for."""
    if not template.text:
        return 'is empty: write for example "user:{user_id}"'
    if any("{" in each or "}" in each for each in template.literals):
        return (
            "has an unbalanced or doubled brace: braces surround the name of a parameter, as in"
            ' "user:{user_id}", and cannot be part of a key'
        )
    if _SURROGATE.search(template.text):
        return "has half of a surrogate pair, which is no text"
    for each in template.fields:
        if each and not all(part.isidentifier() and not iskeyword(part) for part in each.split(".")):
            return (
                f"has the field {{{each}}}: a field is a parameter or an attribute of one, as in {{user.id}},"
                " without spaces, index, conversion or format"
            )
    for before, literal, after in zip(
        template.fields, template.literals[1:], template.fields[1:], strict=False
    ):
        if not _SEPARATES.search(literal):
            return f"is ambiguous at {{{before}}}{literal}{{{after}}}: separate them with ':'"
    return None


def _check_field(template: Template, path: str, shape: CallShape, item: str | None) -> None:
    """Raise InvalidTemplate if no value of a call of *shape* belongs into the field *path*."""
    root = path.partition(".")[0]
    known = [each.name for each in shape.parameters]
    listed = f"{shape.name} ({', '.join(known) or 'it has none'})"
    if not root and item is None:
        raise InvalidTemplate(
            f"template {template.text!r} has a field without a name: name a parameter of {listed}"
        )
    if item is not None and root == shape.iterable:
        raise InvalidTemplate(f"template {template.text!r} names {{{root}}}: write {{}} for each of them")
    if root and root not in known:
        from difflib import get_close_matches  # for this one message

        close = get_close_matches(root, known, 1, 0.5)
        hint = f", did you mean {{{close[0]}}}?" if close else ""
        raise InvalidTemplate(
            f"template {template.text!r} names {{{root}}}, which is no parameter of {listed}{hint}"
        )


def _kind(path: str, shape: CallShape) -> type[Any] | None:
    return scalar(shape.hints.get(path) if path else shape.element)


def _reader(path: str, shape: CallShape) -> Writer:
    """Return what writes the values of a field, or says which argument cannot be written."""
    label = f"argument {path.partition('.')[0] or shape.iterable!r} of {shape.name}"
    if not path or shape.collects(path):
        label, remedy = f"an item of {label}", "pass what identifies it, such as its id"
    else:
        remedy = f'name the part that identifies it in the template, e.g. "{{{path}.id}}"'
    return reader(_kind(path, shape), label=label, remedy=remedy)


def _value_source(path: str, shape: CallShape, names: Names, item: str) -> str:
    """Return the source that writes the value of a field."""
    value = path or item
    kind = _kind(path, shape)
    read = names.bind(f"read_{value.replace('.', '_')}", _reader(path, shape))
    first = value
    if "." in path:  # evaluated once, then known by a name of our own
        value = names.fresh("part")
        first = f"({value} := {path})"
    if kind not in _COMMON:
        return f"{read}({first})"
    known = {each: names.bind(each, meaning) for each, meaning in _MEANINGS.items()}
    return f"{value} if {_COMMON[kind].format(first=first, value=value, **known)} else {read}({value})"


def _in_source(literal: str) -> str:
    return literal.encode("unicode_escape").decode().replace('"', '\\"')


def _wrong_values(template: Template, given: int, named: Iterable[str]) -> str:
    wanted = f"{len(template.fields)} value{'s' * (len(template.fields) != 1)}"
    by_name = "".join(f" and {name}=" for name in named)
    return f"template {template.text!r} takes {wanted}, one for each field, but {given}{by_name} given"
