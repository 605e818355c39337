"""The result as one self-contained HTML page. Knows the results and the pictures, not the run."""

from collections.abc import Iterable
from html import escape
from importlib.resources import files

from acache.cli.demo.charts import latencies, queries_over_time, series, stale_reads
from acache.cli.demo.result import DemoResult, RefreshResult, StrategyResult, TagsResult, WritesResult
from acache.cli.demo.words import (
    HEADINGS,
    NOTES,
    WRITE_HEADINGS,
    cells,
    kill_verdict,
    milliseconds,
    refresh_verdict,
    setting,
    write_cells,
    writes_story,
)


def page(result: DemoResult) -> str:
    """Return the page: no script, no font, no picture from elsewhere."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>acache demo, seed {result.seed}</title>
<style>
{_style()}</style>
</head>
<body>
<h1>One database, five ways to cache it</h1>
<p>{escape(setting(result))}</p>
{_summary(result.strategies)}
<h2>Queries that reached the database</h2>
<p>Queries per second; all pictures have the same scale.</p>
{queries_over_time(result.strategies)}
<h2>How long readers waited</h2>
<p>The share of the reads that took longer than a time; lower and further left is better. A read that was
unfinished at the end counts with its age.</p>
{_legend(result.strategies)}
<figure class="wide">{latencies(result.strategies)}</figure>
<h2>Stale reads</h2>
<p>Reads that began after an invalidation had returned, and still got a row older than the commit
before it.</p>
<figure class="wide">{stale_reads(result.strategies)}</figure>
{_refresh(result.refresh)}
{_tags(result.tags)}
{_writes(result.writes)}
</body>
</html>
"""


def _style() -> str:
    return files("acache.cli.demo").joinpath("page.css").read_text(encoding="utf-8")


def _summary(results: tuple[StrategyResult, ...]) -> str:
    head = "".join(f'<th class="wrap">{escape(heading)}</th>' for heading in HEADINGS)
    body = "".join(
        _row(result, number, last=number == len(results) - 1) for number, result in enumerate(results)
    )
    notes = "<br>".join(escape(note) for note in NOTES)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div><p><small>{notes}</small></p>'


def _row(result: StrategyResult, number: int, *, last: bool) -> str:
    name, *numbers = cells(result)
    figures = "".join(f"<td>{figure}</td>" for figure in numbers)
    own = ' class="own"' if last else ""
    return f"<tr{own}><td>{_dot(number)}{escape(name)}</td>{figures}</tr>"


def _dot(number: int) -> str:
    return f'<span class="dot {series(number)}"></span>'


def _legend(results: Iterable[StrategyResult]) -> str:
    names = (f"<span>{_dot(number)}{escape(result.name)}</span>" for number, result in enumerate(results))
    return f'<div class="legend">{"".join(names)}</div>'


def _refresh(result: RefreshResult) -> str:
    rows = "".join(
        f"<tr><td>user:{key.key}</td><td>{key.reads_per_second:,.0f}</td><td>{milliseconds(key.mean_load_ms)}</td>"
        f"<td>{milliseconds(key.measured_head_start_ms)}</td><td>{milliseconds(key.head_start_ms)}</td>"
        f"<td>{key.loads}</td><td>{key.expected:.1f}</td></tr>"
        for key in result.keys
    )
    return f"""<h2>Early refresh against its theory</h2>
<p>{escape(refresh_verdict(result))}</p>
<div class="scroll"><table><tr><th>key</th><th>reads/s</th><th>load ms</th><th>head start ms</th>
<th>closed form ms</th><th>loads</th><th>expected</th></tr>{rows}</table></div>"""


def _tags(result: TagsResult) -> str:
    rows = "".join(
        f"<tr><td>{escape(line.key)}</td><td>{escape(', '.join(line.tags))}</td>"
        f"<td>{'kept' if line.kept else 'dropped'}</td>"
        f"<td>{escape(line.before)}</td><td>{escape(line.after)}</td></tr>"
        for line in result.keys
    )
    return f"""<h2>One tag invalidated</h2>
<p>A user's orders changed; <code>cache.invalidate(tags=["{escape(result.tag)}"])</code> drops what shows
them and nothing else.</p>
<div class="scroll"><table class="words">
<tr><th>key</th><th>tags</th><th>then</th><th>before</th><th>next read</th></tr>
{rows}</table></div>"""


def _writes(result: WritesResult) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in WRITE_HEADINGS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in write_cells(pattern)) + "</tr>"
        for pattern in result.patterns
    )
    return f"""<h2>Written through, written behind</h2>
<p>{escape(writes_story(result))}</p>
<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>
<p>{escape(kill_verdict(result.kill))}</p>"""
