"""The three pictures of the page. Knows the results and SVG, not the page around them."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from acache.cli.demo.result import StrategyResult
from acache.cli.demo.svg import Point, Scale, element, line, path, picture, round_up, text

_LATENCY_TICKS: Final = (
    (0.001, "1 µs"),
    (0.01, "10 µs"),
    (0.1, "0.1 ms"),
    (1.0, "1 ms"),
    (10.0, "10 ms"),
    (100.0, "0.1 s"),
    (1_000.0, "1 s"),
    (10_000.0, "10 s"),
)
_SHARE_TICKS: Final = ((1.0, "all"), (0.1, "10 %"), (0.01, "1 %"), (0.001, "0.1 %"))


def series(number: int) -> str:
    """Return the class that gives the strategy of this *number* its colour."""
    return f"s{number}"


def queries_over_time(results: Sequence[StrategyResult]) -> str:
    """Return one small picture per strategy, all on one scale: queries per second over the run."""
    top = round_up(
        max((max(result.queries_over_time) / result.bucket_seconds for result in results), default=1)
    )
    panels = (_panel(result, number, top=top) for number, result in enumerate(results))
    return f'<div class="panels">{"".join(panels)}</div>'


def _panel(result: StrategyResult, number: int, *, top: float) -> str:
    width, height, left, bottom = 300, 130, 34, 108
    across = Scale(low=0, high=result.seconds, start=left, end=width - 8)
    up = Scale(low=0, high=top, start=bottom, end=14)
    steps = list(_steps(result, across, up))
    outline = [(across(0), up(0)), *steps, (across(result.seconds), up(0))]
    drawing = picture(
        width,
        height,
        f"{result.name}: queries per second over {result.seconds:.1f} seconds",
        *(
            line((left, up(value)), (width - 8, up(value)), class_="grid")
            + text(f"{value:.0f}", left - 5, up(value) + 4, text_anchor="end")
            for value in (0.0, top / 2, top)
        ),
        element("path", d=path(outline) + "Z", class_=f"area {series(number)}"),
        text("0 s", left, height - 6),
        text(f"{result.seconds:.1f} s", width - 8, height - 6, text_anchor="end"),
    )
    caption = f"<b>{escape(result.name)}</b> {result.queries:,} queries"
    return f"<figure><figcaption>{caption}</figcaption>{drawing}</figure>"


def _steps(result: StrategyResult, across: Scale, up: Scale) -> Iterator[Point]:
    for number, count in enumerate(result.queries_over_time):
        y = up(count / result.bucket_seconds)
        yield across(number * result.bucket_seconds), y
        yield across((number + 1) * result.bucket_seconds), y


def latencies(results: Sequence[StrategyResult]) -> str:
    """Return the share of the reads that took longer than a time, both axes logarithmic."""
    width, height, left, bottom = 480, 270, 46, 238
    across = Scale(low=0.001, high=10_000, start=left, end=width - 16, logarithmic=True)
    up = Scale(low=0.001, high=1, start=bottom, end=10, logarithmic=True)
    return picture(
        width,
        height,
        "Share of the reads that took longer than a time, for each strategy",
        *(
            line((across(value), 10), (across(value), bottom), class_="grid")
            + text(label, across(value), height - 10, text_anchor="middle")
            for value, label in _LATENCY_TICKS
        ),
        *(
            line((left, up(value)), (width - 16, up(value)), class_="grid")
            + text(label, left - 6, up(value) + 4, text_anchor="end")
            for value, label in _SHARE_TICKS
        ),
        *(
            element("path", d=path(_slower(result, across, up)), class_=f"line {series(number)}")
            for number, result in enumerate(results)
        ),
    )


def _slower(result: StrategyResult, across: Scale, up: Scale) -> Iterator[Point]:
    share = 1.0
    yield across(0.0), up(share)
    for fraction, latency in result.latency_ms:
        yield across(latency), up(share)
        share = 1 - fraction
        yield across(latency), up(share)


def stale_reads(results: Sequence[StrategyResult]) -> str:
    """Return one bar per strategy: reads that got an older row than they had to."""
    width, row, left = 480, 28, 140
    height = row * len(results) + 6
    across = Scale(
        low=0,
        high=max((result.stale_reads for result in results), default=0) or 1,
        start=0,
        end=width - left - 56,
    )
    return picture(
        width,
        height,
        "Stale reads of each strategy",
        *(
            text(result.name, left - 10, row * number + 19, text_anchor="end", class_="name")
            + element(
                "rect",
                x=left,
                y=row * number + 4,
                width=max(across(result.stale_reads), 1.5),
                height=row - 10,
                rx=3,
                class_=f"bar {series(number)}",
            )
            + text(
                f"{result.stale_reads:,}",
                left + across(result.stale_reads) + 8,
                row * number + 19,
                class_="name",
            )
            for number, result in enumerate(results)
        ),
    )
