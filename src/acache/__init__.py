"""asyncio-native caching."""
