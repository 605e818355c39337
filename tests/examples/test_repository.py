"""The example of a repository over PostgreSQL, on a server of its own."""

import asyncio
import sys
from dataclasses import replace
from decimal import Decimal
from importlib import util
from pathlib import Path

import pytest
import pytest_asyncio

from acache import Cache
from acache.errors import SourceRefused

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.asyncio, pytest.mark.real]


def module(name, path):
    spec = util.spec_from_file_location(name, path)
    made = sys.modules[name] = util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def server():
    launcher = module("example_server", ROOT / "backends/acache-postgres/tests/postgres_server.py")
    with launcher.postgres() as server:
        yield server


@pytest.fixture(scope="module")
def example():
    return module("repository_example", ROOT / "examples/repository.py")


@pytest.fixture
def lamp(example):
    return example.Product(id=1, name="lamp", price=Decimal("42.00"), stock=3, labels=("light",))


@pytest_asyncio.fixture
async def cache():
    async with Cache() as cache:
        yield cache


@pytest_asyncio.fixture
async def products(example, server, cache):
    server.psql("DROP TABLE IF EXISTS sales, products")
    async with example.products_in(server.url, cache) as products:
        yield products


async def until(true, seconds=10):
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.005)


async def test_what_is_saved_is_read_without_a_query_each(products, cache, lamp):
    many = {n: replace(lamp, id=n, name=f"lamp {n}") for n in range(1, 101)}
    await products.save(*many.values())
    before = cache.stats().loads
    assert list(await asyncio.gather(*map(products.get, many))) == list(many.values())
    assert await products.get_many([*many, 1000]) == many
    assert await products.get(1000) is None
    assert cache.stats().loads - before <= 3


async def test_a_write_is_read_at_once_and_so_is_every_list_of_it(products, lamp):
    await products.save(lamp)
    assert await products.labelled("light") == [1]
    await products.save(replace(lamp, id=2, price=Decimal("2.50")))
    assert await products.labelled("light") == [2, 1]
    assert (await products.reprice(1, Decimal("1.25"))).price == Decimal("1.25")
    assert await products.labelled("light") == [1, 2]
    await products.remove(1)
    assert await products.labelled("light") == [2]
    assert await products.get(1) is None


async def test_a_sale_changes_two_tables_or_none(products, example, server, lamp):
    await products.save(lamp)
    await products.sell(1, 2)
    assert (await products.get(1)).stock == 1
    with pytest.raises(example.OutOfStock):
        await products.sell(1, 2)
    assert (await products.get(1)).stock == 1
    assert server.psql("SELECT sum(quantity) FROM sales") == "2"


async def test_what_the_database_refuses_is_named_and_not_cached(products, lamp):
    await products.save(lamp)
    with pytest.raises(SourceRefused) as refused:
        await products.save(replace(lamp, stock=9), replace(lamp, id=2, price=Decimal(-1)))
    assert refused.value.keys == (2,)
    assert await products.get(1) == lamp


async def test_what_psql_writes_is_noticed(products, server, lamp):
    await products.save(lamp)
    assert await products.get(1) == lamp
    assert await products.labelled("new") == []
    server.psql("UPDATE products SET stock = 7, labels = '{new}' WHERE id = 1")

    async def seen():
        return (await products.get(1)).stock == 7 and await products.labelled("new") == [1]

    await until(seen)
