"""Run every behaviour against every library and print the table of the comparison page.

`--check FILE` compares it with the page, `--write FILE` puts it there, each between two markers."""

import argparse
import json
import logging
import sys
import warnings
from pathlib import Path

from benchmarks.peers.behaviours import answers
from benchmarks.peers.libraries import LIBRARIES, versions

BEGIN, END = "<!-- begin: run by benchmarks/peers -->", "<!-- end -->"


def table(found: dict[str, dict[str, tuple[bool, str]]]) -> str:
    names = list(LIBRARIES)
    told = versions()
    lines = [
        "| | " + " | ".join(f"{name} {told[name]}" for name in names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for question, row in found.items():
        cells = [f"**{text}**" if good else text for good, text in (row[name] for name in names)]
        lines.append(f"| {question} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--check", type=Path, metavar="FILE")
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    found = answers(LIBRARIES)
    text = table(found)
    if options.json:
        print(json.dumps({"versions": versions(), "answers": found}, indent=2))
        return
    print(text)
    file = options.check or options.write
    if file is None:
        return
    page = file.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    held, _, after = rest.partition(END)
    if options.write is not None:
        file.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    elif held.strip() != text:
        sys.exit(f"{file} says something else: python -m benchmarks.peers --write {file}")


if __name__ == "__main__":
    main()
