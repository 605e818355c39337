"""What a cache is made of, and how the parts are put together."""

import random
import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Any, Literal, cast

from acache._copying import CopyingStore
from acache._engine import Engine
from acache._envelope import Sealer
from acache._fleet_writes import Fleet
from acache._leases_here import LeasesHere
from acache._memory import MemoryStore
from acache._packing import Packer
from acache._policy import Policy, check_policy
from acache._process import Process
from acache._registry import find_codec, open_store
from acache._remote import LeasingStore, Remote
from acache._solo import Solo
from acache._stats import SAMPLE_EVERY
from acache._types import UNSET, NewId
from acache._verifying import PATIENCE, Verifier
from acache.clock import SYSTEM_CLOCK, Clock
from acache.codecs import BUILTIN, AnyCodec, MsgpackCodec, check_signing, check_type
from acache.errors import ConfigurationError
from acache.protocols import Codec, Failover, Feed, Leases, LocalStore, RemoteStore

NO_DEFAULTS = Policy()
DEFAULT_NEAR = "memory://?max_entries=10000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of a cache, as they were given. Its repr shows no secrets: a URL may hold a password."""

    store: str | LocalStore | RemoteStore | None = field(default=None, repr=False)
    near: str | LocalStore | bool | None = field(default=None, repr=False)
    namespace: str = "default"
    policy: Policy = NO_DEFAULTS
    codec: str | Codec | None = None
    signing_keys: tuple[bytes, ...] = field(default=(), repr=False)
    max_loads: int | None = None
    max_queue: int = 10_000
    max_staleness: float = 5.0
    max_ttl: float = 30 * 86_400.0
    max_value_bytes: int = 16 * 1024 * 1024
    failover_window: float = 30.0
    wait_replicas: int = 0
    verify: float = 0.0
    inherit_context: tuple[ContextVar[Any], ...] = ()
    on_lost_invalidation: Literal["retry", "raise"] = "retry"
    clock: Clock = SYSTEM_CLOCK
    rng: random.Random | None = None
    ids: NewId | None = None

    def but(self, **options: Any) -> "Settings":
        """Return these settings with others in place of some; TypeError names an unknown one."""
        unknown = sorted(options.keys() - set(self.__slots__))
        if unknown:
            del options  # see Cache.__init__
            raise TypeError(f"unknown option {unknown[0]!r}; known are {', '.join(self.__slots__)}")
        return replace(self, **options)


def build(settings: Settings) -> Engine:
    """Return an engine of these parts; nothing is connected and no loop is needed.

    Raises ConfigurationError for parts that do not fit together."""
    check(settings)
    codec = _codec(settings)
    store = open_store(settings.store) if isinstance(settings.store, str) else settings.store
    if store is None:
        store = open_store(DEFAULT_NEAR)
    if is_local(store):
        if settings.near is not None and settings.near is not False:
            raise ConfigurationError("near= stands in front of a remote store; this cache is local already")
        process = _process(settings, copying(cast("LocalStore", store), codec))
        return verified(Engine(process, Solo(process)), settings.verify)
    if is_remote(store):
        return verified(_fleet(settings, cast("RemoteStore", store), codec), settings.verify)
    if isinstance(store, type):
        raise ConfigurationError(f"{store.__name__} is a class: pass a store, {store.__name__}(...)")
    raise ConfigurationError(
        f"{type(store).__name__} is no store: it has neither the methods of a LocalStore nor those of a"
        " RemoteStore, see acache.protocols"
    )


def check(settings: Settings) -> None:
    """Raise ConfigurationError for a value that makes no sense, naming the option and the remedy."""
    namespace: object = settings.namespace
    if not isinstance(namespace, str) or not re.fullmatch(r"[\w.-]+", namespace, re.ASCII):
        raise ConfigurationError(
            f"namespace={namespace!r}: use letters, digits, '_', '.' and '-', at least one of them"
        )
    for name in ("max_loads", "max_queue", "max_staleness", "max_ttl", "max_value_bytes"):
        if not (name == "max_loads" and settings.max_loads is None) and not _number(settings, name) > 0:
            raise ConfigurationError(f"{name}={getattr(settings, name)!r} must be more than zero")
    for name in ("failover_window", "wait_replicas"):
        if not _number(settings, name) >= 0:
            raise ConfigurationError(f"{name}={getattr(settings, name)!r} must not be less than zero")
    if not 0 <= _number(settings, "verify") <= 1:
        raise ConfigurationError(f"verify={settings.verify!r} is a share of the hits: between 0 and 1")
    if settings.on_lost_invalidation not in ("retry", "raise"):
        raise ConfigurationError(
            f'on_lost_invalidation={settings.on_lost_invalidation!r} must be "retry" or "raise"'
        )
    variables: tuple[object, ...] = settings.inherit_context
    for variable in variables:
        if not isinstance(variable, ContextVar):
            kind = type(variable).__name__
            raise ConfigurationError(
                f"inherit_context= takes ContextVars, the variables themselves, not {kind}"
            )
    if check_policy(settings.policy).ttl is not UNSET:
        raise ConfigurationError(
            "policy= of a cache may carry everything but ttl: name it where values are made"
        )


