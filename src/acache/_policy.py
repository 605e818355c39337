"""Decide what an entry is worth and what a load leaves behind. Pure: no clock, no randomness, no I/O."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import Enum
from math import exp, inf, isnan
from typing import Final, Literal, TypedDict, Unpack, cast

from msgspec import Struct

from acache._entry import Entry
from acache._types import UNSET, Duration, Unset
from acache.errors import InvalidPolicy, NoInvalidationPlan

MISSING_TTL: Final = 60.0  # a row that is not there may be there soon

Refresh = Literal["background", "caller"]


class Options(TypedDict, total=False):
    """The options of every caching call. Durations are seconds, or a timedelta."""

    ttl: Duration | None
    beta: float
    jitter: float
    stale_while_revalidate: Duration
    stale_if_error: Duration
    retry_after: Duration
    missing_ttl: Duration | None
    timeout: Duration | None
    soft_timeout: Duration | None
    max_load_time: Duration | None
    refresh: Refresh
    cache_if: Callable[[object], bool] | None
    near_ttl: Duration | None
    fallback_ttl: Duration
    version: str | None


# --- reading options --------------------------------------------------------------------------------


def seconds(name: str, value: object) -> float:
    """Return a duration as float seconds; InvalidPolicy names *name* if it is none."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidPolicy(f"{name} must be seconds (a number) or a timedelta, not {value!r}")
    number = float(value)
    if isnan(number) or number < 0:
        raise InvalidPolicy(f"{name} must be zero or more seconds, not {value!r}")
    return number


def _factor(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidPolicy(f"{name} must be a number, not {value!r}")
    number = float(value)
    if isnan(number) or number < 0:
        raise InvalidPolicy(f"{name} must be zero or more, not {value!r}")
    if number == inf:
        raise InvalidPolicy(f"{name} must be finite")
    return number


def _finite(name: str, value: object) -> float:
    number = seconds(name, value)
    if number == inf:
        raise InvalidPolicy(f"{name} must be finite; for 'until invalidated' write ttl=None")
    return number


def _optional(name: str, value: object) -> float | None:
    number = inf if value is None else seconds(name, value)
    return None if number == inf else number


def _optional_finite(name: str, value: object) -> float | None:
    return None if value is None else _finite(name, value)


def _fraction(name: str, value: object) -> float:
    number = _factor(name, value)
    if number > 1:
        raise InvalidPolicy(f"{name} must lie between 0 and 1, not {value!r}")
    return number


def _refresh(name: str, value: object) -> object:
    if value not in ("background", "caller"):
        raise InvalidPolicy(f'{name} must be "background" or "caller", not {value!r}')
    return value


def _predicate(name: str, value: object) -> object:
    if value is not None and not callable(value):
        raise InvalidPolicy(f"{name} must be a function of the loaded value, not {value!r}")
    return value


def _text(name: str, value: object) -> object:
    if value is not None and not isinstance(value, str):
        raise InvalidPolicy(f"{name} must be a string, not {value!r}")
    return value


_READ: Final[dict[str, Callable[[str, object], object]]] = {
    "ttl": _optional_finite,
    "beta": _factor,
    "jitter": _fraction,
    "stale_while_revalidate": _finite,
    "stale_if_error": _finite,
    "retry_after": _finite,
    "missing_ttl": _optional_finite,
    "timeout": _optional,
    "soft_timeout": _optional,
    "max_load_time": _optional,
    "refresh": _refresh,
    "cache_if": _predicate,
    "near_ttl": _optional,
    "fallback_ttl": _finite,
    "version": _text,
}


def read_options(options: dict[str, object]) -> dict[str, object]:
    """Return *options* checked, durations as float seconds.

    Raises TypeError for an unknown option and InvalidPolicy for a senseless value."""
    for name in options:
        if name not in _READ:
            from difflib import get_close_matches

            close = get_close_matches(name, _READ, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(_READ)}"
            raise TypeError(f"unknown option {name!r}{hint}")
    return {name: _READ[name](name, value) for name, value in options.items()}


class _Derived:
    """What follows from the options of a policy, for whoever obeys it: no options themselves."""

    __slots__ = ("keep", "named", "patient")

    named: frozenset[str]  # the options that were given, as opposed to defaulted
    patient: bool  # a caller waits for a load as long as it takes
    keep: float  # seconds for which an entry is of use after it stopped being fresh


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Policy(_Derived):
    """How long a value is worth keeping, and what to do at each age. All durations in seconds.

    Share one between functions, or name single options at the call: what the call names overrides
    its `policy=`, which overrides the cache's defaults. Raises InvalidPolicy for a senseless value."""

    ttl: float | Unset | None = UNSET
    """How long a value is fresh; None = until invalidated."""
    beta: float = 1.0
    """XFetch eagerness; 0 turns early refresh off."""
    jitter: float = 0.0
    """The ttl is drawn uniformly from ttl·[1 - jitter, 1]."""
    stale_while_revalidate: float = 0.0
    """After the ttl: serve the old value at once and refresh in the background."""
    stale_if_error: float = 0.0
    """After the ttl: serve the old value only if the load fails or times out."""
    retry_after: float = 1.0
    """After a failed load with a value to serve, the next attempt comes no sooner."""
    missing_ttl: float | None = None
    """Lifetime of a None result; None = min(ttl, 60), 0 = never cached."""
    timeout: float | None = None
    """The caller gets LoadTimeout after this; the load goes on and is stored."""
    soft_timeout: float | None = None
    """With a stale value at hand, serve it after this; the load goes on."""
    max_load_time: float | None = 60.0
    """After this the load itself is cancelled and its waiters get LoadTimeout."""
    refresh: Refresh = "background"
    """Where an early or stale refresh runs: in a task of the cache, or inline in one caller."""
    cache_if: Callable[[object], bool] | None = None
    """Predicate on the loaded value: False = serve, do not store."""
    near_ttl: float | None = None
    """Shorter lifetime of the copy in this process; None = as ttl."""
    fallback_ttl: float = 0.0
    """While the remote store is down, keep loaded values near for this long."""
    version: str | None = None
    """Of the function's result; an entry of another version is a miss."""

    def __init__(self, **options: Unpack[Options]) -> None:
        """Take any of the options above by name."""
        values = read_options(cast("dict[str, object]", options))
        for name, default in _DEFAULTS.items():
            object.__setattr__(self, name, values.get(name, default))
        object.__setattr__(self, "named", frozenset(values))
        object.__setattr__(self, "patient", self.timeout is None and self.soft_timeout is None)
        object.__setattr__(self, "keep", max(self.stale_while_revalidate, self.stale_if_error))

    def __eq__(self, other: object) -> bool:
        """Equal if every option has the same value, however it came by it."""
        if not isinstance(other, Policy):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _DEFAULTS)

    def __hash__(self) -> int:
        """Hash what equality compares."""
        return hash(tuple(getattr(self, name) for name in _DEFAULTS))

    def __repr__(self) -> str:
        """Show what was named."""
        shown = (f"{name}={getattr(self, name)!r}" for name in _DEFAULTS if name in self.named)
        return f"Policy({', '.join(shown)})"

    def __reduce__(self) -> tuple[Callable[[dict[str, object]], "Policy"], tuple[dict[str, object]]]:
        """Copy and pickle it as what was named."""
        return _made_of, ({name: getattr(self, name) for name in self.named},)


