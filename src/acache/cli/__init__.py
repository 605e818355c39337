"""The `acache` command. Knows only how to start the app, or what to install where it cannot."""

import sys

_PARTS = frozenset({"typer", "rich", "aiosqlite", "uvicorn"})
_USAGE_ERROR = 2


def main() -> None:
    """Run the command line; exits with 0, or with 2 where the call or the installation is incomplete."""
    try:
        from acache.cli.app import app  # an import of acache.cli needs none of the extra's packages
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PARTS:
            raise
        sys.stderr.write(f'acache: {package} is not installed; run: pip install "acache-core[cli]"\n')
        raise SystemExit(_USAGE_ERROR) from None
    app()
