"""Run a scenario under many seeds, and tell a person how to see a failure again. Knows no event loop."""

import gc
import os
import platform
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata

from acache.testing._schedule import FailureKind, Outcome, Plan, Scenario, run_schedule
from acache.testing._schedulers import SchedulerName

SEED_VARIABLE = "ACACHE_SEED"
"""The environment variable whose number replaces the seeds of every `explore`, to replay one failure."""

_SHOWN_STEPS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A schedule that went wrong. `str()` of it names all that is needed to see it again."""

    kind: FailureKind
    message: str
    seed: int
    scheduler: SchedulerName
    replay: str
    """One line of Python that runs this very schedule."""
    trace: Sequence[tuple[float, str]]
    """Every task step and note, with its virtual time in seconds."""
    error: BaseException | None = None
    """The exception behind it, if any; kept for the first failure of an exploration only."""

    def __str__(self) -> str:
        shown = self.trace[-_SHOWN_STEPS:]
        return "\n".join(
            [
                f"{self.kind}: {self.message}",
                f"seed {self.seed}, scheduler {self.scheduler}; {_versions()}",
                f"replay: {self.replay}",
                *_replay_in_pytest(self.seed),
                f"the last {len(shown)} of {len(self.trace)} steps:",
                *(f"  {time:.6f} {text}" for time, text in shown),
            ]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """What came of running a scenario under many seeds."""

    schedules: int
    """How many schedules were run."""
    turns: int
    """How many turns they had together."""
    failures: tuple[Failure, ...]
    faults: int = 0
    """How many faults struck: what `Sim.sometime` did, and what fakes told `Sim.fault`."""

    @property
    def first(self) -> Failure | None:
        """Return the first failure, or None."""
        return self.failures[0] if self.failures else None

    @property
    def first_failing_seed(self) -> int | None:
        """Return the seed of the first failure, or None."""
        return self.failures[0].seed if self.failures else None


class ViolationFound(AssertionError):
    """A schedule went wrong; the message is the failure's, `exploration` has the rest."""

    def __init__(self, failure: Failure, exploration: Exploration) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.exploration = exploration


class ViolationMissed(AssertionError):
    """No schedule went wrong although one was expected to: the planted bug was not caught."""


def explore(
    scenario: Scenario,
    *,
    seeds: Iterable[int] = range(200),
    scheduler: SchedulerName = "random",
    depth: int = 3,
    steps: int | None = None,
    max_steps: int = 20_000,
    timeout: float = 20.0,
    keep_going: bool = False,
    expect_violation: bool = False,
    detail: bool = False,
) -> Exploration:
    """Run *scenario*, an async function of one `Sim`, once per seed, and return what came of it.

    A schedule fails when the scenario raises or a `Sim.check` does not hold ("check", "error"), nothing can
    run ("deadlock"), more than *max_steps* turns are run ("livelock"), unfinished tasks are left ("leak"), an
    error was never looked at or a callback raised ("unhandled"), or after *timeout* seconds of real time
    ("timeout").

    *scheduler* is "random", "pct" or "fifo". PCT finds bugs of *depth* ordering constraints; it spreads its
    change points over *steps* turns, by default as many as a schedule in FIFO order has. *detail* puts the
    line where each task stood into the trace. The environment variable ACACHE_SEED replaces the seeds.

    Stops at the first failure and raises ViolationFound, or after all seeds with *keep_going*. With
    *expect_violation*, the use for planted bugs, a failure is returned and its absence raises
    ViolationMissed. Raises RuntimeError inside a running event loop."""
    plan = Plan(
        scheduler=scheduler,
        depth=depth,
        steps=steps or 0,
        max_steps=max_steps,
        timeout=timeout,
        detail=detail,
    )
    failures: list[Failure] = []
    schedules = turns = faults = 0
    with _collecting_by_hand():
        if scheduler == "pct" and steps is None:
            plan = replace(plan, steps=run_schedule(scenario, 0, replace(plan, scheduler="fifo")).turns)
        for seed in _chosen(seeds):
            outcome = run_schedule(scenario, seed, plan)
            schedules += 1
            turns += outcome.turns
            faults += outcome.faults
            if outcome.kind is not None:
                failures.append(_failure(scenario, seed, plan, outcome, keep_error=not failures))
                if not keep_going:
                    break
    found = Exploration(schedules=schedules, turns=turns, faults=faults, failures=tuple(failures))
    return _judged(scenario, found, expect_violation=expect_violation)


def _judged(scenario: Scenario, found: Exploration, *, expect_violation: bool) -> Exploration:
    failure = found.first
    if expect_violation and failure is None:
        raise ViolationMissed(f"{_name(scenario)} went well under all {found.schedules} seeds")
    if failure is not None and not expect_violation:
        raise ViolationFound(failure, found) from failure.error
    return found


def _chosen(seeds: Iterable[int]) -> Iterable[int]:
    only = os.environ.get(SEED_VARIABLE)
    return seeds if only is None else [int(only)]


@contextmanager
def _collecting_by_hand() -> Generator[None]:
    """Keep the garbage collector from running finalizers at moments that no seed governs."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _failure(scenario: Scenario, seed: int, plan: Plan, outcome: Outcome, *, keep_error: bool) -> Failure:
    assert outcome.kind is not None
    return Failure(
        kind=outcome.kind,
        message=outcome.message,
        seed=seed,
        scheduler=plan.scheduler,
        replay=_replay(scenario, seed, plan),
        trace=outcome.trace,
        error=outcome.error if keep_error else None,
    )


def _replay(scenario: Scenario, seed: int, plan: Plan) -> str:
    pct = f", depth={plan.depth}, steps={plan.steps}" if plan.scheduler == "pct" else ""
    return f'explore({_name(scenario)}, seeds=[{seed}], scheduler="{plan.scheduler}"{pct}, detail=True)'


def _name(scenario: Scenario) -> str:
    return getattr(scenario, "__qualname__", None) or repr(scenario)


def _replay_in_pytest(seed: int) -> Iterator[str]:
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    if test:
        yield f'or:     {SEED_VARIABLE}={seed} {sys.executable} -m pytest "{test}"'


def _versions() -> str:
    packages = ", ".join(f"{name} {_version(name)}" for name in ("acache-core", "anyio"))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {packages}, PYTHONHASHSEED={os.environ.get('PYTHONHASHSEED', 'random')}"


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
