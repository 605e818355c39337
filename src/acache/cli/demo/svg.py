"""SVG as text: elements, scales and paths. Knows no data and no colour."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from math import floor, log10

Point = tuple[float, float]


def element(tag: str, *children: str, **attributes: object) -> str:
    """Return an element; `class_` becomes `class`, `stroke_width` `stroke-width`. Children are markup."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for name, value in attributes.items()
    )
    return f"<{tag}{given}>{''.join(children)}</{tag}>"


def text(words: str, x: float, y: float, **attributes: object) -> str:
    """Return a line of text at a point; *words* are escaped."""
    return element("text", escape(words), x=x, y=y, **attributes)


def line(start: Point, end: Point, **attributes: object) -> str:
    """Return a straight line."""
    return element("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], **attributes)


def path(points: Iterable[Point]) -> str:
    """Return the `d` of a path through *points*."""
    return "M" + "L".join(f"{_text(x)},{_text(y)}" for x, y in points)


def picture(width: float, height: float, title: str, *children: str) -> str:
    """Return a figure that scales with the page; *title* is what a screen reader says."""
    return element(
        "svg", *children, viewBox=f"0 0 {_text(width)} {_text(height)}", role="img", aria_label=title
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Maps values from *low* to *high* onto pixels, what is outside onto the nearer end."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of *value*."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, value = log10(low), log10(high), log10(value)
        share = (value - low) / (high - low) if high > low else 0.0
        return self.start + share * (self.end - self.start)


def round_up(value: float) -> float:
    """Return the next 1, 2, 4 or 6 times a power of ten that is not below *value*; 1 where it is 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 4, 6, 10) if step * power >= value)


def _text(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
