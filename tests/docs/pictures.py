"""The pictures of the architecture, as SVG: floors of modules, and who says what to whom in which order.

Knows how to draw, and the tables of steps that are drawn; what imports what it asks the code."""

import re
from pathlib import Path
from textwrap import wrap

from acache.cli.demo.svg import element, line, picture, text

ROOT = Path(__file__).parents[2]
CORE = ROOT / "src" / "acache"
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f; } .small { font-size: 11px; fill: #57606a; }
.code { font-family: ui-monospace, monospace; font-size: 12px; }
.box { fill: #eef3fb; stroke: #3b6fd4; } .pure { fill: #e7f4ee; stroke: #0b8464; }
.life { stroke: #8886; stroke-dasharray: 4 4; } .arrow { stroke: #3b6fd4; stroke-width: 1.5; } .back { stroke-dasharray: 5 3; }
.head { fill: #3b6fd4; } .note { fill: #fff6da; stroke: #c99a1a; }
@media (prefers-color-scheme: dark) {
  text { fill: #d6dde6; } .small { fill: #9aa6b5; } .box { fill: #1c2638; } .pure { fill: #14271f; } .note { fill: #322a12; }
}
"""

# --- floors -----------------------------------------------------------------------------------------


def floors(table, imports, home):
    """Draw the floors of *table* (number, names, remark), each with the floors that it imports from.

    *imports* and *home* are those of the test that enforces the table."""
    rows = sorted(table, reverse=True)
    where = {name: number for number, names, _ in rows for name in names}
    below = {number: set() for number, _, _ in rows}
    for path in sorted(CORE.rglob("*.py")):
        name = home(path.relative_to(CORE))
        if name in where:
            below[where[name]] |= {where[other] for other in imports(path) if other in where} - {where[name]}
    parts, y = [], 10
    for number, names, remark in rows:
        lines = wrap("  ".join(names), 84)
        height = 20 + 16 * len(lines)
        kind = "pure" if "pure" in remark else "box"
        parts += [
            element("rect", x=40, y=y, width=630, height=height - 6, rx=5, class_=kind),
            text(str(number), 30, y + 19, text_anchor="end"),
            *(text(each, 52, y + 19 + 16 * at, class_="code") for at, each in enumerate(lines)),
            text("uses " + (_spans(below[number]) or "none"), 684, y + 19, class_="small"),
        ]
        y += height
    return _svg(860, y + 4, "Modules by floor; each imports only from floors below it", *parts)


def _spans(numbers):
    """Write 0, 1, 2, 5 as 0–2, 5."""
    found = []
    for number in sorted(numbers):
        if found and found[-1][-1] == number - 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(
        f"{each[0]}–{each[-1]}" if len(each) > 2 else ", ".join(map(str, each)) for each in found
    )


# --- ways -------------------------------------------------------------------------------------------
# A step is (from, to, words); from one to itself it is a note. "< " first: what comes back.

READ = (
    "A read",
    ("caller", "engine", "near store", "remote store", "source"),
    [
        ("caller", "engine", "get_user(42)"),
        ("engine", "near store", "lookup"),
        ("near store", "near store", "decide(): fresh → served, no await at all"),
        ("engine", "remote store", "entry and tag versions, one MGET"),
        ("remote store", "remote store", "tag versions equal? → served"),
        ("engine", "engine", "a flight: later callers of the key wait here"),
        ("engine", "remote store", "lease, naming the entry it saw"),
        ("remote store", "engine", "< granted (or: wait for the holder)"),
        ("engine", "source", "load; the lease is renewed meanwhile"),
        ("source", "engine", "< value"),
        ("engine", "remote store", "commit under the lease"),
        ("remote store", "remote store", "refused if the lease is gone or tainted"),
        ("engine", "near store", "kept, if nothing was dropped since it began"),
        ("engine", "caller", "< value, to every waiter"),
    ],
)
INVALIDATION = (
    "An invalidation",
    ("caller", "engine", "flights here", "remote store", "other processes"),
    [
        ("caller", "engine", "invalidate(tags=[…])"),
        ("engine", "flights here", "void: served to their waiters, not stored"),
        ("engine", "remote store", "drop entries, tag versions, leases: one round trip"),
        ("remote store", "remote store", "a load's commit is refused from here on"),
        ("remote store", "other processes", "a message, with the last of it"),
        ("other processes", "other processes", "near copies dropped, flights void"),
        ("remote store", "engine", "< done (away: pending, retried)"),
        ("engine", "flights here", "void once more: those that began meanwhile"),
        ("engine", "caller", "< returns"),
    ],
)
FENCE = (
    "A fenced write",
    ("caller", "fence", "remote store", "database", "readers anywhere"),
    [
        ("caller", "fence", "async with cache.writing(…)"),
        ("fence", "remote store", "drop, and claim: fence"),
        ("caller", "database", "BEGIN … UPDATE"),
        ("readers anywhere", "database", "load"),
        ("readers anywhere", "readers anywhere", "served, not stored: FENCED"),
        ("caller", "database", "COMMIT"),
        ("caller", "fence", "writer.commit(key, row), end of the block"),
        ("fence", "remote store", "settle: new tag versions; end the claim"),
        ("fence", "remote store", "store the row, if no other writer came"),
        ("remote store", "readers anywhere", "message: void what you loaded"),
        ("fence", "caller", "< returns: nobody gets the old row any more"),
    ],
)
WAYS = {"read": READ, "invalidation": INVALIDATION, "fenced-write": FENCE}

COLUMN, TOP, STEP = 160, 64, 44


def way(title, actors, steps):
    """Draw steps between actors, from top to bottom."""
    x = {actor: 80 + COLUMN * at for at, actor in enumerate(actors)}
    bottom = TOP + STEP * len(steps) + 4
    parts = []
    for actor in actors:
        parts += [
            line((x[actor], 40), (x[actor], bottom), class_="life"),
            element("rect", x=x[actor] - 68, y=10, width=136, height=30, rx=5, class_="box"),
            text(actor, x[actor], 30, text_anchor="middle"),
        ]
    for at, (start, end, words) in enumerate(steps):
        y = TOP + STEP * at + 18
        parts += (
            _note(words, x[start], y, 80 + COLUMN * len(actors) - 80)
            if start == end
            else _arrow(words, x[start], x[end], y)
        )
    return _svg(COLUMN * len(actors), bottom + 8, title, *parts)


def _arrow(words, start, end, y):
    back = words.startswith("< ")
    towards = 1 if end > start else -1
    tip = f"{end},{y} {end - 9 * towards},{y - 5} {end - 9 * towards},{y + 5}"
    yield line((start, y), (end - 6 * towards, y), class_="arrow back" if back else "arrow")
    yield element("polygon", points=tip, class_="head")
    width = abs(end - start)
    middle = (start + end) / 2
    # Short arrows carry two lines, the second below.
    lines = wrap(words.removeprefix("< "), max(22, int(width / 6.4)))
    for at, each in enumerate(lines):
        yield text(each, middle, y - 5 if at == 0 else y + 13 * at + 1, text_anchor="middle", class_="small")


def _note(words, middle, y, width):
    wide = len(words) * 6.1 + 18
    left = min(max(4, middle - wide / 2), width - wide - 4)
    yield element("rect", x=left, y=y - 15, width=wide, height=24, rx=3, class_="note")
    yield text(words, left + wide / 2, y + 1, text_anchor="middle", class_="small")


def _svg(width, height, title, *parts):
    drawing = picture(width, height, title, element("style", STYLE), *parts)
    # Each element on a line of its own, so that a change shows as one.
    drawing = re.sub(r"(?<=>)(?=<(?:rect|line|text|polygon|path)\b)", "\n", drawing)
    return drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"
