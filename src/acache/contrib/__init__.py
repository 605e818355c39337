"""Three lines of glue for frameworks. Knows no framework: only how each of them starts and stops things."""

from acache.contrib.lifespan import WithLifespan, cleanup_context, lifespan

__all__ = ["WithLifespan", "cleanup_context", "lifespan"]
