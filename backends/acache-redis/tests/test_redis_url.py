"""URLs of Redis stores: what they mean, and what is refused without showing them."""

import traceback
from importlib.metadata import EntryPoint
from random import Random

import pytest

from acache import Cache
from acache.errors import CacheError, ConfigurationError
from acache.protocols import Feed, Leases, RemoteStore
from acache_redis import RedisJournal, RedisStore, from_url
from acache_redis._url import read_url


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://", {"host": "localhost"}),
        ("redis://h", {"host": "h"}),
        ("redis://h:1/2", {"host": "h", "port": 1, "db": 2}),
        ("redis://h/2?db=3", {"host": "h", "db": 3}),
        ("redis://[::1]:7", {"host": "::1", "port": 7}),
        ("redis://:p%40ss@h", {"host": "h", "password": "p@ss"}),
        ("redis://u%3A:p@h", {"host": "h", "username": "u:", "password": "p"}),
        ("redis://h?timeout=0.25&client_name=web", {"host": "h", "timeout": 0.25, "client_name": "web"}),
        ("unix:///run/redis.sock", {"path": "/run/redis.sock"}),
        ("unix://u:p@/run/a%20b?db=1", {"path": "/run/a b", "username": "u", "password": "p", "db": 1}),
    ],
)
def test_a_url_means_what_it_says(url, options):
    assert read_url(url).options == options


@pytest.mark.parametrize(
    ("url", "kind", "tls", "hosts", "service"),
    [
        ("redis://h", "redis", False, (), ""),
        ("rediss://h", "redis", True, (), ""),
        ("redis+cluster://h", "redis+cluster", False, (("h", 6379),), ""),
        ("rediss+cluster://u:p@h:1,[::1]:2", "redis+cluster", True, (("h", 1), ("::1", 2)), ""),
        ("redis+sentinel://h,i:7/shop/2", "redis+sentinel", False, (("h", 26379), ("i", 7)), "shop"),
    ],
)
def test_a_url_says_what_is_there(url, kind, tls, hosts, service):
    target = read_url(url)
    assert (target.kind, target.tls, target.hosts, target.service) == (kind, tls, hosts, service)


def test_sentinels_have_users_and_passwords_of_their_own():
    url = "redis+sentinel://u:p@h/shop?db=3&sentinel_username=su&sentinel_password=sp"
    target = read_url(url)
    assert target.options == {"username": "u", "password": "p", "db": 3}
    assert target.sentinel_options == {"username": "su", "password": "sp"}
    store = from_url(url)
    assert repr(store) == "<RedisStore redis+sentinel://h:26379/shop, database 3>"
    assert "'sp'" not in repr(target) + repr(vars(store))


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis://user:s3cret@h,i", "several hosts"),
        ("redis+sentinel://user:s3cret@h", "names no service"),
        ("redis+sentinel://user:s3cret@h/shop/first", "'db'"),
        ("redis+sentinel://h/shop?sentinel_password=", "'sentinel_password'"),
        ("redis+cluster://user:s3cret@h/1", "'db'"),
        ("redis+cluster://user:s3cret@h,i:port", "host and port"),
        ("redis+cluster://user:s3cret@h?sentinel_password=s3cret", "no parameter 'sentinel_password'"),
        ("redis://user:s3cret@h?ssl_ca_certs=/x", "no parameter 'ssl_ca_certs'"),
        ("rediss://user:s3cret@h?ssl_keyfile=", "'ssl_keyfile'"),
        ("http://user:s3cret@h", "neither redis://"),
        ("redis://user:s3cret@h:port", "host and port"),
        ("redis://user:s3cret@h:99999999", "host and port"),
        ("redis://user:s3cret@[h", "host and port"),
        ("redis://user:s3cret@h/first", "'db'"),
        ("redis://user:s3cret@h/-1", "'db'"),
        ("redis://user:s3cret@h?db=x", "'db'"),
        ("redis://user:s3cret@h?timeout=soon", "'timeout'"),
        ("redis://user:s3cret@h?timeout=0", "'timeout'"),
        ("redis://user:s3cret@h?timeout=inf", "'timeout'"),
        ("redis://user:s3cret@h?client_name=", "'client_name'"),
        ("redis://user:s3cret@h?max_entries=5", "'max_entries'"),
        ("unix://user:s3cret@", "names no path"),
    ],
)
def test_what_is_wrong_with_a_url_is_named_without_showing_it(url, named):
    with pytest.raises(ConfigurationError, match=named) as caught:
        from_url(url)
    report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    report.stack[:] = [frame for frame in report.stack if "test_redis" not in frame.filename]
    assert "s3cret" not in "".join(report.format())


def test_the_entry_points_find_the_factory():
    factory = EntryPoint("redis", "acache_redis:from_url", "acache.stores").load()
    store = factory("redis://user:s3cret@localhost:7000/3?timeout=0.5")
    assert repr(store) == "<RedisStore redis://localhost:7000, database 3>"
    assert isinstance(store, RemoteStore)
    assert isinstance(store, Leases)
    assert isinstance(store, Feed)


MISPLACED = [
    "unix:///user:s3cret@/run/x.sock",
    "unix:/user:s3cret@run/x.sock",
    "unix:user:s3cret@/run/x.sock",
    "unix://u/ser:s3cret@/run/x.sock",
    "unix:/?user:s3cret@/run/x.sock",
    "redis+sentinel:///user:s3cret@h/shop",
    "redis+cluster://user:?s3cret@h",
    "redis://:1/s3cret@h",
    "redis://:1?s3cret@h",
    "redis://:1#s3cret@h",
    "memory:/user:s3cret@h",
    "memory://?user:s3cret@h",
    "redis?//user:s3cret@h:6379",
]


@pytest.mark.parametrize("url", MISPLACED)
@pytest.mark.parametrize("make", [Cache, RedisStore, RedisJournal, lambda url: Cache("redis://", near=url)])
def test_a_password_in_a_wrong_place_is_refused_and_not_shown(make, url):
    with pytest.raises(CacheError) as refused:
        make(url)
    error = refused.value
    frames = [
        frame for frame, _ in traceback.walk_tb(error.__traceback__) if "/src/" in frame.f_code.co_filename
    ]
    shown = [
        str(error),
        repr(error.__cause__),
        repr(error.__context__),
        *(repr(each.f_locals) for each in frames),
    ]
    assert frames
    assert "s3cret" not in "".join(shown)


def test_no_url_that_is_mistyped_shows_its_password():
    places = ("redis://{}h:1/0", "rediss://{}h", "unix://{}/x.sock?db=1", "redis+cluster://{}h,i:2")
    rng = Random(7)
    for _ in range(2_000):
        url = rng.choice((*places, "redis+sentinel://{}h,i/shop/0?db=1")).format("user:s3cret@")
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(url) + 1)
            url = url[:at] + rng.choice("/:@?#%[],\\ &=;1a") + url[at + rng.randint(0, 1) :]
        if "@" not in url.partition("s3cret")[2]:
            continue  # then it is a host or a path, as far as anybody can tell
        try:
            shown = repr(RedisStore(url))
        except ConfigurationError as error:
            shown = f"{error}{error.__cause__}{error.__context__}"
        assert "s3cret" not in shown, url
