"""Names in Redis: as documented, injective, and in one slot where a script needs two of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from acache_redis._names import channel_of, entry_of, key_pair, stamp_of, tag_pair, version_of

text = st.text(st.characters(exclude_categories=()), min_size=1).filter(lambda text: text[0] != "}")


def test_names_are_as_documented():
    assert key_pair("shop:{user:42}") == (b"acache:e:shop:{user:42}", b"acache:c:shop:{user:42}")
    assert tag_pair("shop:{users}") == (b"acache:t:shop:{users}", b"acache:tc:shop:{users}")
    assert tag_pair("shop") == (b"acache:n:shop", b"acache:nc:{acache:n:shop}")
    assert stamp_of("shop") == b"acache:s:shop"
    assert channel_of(3) == b"acache:feed:3"


@given(text)
def test_what_one_script_changes_is_in_one_slot(text):
    for pair in (key_pair(f"shop:{{{text}}}"), tag_pair(f"shop:{{{text}}}"), tag_pair("shop")):
        assert key_slot(pair[0]) == key_slot(pair[1])


@given(text, text)
def test_two_names_are_equal_only_if_their_texts_are(one, other):
    for where in (entry_of, version_of):
        assert (where(f"shop:{{{one}}}") == where(f"shop:{{{other}}}")) is (one == other)


@pytest.mark.parametrize("text", ["\ud800", "\udfff", "ä", "😀", "\0"])
def test_any_character_has_a_name(text):
    assert entry_of(f"shop:{{{text}}}") != entry_of("shop:{?}")
