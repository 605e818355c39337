"""Batch functions: one loader call for all that is missing, coalesced across callers."""

import asyncio
import inspect
from collections import defaultdict

import pytest

from acache import MISSING, Cache, loading
from acache.errors import LoadCancelled, LoadTimeout, UncacheableArgument
from acache.testing.remote import MemoryRemote
from acache.testing.server import MemoryServer


class Table:
    """A source that notes what it was asked for."""

    def __init__(self):
        self.rows = {number: f"row {number}" for number in range(1, 100)}
        self.asked = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error = None

    async def __call__(self, ids):
        self.asked.append(list(ids))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return {number: self.rows[number] for number in ids if number in self.rows}


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def rows(cache, table):
    @cache.cached_many("row:{}", ttl=60, tags=["row:{}", "rows"])
    async def rows(ids: list[int]) -> dict[int, str]:
        """Return rows."""
        assert type(ids) is list
        return await table(ids)

    return rows


# --- one call ---------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "kind", [list, tuple, set, frozenset, iter, dict.fromkeys, lambda ids: (n for n in ids)]
)
async def test_ids_may_be_any_iterable(rows, table, kind):
    assert await rows(kind([1, 2, 3])) == {1: "row 1", 2: "row 2", 3: "row 3"}
    assert table.asked == [[1, 2, 3]]


@pytest.mark.asyncio
async def test_an_id_named_twice_is_loaded_once(rows, table):
    assert await rows([2, 1, 2, 1]) == {2: "row 2", 1: "row 1"}
    assert table.asked == [[2, 1]]


@pytest.mark.asyncio
async def test_the_result_is_in_the_order_of_the_ids(rows):
    await rows([3])
    assert list(await rows([5, 3, 1])) == [5, 3, 1]


@pytest.mark.asyncio
async def test_no_ids_are_no_call(rows, table):
    assert await rows([]) == {}
    assert table.asked == []


@pytest.mark.asyncio
async def test_only_what_is_missing_is_loaded(rows, table):
    await rows([1, 2])
    assert await rows([2, 3]) == {2: "row 2", 3: "row 3"}
    assert table.asked == [[1, 2], [3]]
    assert (rows.stats().hits, rows.stats().misses, rows.stats().loads) == (1, 3, 2)


@pytest.mark.asyncio
async def test_callers_of_one_tick_share_one_call(rows, table):
    results = await asyncio.gather(rows([1, 2]), rows([2, 3]), rows([4]))
    assert results == [{1: "row 1", 2: "row 2"}, {2: "row 2", 3: "row 3"}, {4: "row 4"}]
    assert table.asked == [[1, 2, 3, 4]]


@pytest.mark.asyncio
async def test_who_comes_after_the_batch_departed_joins_what_is_in_it_and_asks_for_the_rest(
    rows, table, turn
):
    table.gate.clear()
    first = asyncio.create_task(rows([1, 2]))
    await turn()
    second = asyncio.create_task(rows([2, 3]))
    await turn()
    table.gate.set()
    assert (await first, await second) == ({1: "row 1", 2: "row 2"}, {2: "row 2", 3: "row 3"})
    assert table.asked == [[1, 2], [3]]


@pytest.mark.asyncio
async def test_an_endless_number_of_ids_becomes_several_calls(rows, table):
    table.rows.clear()
    assert await rows(range(2_500)) == {}
    assert [len(ids) for ids in table.asked] == [1_000, 1_000, 500]


# --- ids that do not exist --------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_ids_that_do_not_exist_are_left_out_and_remembered(cache, clock, rows, table):
    assert await rows([1, 1000]) == {1: "row 1"}
    assert await rows([1, 1000]) == {1: "row 1"}
    assert table.asked == [[1, 1000]]
    assert await cache.get("row:1000", MISSING) is None
    clock.advance(61)
    await rows([1000])
    assert table.asked == [[1, 1000], [1000]]


@pytest.mark.asyncio
async def test_ids_that_do_not_exist_are_asked_for_again_if_told_so(cache, table):
    @cache.cached_many("row:{}", ttl=60, missing_ttl=0)
    async def rows(ids: list[int]):
        return await table(ids)

    await rows([1, 1000])
    await rows([1, 1000])
    assert table.asked == [[1, 1000], [1000]]


