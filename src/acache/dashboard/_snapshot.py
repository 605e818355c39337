"""What the page shows of caches and patterns at one moment, as plain JSON. Keys and figures, no values."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from acache import Cache, WriteBehind
from acache._stats import FunctionReport
from acache.dashboard._recent import Recent

MOST_LETTERS: Final = 20


def of_cache(cache: Cache, recent: Recent) -> dict[str, Any]:
    """Return the figures of one cache."""
    return {
        "namespace": cache.namespace,
        "health": asdict(cache.health()),
        "stats": asdict(cache.stats()) | {"hit_ratio": cache.stats().hit_ratio},
        "functions": [_of_function(function) for function in cache.report().functions],
        "guarantees": dict(cache.guarantees),
        "invalidations": list(recent.invalidations),
        "troubles": list(recent.troubles),
        "tags": recent.tags[:MOST_LETTERS],
    }


def _of_function(function: FunctionReport) -> dict[str, Any]:
    return {
        "name": function.name,
        **asdict(function.stats),
        "hit_ratio": function.stats.hit_ratio,
        "load_p50": function.load_p50,
        "load_p99": function.load_p99,
        "hit_p50": function.hit_p50,
        "time_saved": function.time_saved,
        "verdict": function.verdict,
        "warnings": function.warnings,
    }


class Patterns:
    """The write-behind patterns; dead letters are read again only when their number has changed."""

    def __init__(self, patterns: Mapping[str, WriteBehind[Any, Any]]) -> None:
        """Show *patterns* by their names."""
        self._patterns = patterns
        self._letters: dict[str, tuple[int, list[dict[str, Any]]]] = {}

    async def snapshot(self) -> list[dict[str, Any]]:
        """Return the backlog of each, and its first dead letters."""
        return [
            {"name": name, **asdict(pattern.backlog), "letters": await self._dead(name, pattern)}
            for name, pattern in self._patterns.items()
        ]

    async def _dead(self, name: str, pattern: WriteBehind[Any, Any]) -> list[dict[str, Any]]:
        count, known = self._letters.get(name, (0, []))
        now = pattern.backlog.dead
        if count == now:
            return known
        letters: list[dict[str, Any]] = []
        async for letter in pattern.dead_letters():
            letters.append(
                {"key": letter.key, "error": letter.error, "attempts": letter.attempts, "at": letter.at}
            )
            if len(letters) == MOST_LETTERS:
                break
        self._letters[name] = (now, letters)
        return letters
