"""Draw bars and lines as SVG that stands alone. Knows no benchmark: numbers and words in, markup out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, floor, log10

from acache.cli.demo.svg import Point, Scale, element, line, path, picture, text

WIDTH = 760
LEFT, RIGHT, TOP, BOTTOM = 190, 90, 58, 46
BAR, GAP, LETTER = 18, 8, 15  # pixels: of a bar, between groups, from one label to the next
OURS = "acache"
INK, FAINT, PALE = "#1f2933", "#66727f", "#e4e7eb"
ACCENT = "#3f51b5"
OTHERS = ("#8895a7", "#d08770", "#5a9e7c", "#b48ead", "#c9a227", "#4c8fb3", "#a3a3a3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """What is drawn: the numbers of each series, by the name of a bar or by a place on the x axis."""

    title: str
    unit: str
    series: Mapping[str, Mapping[str, float] | Mapping[float, float]]
    across: str = ""  # what the x axis counts; empty: bars
    under: Sequence[str] = field(default=())  # small print
    logarithmic: bool = True


def draw(plot: Plot) -> str:
    """Return the figure."""
    height, *marks = _lines(plot) if plot.across else _bars(plot)
    print_from = height + 8
    height = print_from + LETTER * len(plot.under) + 10
    small = [
        text(words, 16, print_from + LETTER * (number + 1), fill=FAINT, font_size=11)
        for number, words in enumerate(plot.under)
    ]
    title = text(plot.title, 16, 28, fill=INK, font_size=16, font_weight=600)
    back = element("rect", width=WIDTH, height=height, rx=8, fill="#ffffff", stroke=PALE)
    figure = picture(WIDTH, height, plot.title, back, title, *marks, *small)
    own = '<svg xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" font-size="12" '
    return figure.replace("<svg ", own, 1) + "\n"


def colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each series; ours stands out."""
    others = [name for name in names if name != OURS]
    return {OURS: ACCENT, **{name: OTHERS[n % len(OTHERS)] for n, name in enumerate(others)}}


def short(value: float) -> str:
    """Return a number as a label: three digits, thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _axis(
    values: Sequence[float], start: float, end: float, *, logarithmic: bool
) -> tuple[Scale, list[float]]:
    """Return a scale on which all *values* are, and where it has ticks."""
    if logarithmic:
        low, high = floor(log10(min(values))), ceil(log10(max(values)))
        high = max(high, low + 1)
        ticks = [10.0**power for power in range(low, high + 1)]
    else:
        step = 10.0 ** floor(log10(max(values)))
        step = step / 2 if max(values) / step < 3 else step
        ticks = [step * number for number in range(ceil(max(values) / step) + 1)]
    scale = Scale(low=ticks[0], high=ticks[-1], start=start, end=end, logarithmic=logarithmic)
    return scale, ticks


def _bars(plot: Plot) -> list[object]:
    groups = list(dict.fromkeys(name for values in plot.series.values() for name in values))
    tone = colours(list(plot.series))
    numbers = [value for values in plot.series.values() for value in values.values()]
    scale, ticks = _axis(numbers, LEFT, WIDTH - RIGHT, logarithmic=plot.logarithmic)
    marks, y = [], float(TOP)
    single = len(plot.series) == 1
    if not single:
        marks.append(_legend(list(plot.series), tone, y))
        y += LETTER + 6
    top = y
    for group in groups:
        begin = y
        for name, values in plot.series.items():
            value = dict(values).get(group)  # type: ignore[call-overload]
            if value is None:
                continue
            ours = single and str(group).startswith(OURS)
            fill = ACCENT if ours else OTHERS[0] if single else tone[name]
            end = scale(value)
            marks += [
                element("rect", x=LEFT, y=y, width=max(end - LEFT, 1.0), height=BAR - 4, rx=2, fill=fill),
                text(short(value), end + 5, y + BAR - 7, fill=INK, font_size=11),
            ]
            y += BAR
        middle = (begin + y) / 2 + 2
        marks.append(text(str(group), LEFT - 8, middle, text_anchor="end", fill=INK))
        y += GAP
    grid = [line((scale(tick), top - 4), (scale(tick), y), stroke=PALE) for tick in ticks]
    names = [
        text(short(tick), scale(tick), y + 14, text_anchor="middle", fill=FAINT, font_size=11)
        for tick in ticks
    ]
    unit = text(plot.unit, WIDTH - 16, 28, text_anchor="end", fill=FAINT, font_size=11)
    return [y + 20, *grid, *marks, *names, unit]


def _legend(names: Sequence[str], tone: Mapping[str, str], y: float) -> str:
    x, parts = float(LEFT), []
    for name in names:
        parts.append(element("rect", x=x, y=y - 8, width=10, height=10, rx=2, fill=tone[name]))
        parts.append(text(name, x + 15, y + 1, fill=INK, font_size=11))
        x += 30 + 7 * len(name)
    return "".join(parts)


def _lines(plot: Plot) -> list[object]:
    left, floor_y = 64, 330
    points = {name: sorted(dict(values).items()) for name, values in plot.series.items()}  # type: ignore[arg-type]
    across, x_ticks = _axis(
        [x for each in points.values() for x, _ in each], left, WIDTH - RIGHT - 60, logarithmic=True
    )
    up, y_ticks = _axis(
        [y for each in points.values() for _, y in each], floor_y, TOP + 14, logarithmic=plot.logarithmic
    )
    tone = colours(list(points))
    marks = [text(plot.unit, 16, TOP, fill=FAINT, font_size=11)]
    for tick in y_ticks:
        marks.append(line((left, up(tick)), (WIDTH - RIGHT - 60, up(tick)), stroke=PALE))
        marks.append(text(short(tick), left - 6, up(tick) + 4, text_anchor="end", fill=FAINT, font_size=11))
    for tick in x_ticks:
        marks.append(line((across(tick), floor_y), (across(tick), floor_y + 4), stroke=FAINT))
        marks.append(
            text(short(tick), across(tick), floor_y + 18, text_anchor="middle", fill=FAINT, font_size=11)
        )
    marks.append(
        text(plot.across, (left + WIDTH - RIGHT - 60) / 2, floor_y + 36, text_anchor="middle", fill=FAINT)
    )
    for name, each in points.items():
        placed: list[Point] = [(across(x), up(y)) for x, y in each]
        width = 2.5 if name == OURS else 1.8
        marks.append(element("path", d=path(placed), fill="none", stroke=tone[name], stroke_width=width))
        marks += [element("circle", cx=x, cy=y, r=3, fill=tone[name]) for x, y in placed]
    ends = {name: (across(each[-1][0]), up(each[-1][1])) for name, each in points.items()}
    for name, y in _apart({name: y for name, (_, y) in ends.items()}).items():
        marks.append(text(name, ends[name][0] + 8, y + 4, fill=tone[name], font_weight=600))
    return [float(floor_y + BOTTOM), *marks]


def _apart(heights: Mapping[str, float]) -> dict[str, float]:
    """Return where to put labels that would overlap."""
    ordered = dict(sorted(heights.items(), key=lambda item: item[1]))
    for upper, lower in pairwise(ordered):
        ordered[lower] = max(ordered[lower], ordered[upper] + LETTER)
    return ordered
