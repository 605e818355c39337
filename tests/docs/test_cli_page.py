"""The page on the command line names every command there is, and no other."""

import re
from pathlib import Path

from typer.main import get_command

from acache.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_every_command_is_on_the_page_and_every_one_on_the_page_is_there():
    root = get_command(app)
    commands = set()
    for name, command in root.commands.items():
        commands |= {f"{name} {part}" for part in getattr(command, "commands", {})} or {name}
    told = set(re.findall(r"^\| `acache (journal \w+|\w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert told == commands
