"""Write what stands in docs/ and is made from the code: `python tests/docs/renew.py`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent)]

import config_page  # noqa: E402 - the line above says where it is
import pictures  # noqa: E402
import stampede_picture  # noqa: E402
import test_floors  # noqa: E402

DOCS = HERE.parents[1] / "docs"
COMMAND = config_page.COMMAND

MADE = {
    "configuration.md": config_page.render,
    "images/floors.svg": lambda: pictures.floors(
        test_floors.floors(), test_floors.of_the_core, test_floors.home
    ),
    **{
        f"images/{name}.svg": lambda parts=parts: pictures.way(*parts)
        for name, parts in pictures.WAYS.items()
    },
    "images/stampede.svg": stampede_picture.render,
}
"""By path in docs/: what returns the text that has to stand there."""

if __name__ == "__main__":
    for name, make in MADE.items():
        (DOCS / name).write_text(make(), encoding="utf-8")
        print(name)