_DEFAULTS: Final[dict[str, object]] = {field.name: field.default for field in fields(Policy)}


def _made_of(options: dict[str, object]) -> Policy:
    return Policy(**cast("Options", options))


def over(policy: Policy, base: Policy) -> Policy:
    """Return *base* with what *policy* names put over it."""
    if not base.named:
        return policy
    return _made_of({name: getattr(each, name) for each in (base, policy) for name in each.named})


def _lifetime(policy: Policy, value: object) -> float | None:
    """Return the seconds for which *value* is fresh, before jitter; None until invalidated."""
    ttl: float | None = policy.ttl  # type: ignore[assignment]  # every plan names one
    if value is not None:
        return ttl
    if policy.missing_ttl is not None:
        return policy.missing_ttl
    return MISSING_TTL if ttl is None else min(ttl, MISSING_TTL)


def check_policy(policy: object) -> Policy:
    """Return *policy*; TypeError, saying what to write, if it is none."""
    if not isinstance(policy, Policy):
        raise TypeError(f"policy= takes a Policy, such as Policy(ttl=60), not {type(policy).__name__}")
    return policy


def plan(where: str, options: Options, *, policy: Policy | None, default: Policy, plannable: bool) -> Policy:
    """Return the policy of one caching call.

    *plannable* says whether something could ever invalidate the call's keys: tags, or a key of the
    user's own. Raises NoInvalidationPlan if no ttl is named, or ttl=None without such a way."""
    merged = Policy(**options)
    if policy is not None:
        merged = over(merged, check_policy(policy))
    merged = over(merged, default) if default.named else merged
    if "ttl" not in merged.named:
        raise NoInvalidationPlan(
            f"{where}: say how long the value is good for, ttl=<seconds>, or ttl=None for 'until"
            " invalidated', or give a policy= that names a ttl"
        )
    if merged.ttl is None and not plannable:
        raise NoInvalidationPlan(
            f"{where}: ttl=None keeps values until they are invalidated, and nothing could: add tags="
            " or a key template of your own, or name a ttl"
        )
    return merged


