"""`python -m acache.cli` is `acache`."""

from acache.cli import main

main()