@pytest.mark.asyncio
async def test_a_row_that_came_to_be_is_found_after_its_tag_was_invalidated(cache, rows, table):
    await rows([1000])
    table.rows[1000] = "new"
    await cache.invalidate(tags=["row:1000"])
    assert await rows([1000]) == {1000: "new"}


@pytest.mark.asyncio
async def test_a_mapping_may_hold_none_and_more_than_was_asked_for(cache):
    @cache.cached_many("n:{}", ttl=60)
    async def load(ids: list[int]):
        return defaultdict(list, {1: None, 2: "two", 3: "unasked"})

    assert await load([1, 2, 4]) == {2: "two"}
    assert await cache.get_many(["n:1", "n:2", "n:3", "n:4"]) == {"n:1": None, "n:2": "two", "n:4": None}


# --- tags -------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_each_row_has_its_own_tags_only(cache, rows, table):
    await rows([1, 2, 3])
    assert (await cache.explain("row:2")).tags == ("row:2", "rows")
    await cache.invalidate(tags=["row:1"])
    assert await cache.get_many(["row:1", "row:2", "row:3"]) == {"row:2": "row 2", "row:3": "row 3"}
    await cache.invalidate(tags=["rows"])
    assert cache.stats().entries == 0


@pytest.mark.asyncio
async def test_what_a_batch_load_says_holds_for_all_of_its_rows(cache, clock):
    @cache.cached_many("n:{}", ttl=60, tags=["n:{}"])
    async def load(ids: list[int]):
        said = loading()
        assert said.current is None
        said.tags.add("team")
        said.ttl = 5
        return dict.fromkeys(ids, "v")

    await load([1, 2])
    assert (await cache.explain("n:2")).tags == ("n:2", "team")
    clock.advance(6)
    assert await cache.get_many(["n:1", "n:2"]) == {}
    await load([1, 2])
    await cache.invalidate(tags=["team"])
    assert await cache.get_many(["n:1", "n:2"]) == {}


@pytest.mark.asyncio
async def test_a_batch_load_may_skip(cache, table):
    @cache.cached_many("n:{}", ttl=60)
    async def load(ids: list[int]):
        loading().skip()
        return await table(ids)

    assert await load([1]) == {1: "row 1"}
    assert await load([1]) == {1: "row 1"}
    assert len(table.asked) == 2


@pytest.mark.asyncio
async def test_not_modified_is_not_for_batches(cache):
    @cache.cached_many("n:{}", ttl=60)
    async def load(ids: list[int]):
        return loading().not_modified()

    with pytest.raises(LookupError, match="nothing is cached"):
        await load([1])


# --- errors -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_error_goes_to_every_caller_and_is_not_kept(rows, table):
    table.error = ValueError("down")
    results = await asyncio.gather(rows([1, 2]), rows([3]), return_exceptions=True)
    assert [str(error) for error in results] == ["down", "down"]
    assert results[0] is not results[1]
    table.error = None
    assert await rows([1, 3]) == {1: "row 1", 3: "row 3"}
    assert (len(table.asked), rows.stats().errors) == (2, 1)


@pytest.mark.asyncio
async def test_one_row_that_changed_meanwhile_is_not_stored_and_the_others_are(cache, rows, table, turn):
    table.gate.clear()
    task = asyncio.create_task(rows([1, 2]))
    await turn()
    await cache.invalidate("row:1")
    table.gate.set()
    assert await task == {1: "row 1", 2: "row 2"}
    assert await cache.get_many(["row:1", "row:2"]) == {"row:2": "row 2"}


@pytest.mark.asyncio
async def test_old_values_cover_for_a_failing_batch(cache, clock, table):
    @cache.cached_many("row:{}", ttl=10, stale_if_error=60)
    async def rows(ids: list[int]):
        return await table(ids)

    await rows([1])
    clock.advance(11)
    table.error = ValueError("down")
    assert await rows([1]) == {1: "row 1"}
    with pytest.raises(ValueError):
        await rows([1, 2])


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [[("a", 1)], None, 3])
async def test_a_loader_that_returns_no_mapping_is_told_so(cache, answer):
    @cache.cached_many("n:{}", ttl=60)
    async def load(ids: list[int]):
        return answer

    with pytest.raises(
        TypeError, match=r"load must return a mapping from id to value, not (list|NoneType|int)"
    ):
        await asyncio.wait_for(load([1]), 5)