# --- deciding ---------------------------------------------------------------------------------------


class Verdict(Enum):
    """What an entry is worth to a reader."""

    FRESH = "fresh"  # serve
    EARLY = "early"  # serve; XFetch wants it refreshed
    STALE = "stale"  # serve, refresh
    HELD = "held"  # serve; a refresh failed a moment ago
    GRACE = "grace"  # load; serve only if that fails
    MISS = "miss"  # load


FRESH, EARLY, STALE = Verdict.FRESH, Verdict.EARLY, Verdict.STALE
HELD, GRACE, MISS = Verdict.HELD, Verdict.GRACE, Verdict.MISS


def decide(entry: Entry | None, *, now: float, rand: float, policy: Policy, retry_at: float = 0.0) -> Verdict:
    """Return what *entry* is worth at *now*.

    *rand* is uniform in (0, 1], drawn for this read alone. *retry_at* is the earliest time for
    another attempt after a load of the key failed.

    XFetch (Vattani, Chierichetti, Lowenstein, VLDB 2015) refreshes early iff
    now - delta·beta·ln(U) >= fresh_until; comparing U with an exponential saves the logarithm."""
    if entry is None:
        return MISS
    late = now - entry.fresh_until
    if late < 0:
        reach = policy.beta * entry.delta
        fires = reach > 0 and rand <= exp(late / reach)
        return EARLY if fires and now >= retry_at else FRESH
    if late < policy.stale_while_revalidate:
        return STALE if now >= retry_at else HELD
    if late < policy.stale_if_error:
        return GRACE if now >= retry_at else HELD
    return MISS


# --- settling ---------------------------------------------------------------------------------------


class Loaded(Struct, frozen=True, kw_only=True):
    """What a load brought back, with what the loader said about it. Built in C: every load makes one."""

    value: object
    born: float  # when the load began
    delta: float
    ttl: float | Unset | None = UNSET
    tags: tuple[str, ...] = ()
    skip: bool = False
    not_modified: bool = False


class Failed(Struct, frozen=True, kw_only=True):
    """How a load ended without a value."""

    error: BaseException


Outcome = Loaded | Failed
"""How a load ended."""


class Settled(Struct, frozen=True, kw_only=True):
    """What is left after a load: an entry to store, if any, and what the waiters get."""

    entry: Entry | None = None
    value: object = None
    error: BaseException | None = None  # raised, unless `stale`
    stale: bool = False  # the value is the old one, because the load failed
    retry_at: float = 0.0  # no other attempt before this


def settle(outcome: Outcome, old: Entry | None, now: float, policy: Policy, rand: float = 1.0) -> Settled:
    """Return what to store and what to serve after a load.

    *old* is the entry that stood when the load began. *rand*, uniform in (0, 1], draws the jitter.
    Calls the policy's `cache_if`; an error that it raises comes out."""
    if isinstance(outcome, Failed):
        return _settle_failure(outcome.error, old, now=now, policy=policy)
    value = cast("Entry", old).value if outcome.not_modified else outcome.value
    ttl = _lifetime(policy, value) if outcome.ttl is UNSET else outcome.ttl
    refused = outcome.skip or (policy.cache_if is not None and not policy.cache_if(value))
    if refused or (ttl is not None and ttl <= 0 and (value is None or ttl + policy.keep <= 0)):
        return Settled(value=value)
    entry = entry_of(value, ttl, now, policy, rand, outcome.born, outcome.delta, outcome.tags)
    return Settled(entry=entry, value=value)


def entry_of(
    value: object,
    ttl: float | None,
    now: float,
    policy: Policy,
    rand: float = 1.0,
    born: float = 0.0,
    delta: float = 0.0,
    tags: tuple[str, ...] = (),
) -> Entry:
    """Return an entry that is fresh from *now* for *ttl* seconds, less the jitter that *rand* draws."""
    if ttl is None:
        fresh_until = inf
    elif policy.jitter:
        fresh_until = now + ttl * (1 - policy.jitter * (1 - rand))
    else:
        fresh_until = now + ttl
    return Entry.of(
        value,
        born=born,
        fresh_until=fresh_until,
        keep=policy.keep,
        delta=delta,
        beta=policy.beta,
        tags=tags,
        version=policy.version,
    )


def _settle_failure(error: BaseException, old: Entry | None, *, now: float, policy: Policy) -> Settled:
    if old is None or now - old.fresh_until >= policy.keep:
        return Settled(error=error)
    return Settled(value=old.value, error=error, stale=True, retry_at=now + policy.retry_after)


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Return *names* without repetition, in order."""
    return tuple(dict.fromkeys(names))
