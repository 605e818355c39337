"""What a server means by "no permission". Pure.

Its own words name the user, who is none of a log's business, and not always the remedy.
"""

import re
from typing import Final

_COMMAND: Final = re.compile(r"permissions to run the '([^']+)' command")
_CHANNEL: Final = re.compile(r"permissions to access (a channel|one of the channels)")
_KEY: Final = re.compile(r"permissions to access (a key|one of the keys)")


def missing_right(text: str) -> str | None:
    """Return what to tell instead of *text*, an error of a server; None if it is about something else."""
    if command := _COMMAND.search(text):
        return f"NOPERM the ACL of its user lacks +{command[1].lower()}"
    if _CHANNEL.search(text):
        return "NOPERM the ACL of its user lacks the channels &acache:*"
    if _KEY.search(text):
        return "NOPERM the ACL of its user lacks the keys ~acache:*"
    return None