@pytest.mark.asyncio
async def test_a_mapping_that_raises_is_an_error_for_those_it_failed(cache):
    class Odd(dict):
        def get(self, key, default=None):
            if key == 2:
                raise RuntimeError("odd")
            return super().get(key, default)

    @cache.cached_many("n:{}", ttl=60)
    async def load(ids: list[int]):
        return Odd(dict.fromkeys(ids, "v"))

    with pytest.raises(RuntimeError, match="odd"):
        await asyncio.wait_for(load([1, 2, 3]), 5)
    assert await cache.get_many(["n:1", "n:2", "n:3"]) == {"n:1": "v", "n:3": "v"}


@pytest.mark.asyncio
async def test_a_batch_load_that_takes_too_long_is_cancelled(cache):
    @cache.cached_many("n:{}", ttl=60, max_load_time=0.001)
    async def load(ids: list[int]):
        await asyncio.sleep(60)

    with pytest.raises(LoadTimeout, match="longer than max_load_time=0.001 s"):
        await load([1, 2])


@pytest.mark.asyncio
async def test_an_id_that_can_be_no_key_of_a_mapping_is_refused_by_name(rows):
    for call in (rows, rows.refresh, rows.invalidate):
        with pytest.raises(TypeError, match="rows: ids takes ids that can be keys of a mapping, not"):
            await call([1, [2]])


@pytest.mark.parametrize(("ids", "kind"), [("12", "str"), (b"12", "bytes"), (3, "int"), (None, "NoneType")])
@pytest.mark.asyncio
async def test_what_is_no_iterable_of_ids_is_refused(rows, ids, kind):
    for call in (rows, rows.refresh, rows.invalidate):
        with pytest.raises(TypeError, match=f"rows: ids takes an iterable of ids, not {kind}"):
            await call(ids)


@pytest.mark.asyncio
async def test_an_id_that_cannot_be_hashed_is_refused_each_time_and_holds_nobody_up(cache):
    @cache.cached_many("n:{}", ttl=60)
    async def load(ids):
        return {"never": "called"}

    for _ in range(2):
        with pytest.raises(TypeError, match="unhashable"):
            await asyncio.wait_for(load([[1]]), 5)
    assert (cache.stats().loading, cache.stats().loads) == (0, 0)


@pytest.mark.asyncio
async def test_an_id_without_text_is_refused_and_nothing_is_loaded(rows, table):
    with pytest.raises(UncacheableArgument, match="an item of argument 'ids'"):
        await rows([1, object()])
    assert table.asked == []


# --- further parameters and verbs -------------------------------------------------------------------


@pytest.mark.asyncio
async def test_further_parameters_keep_calls_and_keys_apart(cache):
    asked = []

    @cache.cached_many("price:{}:{currency}", ttl=60)
    async def prices(ids: list[int], currency: str = "EUR", *, exact: bool = False) -> dict[int, str]:
        asked.append((ids, currency, exact))
        return {number: f"{number} {currency}" for number in ids}

    results = await asyncio.gather(prices([1, 2]), prices([1], "USD"), prices([3], currency="EUR"))
    assert results == [{1: "1 EUR", 2: "2 EUR"}, {1: "1 USD"}, {3: "3 EUR"}]
    assert asked == [([1, 2, 3], "EUR", False), ([1], "USD", False)]
    assert prices.key(1) == "price:1:EUR" == cache.key("price:{}:{currency}", 1, currency="EUR")
    await prices.invalidate([1, 2], "EUR")
    assert await prices([1, 2, 3]) == {1: "1 EUR", 2: "2 EUR", 3: "3 EUR"}
    assert asked[2:] == [([1, 2], "EUR", False)]


@pytest.mark.asyncio
async def test_its_verbs(cache, rows, table):
    await rows([1, 2])
    table.rows[1] = "new"
    assert await rows.refresh([1, 1000]) == {1: "new"}
    assert await rows([1]) == {1: "new"}
    await rows.invalidate(number for number in [1, 2])
    assert await cache.get_many(["row:1", "row:2"]) == {}
    assert await rows.uncached([3, 1000]) == {3: "row 3"}
    assert await cache.get("row:3", MISSING) is MISSING
    assert rows.key(1) == "row:1"
    assert rows.stats().invalidations == 1


