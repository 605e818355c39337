"""Programs that put figures to the promises. Run by `nox -s prove`, `nox -s fuzz` and `nox -s chaos`."""
