"""Servers that several test modules share: they take seconds to start and are alike to every test."""

import pytest
from valkey_cluster import cluster, watched
from valkey_server import binaries, valkey

SINGLE = sorted(binaries())
PLACES = [*SINGLE, "cluster", "sentinel"]


def place(kind):
    """Return what starts servers of that kind."""
    return {"cluster": cluster, "sentinel": watched}.get(kind) or (lambda: valkey(binary=binaries()[kind]))


@pytest.fixture(scope="session", params=PLACES)
def anywhere(request):
    """One server after another, a cluster, and a primary that sentinels watch."""
    with place(request.param)() as servers:
        servers.kind = request.param
        yield servers
