"""What is made from the code is what stands in docs/."""

import config_page
import pytest
from renew import COMMAND, DOCS, MADE

from acache_redis._url import read_url


@pytest.mark.one_loop
@pytest.mark.parametrize("name", MADE)
def test_a_page_or_picture_is_what_the_code_makes_now(name):
    standing = (DOCS / name).read_text(encoding="utf-8")
    assert standing == MADE[name](), f"docs/{name} is not current: renew it with `{COMMAND}`"


def test_every_parameter_of_a_redis_url_is_explained_and_no_other():
    assert set(config_page.redis_parameters()) == set(config_page.REDIS_MEANINGS)
    assert read_url("rediss+sentinel://h/shop/2?timeout=0.5&sentinel_username=a").options["db"] == 2


def test_a_docstring_says_what_each_parameter_means():
    text = "Make it.\n\n*a*: one\nthing. *b*, *c*: two (of *d*).\n\nMore. Raises nothing."
    assert list(config_page.meanings(text)) == [
        ("a", "one thing."),
        ("b", "two (of *d*)."),
        ("c", "two (of *d*)."),
    ]
