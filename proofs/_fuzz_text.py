"""Keys, templates and URLs made up at random: ours or an error of ours, never the same key for two."""

from collections.abc import Callable
from random import Random
from urllib.parse import urlsplit

from acache import Cache
from acache._given import checked_tags
from acache._keys import Template, finish
from acache._registry import open_store
from acache.errors import CacheError
from proofs._fuzz_bytes import Found

ALPHABET = "aZ09_.@-:{}[]()!r/\\'\"%$#&=+*~^|<>, \t\n\x00é漢\ud800😀"
SECRET = "s3cr3t-of-nobody"
PLACES = ("user:{}", "{}:{}", "a{}b{}", "{}", "{x}{}", "team:{}:{}:{}")


def _text(rng: Random, longest: int = 12) -> str:
    return "".join(rng.choice(ALPHABET) for _ in range(rng.randrange(longest)))


def _argument(rng: Random) -> object:
    kinds: tuple[Callable[[], object], ...] = (
        lambda: _text(rng),
        lambda: _text(rng, 3),
        lambda: rng.choice((0, 1, -1, True, False, None, "", "1", "None", "True", 1.0, "1.0", b"1", b"")),
        lambda: rng.randrange(-5, 5),
        lambda: float(rng.randrange(-5, 5)),
        lambda: tuple(_argument(rng) for _ in range(rng.randrange(3))),
        lambda: _text(rng, 1500) * 3,
    )
    return rng.choice(kinds)()


def _same(a: object, b: object) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and a == b and str(a) == str(b)


def keys(seed: int, count: int) -> Found:
    """Build keys of made-up arguments: equal for equal ones, different for different ones, short enough."""
    rng, found = Random(f"{seed}/keys"), Found()
    cache = Cache()
    seen: dict[tuple[str, str], object] = {}
    while found.attempts < count:
        template = rng.choice(PLACES[:4] + PLACES[5:])
        arguments = tuple(_argument(rng) for _ in range(template.count("{}")))
        found.attempts += 1
        try:
            key = cache.key(template, *arguments)
        except CacheError:
            continue
        except BaseException as error:
            found.foreign[f"{error.__class__.__name__}: {str(error)[:80]}"] += 1
            continue
        known = seen.setdefault((template, key), arguments)
        if not _same(known, arguments) or len(finish(key)) > 1024:
            found.accepted += 1
            found.foreign[f"one key for {known!r:.60} and {arguments!r:.60}"] += 1
    return found


def templates(seed: int, count: int) -> Found:
    """Parse made-up templates and check made-up keys."""
    rng, found = Random(f"{seed}/templates"), Found()
    cache = Cache()
    while found.attempts < count:
        text = _text(rng, 20)
        found.attempts += 1
        for work in (
            lambda text=text: Template.parse(text),
            lambda text=text: cache.key(text),
            lambda text=text: checked_tags([text]),
        ):
            try:
                work()
            except (CacheError, TypeError):  # TypeError: a field without its value
                continue
            except BaseException as error:
                found.foreign[f"{error.__class__.__name__}: {str(error)[:80]} for {text!r}"] += 1
    return found


SCHEMES = ("memory", "redis", "rediss", "unix", "redis+cluster", "redis+sentinel", "http", "", "MEMORY", "é")
OPTIONS = (
    "max_entries=10",
    "max_entries=-1",
    "max_entries=x",
    "nope=1",
    "timeout=2",
    "timeout=z",
    "copy=codec",
    "=",
    "a=b=c",
    "max_bytes=1e3",
    "db=x",
    "%ff=1",
)


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None


def urls(seed: int, count: int) -> Found:
    """Open stores by made-up URLs with a password: a store or an error of ours, which keeps the secret."""
    rng, found = Random(f"{seed}/urls"), Found()
    while found.attempts < count:
        host = rng.choice(
            ("localhost", "127.0.0.1:6379", "[::1]:1", "host:99999", "a,b:2", "", _text(rng, 6))
        )
        options = "&".join(rng.choice(OPTIONS) for _ in range(rng.randrange(3)))
        path = rng.choice(("", "/0", "/x", "/mymaster/0", "/tmp/s", _text(rng, 5)))
        url = f"{rng.choice(SCHEMES)}://user:{SECRET}@{host}{path}{'?' if options else ''}{options}"
        if rng.random() < 0.1:
            place = rng.randrange(len(url))
            url = url[:place] + _text(rng, 3) + url[place:]
        whole = _password(url) == SECRET  # else it stands where nobody would look for one
        found.attempts += 1
        try:
            said = repr(open_store(url))
        except CacheError as error:
            said = f"{error} {error.__cause__} {error.__context__}"
        except BaseException as error:
            found.foreign[f"{error.__class__.__name__}: {str(error)[:80]} for {url!r}"] += 1
            continue
        if whole and SECRET in said:
            found.accepted += 1
            found.foreign[f"a secret is told: {said[:100]}"] += 1
    return found
