"""Values as columns take them, without a server."""

import pytest

from acache_postgres._values import Codecs, taken, untouched

VALUES = {bool: True, int: 1, float: 0.5, str: "text", bytes: b"bytes", type(None): None}


@pytest.mark.parametrize("text", [True, False], ids=["JSON as text", "JSON as objects"])
@pytest.mark.parametrize(
    ("base", "category"),
    [
        ("int4", "N"),
        ("float8", "N"),
        ("numeric", "N"),
        ("bool", "B"),
        ("text", "S"),
        ("mood", "E"),
        ("date", "D"),
        ("bytea", "U"),
        ("uuid", "U"),
        ("jsonb", "U"),
        ("json", "U"),
        ("_int4", "A"),
        ("_jsonb", "A"),
        ("pair", "C"),
    ],
)
def test_what_needs_no_look_is_what_would_be_taken_as_it_is(base, category, text):
    codecs = Codecs(json=text, jsonb=text)
    kinds = untouched(base, category)
    assert type(None) in kinds
    for kind in kinds:
        assert taken(base, category, VALUES[kind], codecs) is VALUES[kind]