def test_it_keeps_the_face_of_the_function(rows):
    assert inspect.iscoroutinefunction(rows)
    assert str(inspect.signature(rows)) == "(ids: list[int]) -> dict[int, str]"
    assert rows.__doc__ == "Return rows."


@pytest.mark.asyncio
async def test_without_a_template_the_function_names_the_keys(cache):
    @cache.cached_many(ttl=60)
    async def load(ids, lang="en"):
        return dict.fromkeys(ids, lang)

    assert await load([1]) == {1: "en"}
    assert await load([1], "de") == {1: "de"}
    assert load.key(1).endswith(".load:1:en")


# --- get_or_load_many -------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_get_or_load_many_loads_what_is_missing_in_one_call(cache):
    asked = []

    async def load_many(keys):
        asked.append(keys)
        return {key: key.upper() for key in keys if key != "none"}

    await cache.set("a", "set", ttl=60)
    wanted = (key for key in ["b", "a", "none", "b"])
    assert await cache.get_or_load_many(wanted, load_many, ttl=60, tags=["t"]) == {"b": "B", "a": "set"}
    assert await cache.get_or_load_many(["none", "b"], load_many, ttl=60) == {"b": "B"}
    assert asked == [["b", "none"]]
    await cache.invalidate(tags=["t"])
    assert await cache.get_many(["a", "b", "none"]) == {"a": "set"}


@pytest.mark.asyncio
async def test_get_or_load_many_speaks_the_callers_own_keys(cache):
    long, longer = "a" * 300, "a" * 301
    asked = []

    async def load_many(keys):
        asked.append(keys)
        return {key: len(key) for key in keys}

    assert await cache.get_or_load_many([long, longer], load_many, ttl=60) == {long: 300, longer: 301}
    assert await cache.get_many([longer, long]) == {longer: 301, long: 300}
    assert asked == [[long, longer]]


@pytest.mark.asyncio
async def test_different_loaders_of_one_tick_are_different_calls_but_a_key_is_loaded_once(cache):
    asked = []

    def loader(name):
        async def load_many(keys):
            asked.append((name, keys))
            await asyncio.sleep(0)
            return dict.fromkeys(keys, name)

        return load_many

    results = await asyncio.gather(
        cache.get_or_load_many(["a", "b"], loader("one"), ttl=60),
        cache.get_or_load_many(["b", "c"], loader("two"), ttl=60),
    )
    assert results == [{"a": "one", "b": "one"}, {"b": "one", "c": "two"}]
    assert asked == [("one", ["a", "b"]), ("two", ["c"])]


@pytest.mark.asyncio
@pytest.mark.parametrize("timeout", [None, 5.0])
async def test_a_batch_that_finds_stale_values_remotely_has_them_refreshed(clock, turn, timeout):
    """Also where a flight finds them, on behalf of a caller of limited patience."""
    version = 1
    async with Cache(MemoryRemote(MemoryServer(clock=clock)), clock=clock) as cache:

        @cache.cached_many("row:{}", ttl=10, stale_while_revalidate=600, timeout=timeout)
        async def many(ids: list[int]) -> dict[int, int]:
            return dict.fromkeys(ids, version)

        assert await many([1, 2]) == {1: 1, 2: 1}
        version = 2
        clock.advance(20)
        assert await many([1, 2]) == {1: 1, 2: 1}
        for _ in range(5):
            await turn()
        assert await many([1, 2]) == {1: 2, 2: 2}


@pytest.mark.asyncio
async def test_a_failed_batch_says_whose_it_was_and_of_which_keys(cache):
    async def hang(keys):
        await asyncio.sleep(60)

    async def give_up(keys):
        raise asyncio.CancelledError

    async def answer_nothing(keys): ...

    keys = [f"n:{number}" for number in range(5)]
    for load, error, said in (
        (hang, LoadTimeout, "hang: n:0, n:1, n:2 and 2 more' took longer than max_load_time"),
        (give_up, LoadCancelled, "give_up: n:0, n:1, n:2 and 2 more' was cancelled from within"),
        (answer_nothing, TypeError, "answer_nothing must return a mapping"),
        (lambda keys: 7, TypeError, "the loader of '.*lambda>' returned int"),
    ):
        with pytest.raises(error, match=said):
            await cache.get_or_load_many(keys, load, ttl=60, max_load_time=0.001)
