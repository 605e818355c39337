"""What other caching libraries do where it matters: behaviours that are run, not read about."""
