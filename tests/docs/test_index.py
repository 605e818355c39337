"""What a reader can reach from the first page."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_first_page_lists_every_page():
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8")))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.glob("*.md")} - {"index.md"}
    assert pages <= linked, f"docs/index.md lists none of {sorted(pages - linked)}"
    assert {path for path in linked if not (DOCS / path).is_file()} == set()


def test_the_readme_links_only_what_is_there():
    readme = DOCS.parent / "README.md"
    linked = set(re.findall(r"\]\(((?!https?:)[^)#]+)\)", readme.read_text(encoding="utf-8")))
    assert {path for path in linked if not (readme.parent / path).is_file()} == set()