def _number(settings: Settings, name: str) -> float:
    value: object = getattr(settings, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{name}={value!r} must be a number")
    return value


def _process(settings: Settings, near: LocalStore | None) -> Process:
    if near is not None:
        adopt_clock(near, settings.clock)
    return Process(
        store=near,
        policy=settings.policy,
        clock=settings.clock,
        rng=settings.rng,
        ids=settings.ids,
        max_loads=settings.max_loads,
        max_queue=settings.max_queue,
        inherit=settings.inherit_context,
    )


def _fleet(settings: Settings, store: RemoteStore, codec: AnyCodec) -> Engine:
    if isinstance(store, Failover):
        store.expect_failover(window=settings.failover_window, wait_replicas=settings.wait_replicas)
    elif settings.wait_replicas:
        raise ConfigurationError(
            f"wait_replicas= needs a remote store with replicas; {type(store).__name__} knows of none"
        )
    leasing = cast("LeasingStore", store if isinstance(store, Leases) else LeasesHere(store, settings.clock))
    near = _near(settings, store)
    process = _process(settings, None if near is None else copying(near, codec))
    process.max_join_age = settings.max_staleness
    process.check_type = partial(check_type, codec)
    remote = Remote(leasing, namespace=settings.namespace, process=process)
    sealer = Sealer(
        settings.namespace, signing_keys=settings.signing_keys, max_bytes=settings.max_value_bytes
    )
    fleet = Fleet(
        process,
        remote,
        Packer(codec, sealer, settings.clock),
        max_staleness=settings.max_staleness,
        max_ttl=settings.max_ttl,
        raises=settings.on_lost_invalidation == "raise",
    )
    return Engine(process, fleet)


def verified(engine: Engine, share: float) -> Engine:
    """Return *engine*, with *share* of its hits checked in the background."""
    if share:
        process = engine.process
        # A generated hit path samples every so many hits; chance then elects among those.
        process.sample_every = max(1, min(SAMPLE_EVERY, int(1 / share)))
        patience = PATIENCE if process.max_join_age == inf else max(PATIENCE, process.max_join_age)
        process.verifier = Verifier(process, engine.authority.finder, share=share, patience=patience)
    return engine


def _near(settings: Settings, store: RemoteStore) -> LocalStore | None:
    if settings.near is None or settings.near is False:  # an empty store is falsy, too
        return None
    if not isinstance(store, Feed):
        raise ConfigurationError(
            f"near= needs a remote store that tells what others change; {type(store).__name__} has no feed"
        )
    # Not by a variable: errors are reported with those of their frames, and a URL may hold a password.
    near = (
        open_store(DEFAULT_NEAR if settings.near is True else settings.near)
        if isinstance(settings.near, str | bool)
        else settings.near
    )
    if not is_local(near):
        raise ConfigurationError("near= takes a local store, such as MemoryStore or a memory:// URL")
    return cast("LocalStore", near)


def copying(store: LocalStore, codec: AnyCodec) -> LocalStore:
    """Return *store*, behind copies if it asks for them."""
    if isinstance(store, MemoryStore) and store.copy == "codec":
        return CopyingStore(store, codec)
    return store


def _codec(settings: Settings) -> AnyCodec:
    codec = settings.codec
    if codec is None:
        return MsgpackCodec()
    if isinstance(codec, str):
        codec = cast("AnyCodec", BUILTIN[codec]() if codec in BUILTIN else find_codec(codec)())
    check_signing(codec, settings.signing_keys)
    return codec


def is_local(store: object) -> bool:
    """Say whether *store* has the methods of a LocalStore."""
    return _has(store, ("lookup", "put", "drop", "drop_tag", "clear"))


def is_remote(store: object) -> bool:
    """Say whether *store* has the methods of a RemoteStore."""
    return _has(store, ("get_many", "set_many", "delete_many", "aclose"))


def _has(store: object, names: Iterable[str]) -> bool:
    return not isinstance(store, type) and all(hasattr(store, name) for name in names)


def adopt_clock(store: object, clock: Clock) -> None:
    """Let a store that reads a clock read the cache's."""
    if hasattr(store, "clock"):
        setattr(store, "clock", clock)  # noqa: B010 - the protocol does not know it
