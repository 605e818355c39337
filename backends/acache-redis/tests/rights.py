"""The rights that the README names, and users who have some of them."""

import re
from pathlib import Path

from valkey_cluster import ask

_README = (Path(__file__).parent.parent / "README.md").read_text().replace("\\|", "|")


def rights(where):
    """Return the rights in the README's line about *where*."""
    [line] = re.findall(rf"^\| {where} \| `(.*)` \|$", _README, re.MULTILINE)
    return line.split()


EVERYWHERE, ON_A_CLUSTER = rights("everywhere"), rights("on a cluster")


def let(servers, granted):
    """Make a user who may do what is *granted* and nothing else; return the URL with its name."""
    for server in servers:
        ask(server, "ACL", "SETUSER", "app", "reset", "on", ">s3cret", *granted)
    return "app:s3cret@"
