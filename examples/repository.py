"""A repository over PostgreSQL: reads through a cache, writes through it, and hears of other writers.

    python examples/repository.py postgresql://localhost/shop

It makes a table `products` there. While it runs, change a row with psql: the next line it prints is right."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal

import asyncpg

from acache import Cache, WriteThrough
from acache_postgres import PostgresChanges, PostgresTable, transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS products (
    id bigint PRIMARY KEY, name text NOT NULL, price numeric(10, 2) NOT NULL CHECK (price >= 0),
    stock integer NOT NULL DEFAULT 0 CHECK (stock >= 0), labels text[] NOT NULL DEFAULT '{}'
);
CREATE TABLE IF NOT EXISTS sales (
    product_id bigint REFERENCES products, quantity integer NOT NULL, sold_at timestamptz DEFAULT now()
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One row of `products`."""

    id: int
    name: str
    price: Decimal
    stock: int = 0
    labels: tuple[str, ...] = ()


class OutOfStock(Exception):
    """There are fewer than were asked for."""


class Products:
    """All that the shop does with products. Typed; nobody above it knows of SQL or of a cache."""

    def __init__(self, cache: Cache, pool: asyncpg.Pool) -> None:
        self._cache = cache
        self._pool = pool
        self._rows: WriteThrough[int, Product] = WriteThrough(
            cache,
            PostgresTable[int, Product](pool, "products", type=Product),
            key="product:{}",
            tags=["products"],
            type=Product,
            ttl=300,
        )
        self.labelled = cache.cached("labelled:{label}", ttl=60, tags=["products"])(self._labelled)

    async def get(self, product_id: int) -> Product | None:
        """Concurrent calls for different products become one query."""
        return await self._rows.get(product_id)

    async def get_many(self, product_ids: Iterable[int]) -> dict[int, Product]:
        return await self._rows.get_many(product_ids)

    async def save(self, *products: Product) -> None:
        """One statement, whatever their number; SourceRefused names the ids that PostgreSQL refused."""
        await self._rows.put_many({product.id: product for product in products})

    async def reprice(self, product_id: int, price: Decimal) -> Product:
        """Change one field of what the database holds now."""

        def change(product: Product | None) -> Product:
            if product is None:
                raise LookupError(product_id)
            return replace(product, price=price)

        return await self._rows.update(product_id, change)

    async def remove(self, *product_ids: int) -> None:
        await self._rows.remove(*product_ids)

    async def sell(self, product_id: int, quantity: int) -> None:
        """Two tables in one transaction. Nobody is served from the cache what it made old."""
        key = self._rows.key(product_id)
        async with transaction(self._cache, self._pool, key, tags=["products"]) as work:
            take = "UPDATE products SET stock = stock - $2 WHERE id = $1 AND stock >= $2"
            if await work.connection.execute(take, product_id, quantity) == "UPDATE 0":
                raise OutOfStock(product_id)
            await work.connection.execute(
                "INSERT INTO sales (product_id, quantity) VALUES ($1, $2)", product_id, quantity
            )

    async def _labelled(self, label: str) -> list[int]:
        """Return the ids of what carries a label, cheapest first."""
        rows = await self._pool.fetch(
            "SELECT id FROM products WHERE labels @> ARRAY[$1] ORDER BY price, id", label
        )
        return [row["id"] for row in rows]


@asynccontextmanager
async def products_in(url: str, cache: Cache) -> AsyncGenerator[Products]:
    """Open the repository; while it is open, what any program writes to its table is noticed."""
    async with asyncpg.create_pool(url, min_size=1) as pool:
        await pool.execute(SCHEMA)
        # A row stands for its own key; "products" is on everything that was made of the table.
        changes = PostgresChanges(
            pool, cache, tables={"products": "product:{id}"}, tags={"products": "products"}
        )
        async with changes:
            yield Products(cache, pool)


async def main(url: str) -> None:
    async with Cache("memory://?max_entries=10000") as cache, products_in(url, cache) as products:
        lamp = Product(id=1, name="lamp", price=Decimal("42.00"), stock=3, labels=("light",))
        await products.save(lamp, replace(lamp, id=2, name="candle", price=Decimal("2.50")))
        print("cheapest light:", (await products.labelled("light"))[0])
        await products.sell(1, 1)
        for _ in range(60):
            print(await products.get(1), cache.stats().loads, "loads")
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
