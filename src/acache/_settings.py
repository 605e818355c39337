"""What a cache is made of, and how the parts are put together."""

import random
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal

from acache._engine import Engine
from acache._policy import Policy
from acache._process import Process
from acache._registry import open_store
from acache._solo import Solo
from acache._types import NewId
from acache.clock import SYSTEM_CLOCK, Clock
from acache.errors import ConfigurationError
from acache.protocols import Codec, LocalStore, RemoteStore

DEFAULT_NEAR = "memory://?max_entries=10000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of a cache, as they were given."""

    store: str | LocalStore | RemoteStore | None = None
    near: str | LocalStore | bool | None = None
    namespace: str = "default"
    policy: Policy = Policy()
    codec: str | Codec | None = None
    signing_keys: tuple[bytes, ...] = ()
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
            raise TypeError(f"unknown option {unknown[0]!r}; known are {', '.join(self.__slots__)}")
        return replace(self, **options)


def build(settings: Settings) -> Engine:
    """Return an engine of these parts; nothing is connected and no loop is needed."""
    store = open_store(settings.store) if isinstance(settings.store, str) else settings.store
    if store is None or is_local(store):
        if settings.near:
            raise ConfigurationError("near= stands in front of a remote store; this cache is local already")
        return _solo(settings, store)
    raise ConfigurationError(f"{type(store).__name__} is no store: see acache.protocols")


def _solo(settings: Settings, store: Any) -> Engine:
    if store is None:
        store = open_store(DEFAULT_NEAR)
    adopt_clock(store, settings.clock)
    process = Process(
        store=store,
        policy=settings.policy,
        clock=settings.clock,
        rng=settings.rng,
        ids=settings.ids,
        max_loads=settings.max_loads,
        max_queue=settings.max_queue,
        inherit=settings.inherit_context,
    )
    return Engine(process, Solo(process))


def is_local(store: object) -> bool:
    """Say whether *store* has the methods of a LocalStore."""
    return _has(store, ("lookup", "put", "drop", "drop_tag", "clear"))


def is_remote(store: object) -> bool:
    """Say whether *store* has the methods of a RemoteStore."""
    return _has(store, ("get_many", "set_many", "delete_many", "aclose"))


def _has(store: object, names: Iterable[str]) -> bool:
    return all(hasattr(store, name) for name in names)


def adopt_clock(store: object, clock: Clock) -> None:
    """Let a store that reads a clock read the cache's."""
    if hasattr(store, "clock"):
        store.clock = clock  # type: ignore[attr-defined]
