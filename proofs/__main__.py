"""Put figures to the promises: `python -m proofs prove`, `fuzz` or `chaos`, each with --json FILE."""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

from proofs._figures import render, versions

PROOFS = {
    "prove": "the promises under the simulator, and the planted bugs that it has to find",
    "fuzz": "damaged and hostile bytes, keys, templates, URLs and journal files",
    "chaos": "real servers behind a bad network, killed, stopped and restarted",
}


def main(given: list[str] | None = None) -> int:
    """Run one proof, print its table and say by the exit code whether it holds."""
    parser = argparse.ArgumentParser(prog="proofs", description=__doc__)
    chosen = parser.add_subparsers(dest="proof", required=True)
    for name, what in PROOFS.items():
        if not (Path(__file__).parent / f"{name}.py").exists():
            continue
        command = chosen.add_parser(name, help=what)
        command.add_argument("--json", type=Path, help="also write the figures to this file")
        importlib.import_module(f"proofs.{name}").arguments(command)
    options = parser.parse_args(given)
    started = time.monotonic()
    figures, more = importlib.import_module(f"proofs.{options.proof}").run(options)
    print(f"\n{render(figures)}")
    found = versions()
    print(", ".join(f"{name} {version}" for name, version in found.items()))
    if options.json:
        told = {
            "proof": options.proof,
            "seconds": round(time.monotonic() - started, 1),
            "versions": found,
            "figures": [figure.as_dict() for figure in figures],
            **more,
        }
        options.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return 1 if any(figure.failed for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
