"""The demo: five ways to cache, one database, the same traffic. Knows only acache's public API."""
