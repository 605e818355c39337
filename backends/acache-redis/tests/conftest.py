"""Servers that several test modules share: they take seconds to start and are alike to every test."""

import pytest
from rights import EVERYWHERE, let
from valkey_cluster import cluster, watched
from valkey_server import binaries, valkey

PLACES = [*sorted(binaries()), "restricted", "cluster", pytest.param("sentinel", marks=pytest.mark.scale)]


@pytest.fixture(scope="session")
def a_server():
    """One server."""
    with valkey() as server:
        yield server


@pytest.fixture(scope="module")
def server():
    """One server of the module's own, unless the module has another idea of it."""
    with valkey() as running:
        yield running


@pytest.fixture(scope="session")
def a_cluster():
    """Three primaries, each with a replica."""
    with cluster() as servers:
        yield servers


@pytest.fixture(scope="session")
def a_watched_primary():
    """A primary with a replica, and three sentinels."""
    with watched() as servers:
        yield servers


@pytest.fixture(scope="session", params=PLACES)
def anywhere(request):
    """Wherever a store may be: also where its user may do no more than the README says."""
    if request.param in {"cluster", "sentinel"}:
        place = {"cluster": "a_cluster", "sentinel": "a_watched_primary"}[request.param]
        servers = request.getfixturevalue(place)
        servers.kind = request.param
        yield servers
        return
    with valkey(binary=binaries().get(request.param)) as server:
        server.kind = request.param
        if request.param == "restricted":
            server.url = server.url.replace("://", f"://{let([server], EVERYWHERE)}")
        yield server
