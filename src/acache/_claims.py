"""What stands on a name: the lease of one loader or the fences of writers. Pure: no clock, no I/O.

The rules, which every store with claims repeats at its own side of the wire:

- A name holds one lease or any number of fences. Each is a token, and ends at a time.
- No lease is granted under a fence or another's lease; a fence ends a lease.
- Whoever changes the name otherwise ends its lease or *taints* its fences. A taint is of the name,
  not of a token, and ends when the last fence has gone.
- A token may store only while it is present, alone and untainted: then nobody else can have
  changed the name since the token was given.

Keys and tags are names alike; a user keeps one `Claims` for each.
"""

from collections.abc import Iterator
from math import inf
from typing import final


@final
class Standing:
    """The claims on one name. Read it; only `Claims` changes it."""

    __slots__ = ("shared", "tainted", "tokens")

    def __init__(self, *, shared: bool) -> None:
        """Begin with no token."""
        self.shared = shared  # fences, else one lease
        self.tainted = False
        self.tokens: dict[bytes, float] = {}  # each with the time at which it ends


@final
class Claims:
    """The claims on many names. *now* and *until* are readings of one clock, in seconds.

    Without them nothing ever ends by itself: so a process uses it for its own blocks. A name is
    known only while something stands on it; ended claims go when their name is next used, or all
    of them by `expire`.
    """

    __slots__ = ("_names",)

    def __init__(self) -> None:
        """Begin with nothing standing."""
        self._names: dict[str, Standing] = {}

    def __len__(self) -> int:
        """Count the names on which something stands, or ended unnoticed."""
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        """Go through those names."""
        return iter(self._names)

    def of(self, name: str, *, now: float = 0.0) -> Standing | None:
        """Return what stands on *name*, None if nothing does."""
        standing = self._names.get(name)
        if standing is None:
            return None
        tokens = standing.tokens
        if min(tokens.values()) <= now:
            for token in [token for token, until in tokens.items() if until <= now]:
                del tokens[token]
        if tokens:
            return standing
        del self._names[name]
        return None

    def fenced(self, name: str, *, now: float = 0.0) -> bool:
        """Tell whether a fence stands on *name*."""
        if name not in self._names:  # what is usual, asked for every load
            return False
        standing = self.of(name, now=now)
        return standing is not None and standing.shared

    def sole(self, name: str, token: bytes, *, now: float = 0.0) -> bool:
        """Tell whether *token* may store: present, alone and untainted."""
        standing = self.of(name, now=now)
        return standing is not None and [*standing.tokens] == [token] and not standing.tainted

    def lease(self, name: str, token: bytes, *, until: float = inf, now: float = 0.0) -> bool:
        """Make *token* the only loader, or prolong it; False under a fence or another's lease."""
        standing = self.of(name, now=now)
        if standing is None:
            standing = self._names[name] = Standing(shared=False)
        elif standing.shared or token not in standing.tokens:
            return False
        _prolong(standing, token, until)
        return True

    def fence(self, name: str, token: bytes, *, until: float = inf, now: float = 0.0) -> None:
        """Let *token* keep others from storing; it changes the name, except for itself."""
        standing = self.of(name, now=now)
        if standing is None or not standing.shared:
            standing = self._names[name] = Standing(shared=True)
        elif [*standing.tokens] != [token]:
            standing.tainted = True
        _prolong(standing, token, until)

    def taint(self, name: str, *, now: float = 0.0) -> None:
        """Note that *name* was changed by somebody without a claim: end its lease, taint its fences."""
        standing = self.of(name, now=now)
        if standing is None:
            return
        if standing.shared:
            standing.tainted = True
        else:
            del self._names[name]

    def taint_all(self) -> None:
        """Note that everything was changed."""
        self._names = {name: standing for name, standing in self._names.items() if standing.shared}
        for standing in self._names.values():
            standing.tainted = True

    def renew(self, name: str, token: bytes, *, until: float = inf, now: float = 0.0) -> bool:
        """Prolong *token*'s claim, never shorten it; False if it is no longer there."""
        standing = self.of(name, now=now)
        if standing is None or token not in standing.tokens:
            return False
        _prolong(standing, token, until)
        return True

    def release(self, name: str, token: bytes, *, now: float = 0.0) -> None:
        """End *token*'s claim and nobody else's."""
        standing = self.of(name, now=now)
        if standing is not None and standing.tokens.pop(token, None) is not None and not standing.tokens:
            del self._names[name]

    def expire(self, *, now: float) -> None:
        """Forget everything that has ended."""
        for name in list(self._names):
            self.of(name, now=now)


def _prolong(standing: Standing, token: bytes, until: float) -> None:
    standing.tokens[token] = max(until, standing.tokens.get(token, until))
