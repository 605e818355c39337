"""A picture of early refresh: how likely it has begun, against the time to expiry. Pure: figures to SVG."""

from typing import Final

from acache._stats import duration
from acache.cli.demo.svg import Point, Scale, element, line, path, picture, round_up, text
from acache.cli.xfetch import head_start, refreshed_before

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM = 640, 300, 52, 610, 250
POINTS: Final = 160
STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #57606a; } .grid { stroke: #8886; }
.line { fill: none; stroke-width: 2; }
.b0 { stroke: #3b6fd4; } .b1 { stroke: #0b8464; } .b2 { stroke: #cf3f55; }
.t0 { fill: #3b6fd4; } .t1 { fill: #0b8464; } .t2 { fill: #cf3f55; }
@media (prefers-color-scheme: dark) { text { fill: #9aa6b5; } }
"""


def plot(*, ttl: float, load_time: float, rate: float, beta: float) -> str:
    """Return an SVG document with curves for *beta*, half of it and twice as much; times in seconds."""
    betas = [beta / 2, beta, beta * 2] if beta else [0.5, 1.0, 2.0]
    longest = max(head_start(rate=rate, delta=load_time, beta=each) for each in betas)
    across = Scale(low=0.0, high=min(ttl, round_up(2 * longest)), start=RIGHT, end=LEFT)
    up = Scale(low=0.0, high=1.0, start=BOTTOM, end=14)
    ticks = [across.high * step / 5 for step in range(6)]
    drawing = picture(
        WIDTH,
        HEIGHT,
        f"Refreshes begun by the time to expiry: {rate:g} reads a second, load {load_time:g} s",
        element("style", STYLE),
        *(
            line((LEFT, up(share)), (RIGHT, up(share)), class_="grid")
            + text(f"{share:.0%}", LEFT - 8, up(share) + 4, text_anchor="end")
            for share in (0.0, 0.25, 0.5, 0.75, 1.0)
        ),
        *(
            text(duration(lead) if lead else "expiry", across(lead), BOTTOM + 20, text_anchor="middle")
            for lead in ticks
        ),
        text("time to expiry", (LEFT + WIDTH) / 2, BOTTOM + 42, text_anchor="middle"),
        *(
            element("path", d=path(_curve(across, up, rate, load_time, each)), class_=f"line b{number}")
            + text(f"beta {each:g}", LEFT + 12, 30 + 18 * number, class_=f"t{number}")
            for number, each in enumerate(betas)
        ),
    )
    return drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def _curve(across: Scale, up: Scale, rate: float, load_time: float, beta: float) -> list[Point]:
    leads = [across.high * step / POINTS for step in range(POINTS + 1)]
    return [
        (across(lead), up(refreshed_before(lead, rate=rate, delta=load_time, beta=beta))) for lead in leads
    ]
