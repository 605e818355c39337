"""What a ttl, a load time, a request rate and a beta mean together: closed forms, and a check of them.

The check draws Poisson reads in virtual time and asks the very function that decides in a cache."""

import random
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from acache._entry import Entry
from acache._policy import EARLY, MISS, Policy, decide
from acache._stats import duration
from acache.cli.xfetch import head_start, herd, refreshed_before, unrefreshed

READS: Final = 1_000_000  # that the check draws at most, about
EXPIRIES: Final = 4_000  # that it looks at, at most
NEVER: Final = 36.7368  # times beta·delta before expiry no draw can fire: U has 53 bits
USUAL: Final = 0.95  # share of refreshes done by expiry, above which the herd at expiry does not matter
STEPS: Final = 14  # rows of the plot


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One key as it is used. Times in seconds, reads per second."""

    ttl: float
    load_time: float
    rate: float
    beta: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What happens around one expiry, on average."""

    head_start: float  # seconds before expiry that the refresh begins
    unrefreshed: float  # share of expiries that no refresh comes before: their readers wait
    herd: float | None  # loads where every reader that fires reloads by itself; None: no closed form


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A situation, what theory says of it, and what was drawn."""

    situation: Situation
    seed: int
    expiries: int
    expected: Figures
    drawn: Figures

    @property
    def waste(self) -> float:
        """The share of its ttl that a value loses to early refresh."""
        return self.expected.head_start / self.situation.ttl

    @property
    def naive(self) -> float:
        """Loads per expiry where nothing protects: the read that finds nothing, and all during its load."""
        return 1 + self.situation.rate * self.situation.load_time

    def as_dict(self) -> dict[str, Any]:
        """Return every figure."""
        return asdict(self) | {"waste": self.waste, "loads_per_expiry_unprotected": self.naive}


def simulate(situation: Situation, *, seed: int) -> Simulation:
    """Compute, and draw as many expiries as are quick to draw."""
    rate, delta, beta = situation.rate, situation.load_time, situation.beta
    ahead = refreshed_before(delta, rate=rate, delta=delta, beta=beta)
    expected = Figures(
        head_start=head_start(rate=rate, delta=delta, beta=beta),
        unrefreshed=unrefreshed(rate=rate, delta=delta, beta=beta),
        herd=herd(beta=beta) if ahead > USUAL else None,
    )
    each = rate * (_window(situation) + delta) + 1
    expiries = max(20, min(EXPIRIES, int(READS / each)))
    drawn = _draw(situation, expiries, random.Random(seed))
    return Simulation(situation=situation, seed=seed, expiries=expiries, expected=expected, drawn=drawn)


def _window(situation: Situation) -> float:
    return min(situation.ttl, NEVER * situation.beta * situation.load_time)


def _draw(situation: Situation, expiries: int, rng: random.Random) -> Figures:
    policy = Policy(ttl=situation.ttl, beta=situation.beta)
    entry = Entry.of(
        None, born=0.0, fresh_until=situation.ttl, delta=situation.load_time, beta=situation.beta
    )
    heads, late, loads = 0.0, 0, 0
    for _ in range(expiries):
        first, count = _expiry(situation, entry, policy, rng)
        heads += max(0.0, situation.ttl - first)
        late += first >= situation.ttl
        loads += count
    return Figures(head_start=heads / expiries, unrefreshed=late / expiries, herd=loads / expiries)


def _expiry(situation: Situation, entry: Entry, policy: Policy, rng: random.Random) -> tuple[float, int]:
    """Return when the first read reloads, and how many do before its load is done."""
    now = situation.ttl - _window(situation)
    first, loads = None, 0
    while True:
        now += rng.expovariate(situation.rate)
        if first is not None and now >= first + situation.load_time:
            return first, loads
        if decide(entry, now=now, rand=1.0 - rng.random(), policy=policy) in (EARLY, MISS):
            first = now if first is None else first
            loads += 1


def render(result: Simulation, console: Console) -> None:
    """Print a table, a plot and what follows from them."""
    of, expected, drawn = result.situation, result.expected, result.drawn
    console.print(
        f"\nA key read {of.rate:g} times a second, whose load takes {duration(of.load_time)}, "
        f"with ttl={of.ttl:g} and beta={of.beta:g}.\n",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("closed form", justify="right")
    table.add_column(f"{result.expiries:,} expiries drawn", justify="right")
    head = "refresh begins before expiry by"
    table.add_row(head, duration(expected.head_start), duration(drawn.head_start))
    missed = map(_share, (expected.unrefreshed, drawn.unrefreshed))
    table.add_row("expiries that no refresh precedes", *missed)
    table.add_row("reloads at once, uncoalesced XFetch", _number(expected.herd), _number(drawn.herd))
    table.add_row("reloads at once, unprotected cache", f"{result.naive:,.4g}", "")
    table.add_row("reloads at once, acache", "1", "")
    table.add_row("share of the ttl given away", _share(result.waste), "")
    console.print(table)
    if of.beta and expected.head_start:
        console.print("\n[bold]Refreshed so long before expiry[/]")
        _plot(of, expected.head_start, console)
    for advice in _advice(result):
        console.print(f"- {advice}", highlight=False)


def _plot(of: Situation, head: float, console: Console) -> None:
    width = max(10, min(60, console.width - 24))
    top = min(of.ttl, ceil(4 * head / (of.beta * of.load_time)) * of.beta * of.load_time)
    for step in range(STEPS, -1, -1):
        lead = top * step / STEPS
        share = refreshed_before(lead, rate=of.rate, delta=of.load_time, beta=of.beta)
        bar = "█" * round(share * width)
        console.print(f"{duration(lead) if lead else 'expiry':>9} {bar} {_share(share)}", highlight=False)
    console.print("", highlight=False)


def _advice(result: Simulation) -> list[str]:
    of, expected = result.situation, result.expected
    advice: list[str] = []
    if result.waste > 0.5:
        advice.append("over half of the ttl is given away: lower beta, or raise the ttl")
    if expected.unrefreshed > 0.5:
        advice.append(
            "read too seldom for early refresh: most expiries are met by a read that waits; "
            "stale_while_revalidate would spare it"
        )
    if of.load_time > of.ttl:
        advice.append("a load takes longer than its value lives: raise the ttl")
    if not advice:
        advice.append("a refresh is nearly always ahead of expiry, and costs little of the ttl")
    return advice


def _number(number: float | None) -> str:
    return "–" if number is None else f"{number:,.3g}"


def _share(share: float) -> str:
    return f"{share:.2%}" if share < 0.9995 or share == 1 else ">99.9%"
