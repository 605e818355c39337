"""The policies of direct calls: planned once, remembered after. Pure; knows no cache."""

from typing import Final

from acache._policy import Options, Policy, over, plan

MAX_PLANS: Final = 256


class Plans:
    """From what a call names to its policy, over the *defaults* of a cache."""

    __slots__ = ("_defaults", "_known")

    def __init__(self, defaults: Policy) -> None:
        """Remember nothing yet."""
        self._defaults = defaults
        self._known: dict[object, Policy] = {}

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._known)

    def of(
        self, where: str, policy: Policy | None, options: Options, default: Policy | None = None
    ) -> Policy:
        """Return the policy of a call of the method *where*, whose own *default* gives way to the cache's.

        Raises NoInvalidationPlan, InvalidPolicy and TypeError."""
        seen = (where, policy, *options.items(), *map(type, options.values()))
        try:
            known = self._known.get(seen)
        except TypeError:  # an unhashable option, which the policy refuses below
            known, seen = None, ()
        if known is None:
            base = self._defaults
            base = over(base, default) if default is not None else base
            known = plan(where, options, policy=policy, default=base, plannable=True)
            if len(self._known) < MAX_PLANS:
                self._known[seen] = known
        return known
