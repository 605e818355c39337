"""`acache inspect` and `acache invalidate`: look into a remote store that others use, and drop from it."""
