"""What a source promises, as a suite that a plugin's author subclasses.

    class TestMyTable(SourceContract):
        versioned = False                  # what the source cannot do is declared, not left out

        @pytest.fixture(autouse=True)
        def database(self, tmp_path):
            self.path = tmp_path / "my.db"

        def open(self) -> MyTable:
            return MyTable(self.path)

Any test runner that finds plain methods will do. The records are empty at the start of each test.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any, ClassVar
from unittest import SkipTest

from acache.errors import SourceRefused
from acache.protocols import Source, WritableSource
from acache.testing.contracts._laws import AsyncLaws, law

__all__ = ["SourceContract"]


class SourceContract(AsyncLaws):
    """The methods of `Source`, and of `WritableSource` where `writable` is declared."""

    writable: ClassVar[bool] = True
    """The source has `save` and `remove`. One that has not overrides `fill`."""
    versioned: ClassVar[bool] = True
    """Writes that come with versions are guarded, removals leave a tombstone."""
    refuses: ClassVar[bool] = True
    """There is a `poison` that the source refuses."""
    many: ClassVar[int] = 2_000
    """Keys of the largest batch that is tried."""

    source: Any

    def open(self) -> Any:  # a Source; Any, because half of the tests need a WritableSource
        """Return a source; called again for a second one over the same records."""
        raise SkipTest("the contract itself has no source")

    def item(self, number: int, text: str = "") -> tuple[Any, Any]:
        """Return key and value of a record; the same number is the same key, *text* is in the value."""
        return number, {"id": number, "name": text}

    def poison(self, number: int) -> tuple[Any, Any]:
        """Return a record that the source refuses for its data."""
        return number, {"id": number, "name": None}

    async def fill(self, items: Mapping[Any, Any]) -> None:
        """Put records into the source that stands behind."""
        await self.source.save(items)

    async def close(self, source: Any) -> None:
        """Close what `open` returned."""
        if hasattr(source, "aclose"):
            await source.aclose()

    async def around(self, test: Callable[[], Awaitable[None]]) -> None:
        """Open, run, close."""
        self.source = self.open()
        try:
            await test()
        finally:
            await self.close(self.source)

    def items(self, *numbers: int, text: str = "") -> dict[Any, Any]:
        """Return the records of these numbers."""
        return dict(self.item(number, text) for number in numbers)

    def keys(self, *numbers: int) -> list[Any]:
        """Return the keys of these numbers."""
        return [self.item(number)[0] for number in numbers]

    # --- reading ------------------------------------------------------------------------------------

    @law()
    async def test_the_source_offers_the_protocol_that_it_declares(self) -> None:
        """The patterns ask with isinstance."""
        protocols = (Source, WritableSource) if self.writable else (Source,)
        assert all(isinstance(self.source, protocol) for protocol in protocols)

    @law()
    async def test_a_load_returns_what_exists_and_nothing_else(self) -> None:
        """A key that it does not return does not exist; no key at all is no question."""
        await self.fill(self.items(1, 2, 3, text="here"))
        assert await self.source.load(self.keys(3, 7, 1)) == self.items(1, 3, text="here")
        assert await self.source.load(self.keys(7)) == {}
        assert await self.source.load([]) == {}

    @law()
    async def test_an_equal_key_of_another_type_is_another_key(self) -> None:
        """To a cache 1, True and 1.0 are three keys: what one is answered, the others' writes leave stale."""
        await self.fill(self.items(1))
        (key,) = self.keys(1)
        for other in (True, 1.0) if type(key) is int and key == 1 else ():
            found = await self.source.load([other])
            assert not [each for each in found if type(each) is type(other)], f"a {type(other).__name__}"

    @law()
    async def test_a_key_may_be_asked_for_twice(self) -> None:
        """Whoever batches need not count."""
        await self.fill(self.items(1, 2))
        assert await self.source.load(self.keys(2, 1, 2, 1)) == self.items(1, 2)

    @law()
    async def test_many_keys_load_at_once(self) -> None:
        """In any order, with gaps, more than a statement may have parameters."""
        numbers = range(self.many)
        await self.fill(self.items(*numbers[::2], text="even"))
        asked = list(numbers)
        Random(1).shuffle(asked)  # noqa: S311 - a test that repeats
        assert await self.source.load(self.keys(*asked)) == self.items(*numbers[::2], text="even")

    @law()
    async def test_concurrent_loads_get_each_their_own(self) -> None:
        """Nobody is handed another's answer."""
        await self.fill(self.items(*range(40)))
        answers = await asyncio.gather(*(self.source.load(self.keys(n, n + 1)) for n in range(39)))
        assert list(answers) == [self.items(n, n + 1) for n in range(39)]

    @law()
    async def test_a_cancelled_load_disturbs_no_other(self) -> None:
        """Wherever it is interrupted; the next one gets its own answer."""
        await self.fill(self.items(*range(20)))
        for turns in range(12):
            doomed = asyncio.ensure_future(self.source.load(self.keys(1)))
            other = asyncio.ensure_future(self.source.load(self.keys(2, 3)))
            for _ in range(turns):
                await asyncio.sleep(0)
            doomed.cancel()
            assert await self.source.load(self.keys(4)) == self.items(4)
            assert await other == self.items(2, 3)
            await asyncio.gather(doomed, return_exceptions=True)

    @law()
    async def test_loops_may_take_turns(self) -> None:
        """A module's source lives through several loops, as under pytest."""
        await self.fill(self.items(1))

        async def elsewhere() -> None:
            assert await self.source.load(self.keys(1)) == self.items(1)

        await asyncio.to_thread(self.run, elsewhere())
        await elsewhere()

    @law()
    async def test_closing_twice_is_harmless(self) -> None:
        """Also when it was never used."""
        await self.close(self.source)
        await self.close(self.source)

    # --- writing ------------------------------------------------------------------------------------

    @law("writable")
    async def test_a_save_inserts_and_replaces(self) -> None:
        """One batch may do both; what it does not name stays."""
        await self.source.save(self.items(1, 2, 3, text="old"))
        saved = await self.source.save(self.items(2, 4, text="new"))
        assert saved.refused == ()
        found = await self.source.load(self.keys(1, 2, 3, 4))
        assert found == self.items(1, 3, text="old") | self.items(2, 4, text="new")

    @law("writable")
    async def test_a_save_returns_what_a_load_would_where_that_differs(self) -> None:
        """So that a cache may keep what was given unless it is told otherwise."""
        given = self.items(*range(30), text="given")
        saved = await self.source.save(given)
        assert saved.rows.keys() <= given.keys()
        assert given | dict(saved.rows) == await self.source.load(list(given))

    @law("writable")
    async def test_a_removed_record_does_not_exist(self) -> None:
        """Removing what is not there does nothing."""
        await self.source.save(self.items(1, 2, 3))
        saved = await self.source.remove(self.keys(1, 9, 3, 1))
        assert saved.refused == ()
        assert await self.source.load(self.keys(1, 2, 3, 9)) == self.items(2)

    @law("writable")
    async def test_an_empty_batch_does_nothing(self) -> None:
        """It is no error either."""
        for saved in (await self.source.save({}), await self.source.remove([])):
            assert not saved.rows
            assert saved.refused == ()

    @law("writable")
    async def test_a_large_batch_is_saved_and_removed(self) -> None:
        """In one call each."""
        items = self.items(*range(self.many), text="large")
        await self.source.save(items)
        assert await self.source.load(list(items)) == items
        await self.source.remove(list(items)[1:])
        assert await self.source.load(list(items)) == self.items(0, text="large")

    @law("writable", "refuses")
    async def test_a_batch_with_a_refused_record_leaves_no_trace(self) -> None:
        """It is whole or not at all, and the record to blame is named."""
        await self.source.save(self.items(1, text="before"))
        key, value = self.poison(3)
        error = await self._refusal(self.items(1, 2, text="after") | {key: value} | self.items(4))
        assert key in error.keys
        assert set(error.keys) <= {*self.keys(1, 2, 4), key}
        assert await self.source.load([*self.keys(1, 2, 4), key]) == self.items(1, text="before")
        await self.source.save(self.items(1, 2, text="later"))
        assert await self.source.load(self.keys(1, 2)) == self.items(1, 2, text="later")

    @law("writable")
    async def test_a_cancelled_save_is_whole_or_nothing(self) -> None:
        """And the next one is not disturbed."""
        for turns in range(12):
            old, new = self.items(1, 2, text=f"{turns} old"), self.items(1, 2, text=f"{turns} new")
            await self.source.save(old)
            doomed = asyncio.ensure_future(self.source.save(new))
            for _ in range(turns):
                await asyncio.sleep(0)
            doomed.cancel()
            await asyncio.gather(doomed, return_exceptions=True)
            await self.source.save(self.items(3, text="next"))
            found = dict(await self.source.load(self.keys(1, 2, 3)))
            assert found in (old | self.items(3, text="next"), new | self.items(3, text="next"))

    @law("writable")
    async def test_another_source_sees_what_was_saved(self) -> None:
        """A save that returned is committed."""
        other = self.open()
        try:
            await self.source.save(self.items(1, text="mine"))
            assert await other.load(self.keys(1)) == self.items(1, text="mine")
            await other.save(self.items(1, 2, text="theirs"))
            await other.remove(self.keys(2))
            assert await self.source.load(self.keys(1, 2)) == self.items(1, text="theirs")
        finally:
            await self.close(other)

    # --- versions -----------------------------------------------------------------------------------

    @law("writable", "versioned")
    async def test_an_older_version_is_refused_and_the_rest_is_saved(self) -> None:
        """The same version again is the same write, and nothing to refuse."""
        one, two, three = self.keys(1, 2, 3)
        await self.source.save(self.items(1, 2, text="five"), versions={one: 5, two: 5})
        saved = await self.source.save(self.items(1, 2, 3, text="four"), versions={one: 4, two: 6, three: 1})
        assert set(saved.refused) == {one}
        expected = self.items(1, text="five") | self.items(2, 3, text="four")
        assert await self.source.load([one, two, three]) == expected
        again = await self.source.save(self.items(2, text="four"), versions={two: 6})
        assert again.refused == ()
        assert await self.source.load([two]) == self.items(2, text="four")

    @law("writable", "versioned")
    async def test_an_older_removal_is_refused(self) -> None:
        """The record stands."""
        one, two = self.keys(1, 2)
        await self.source.save(self.items(1, 2, text="five"), versions={one: 5, two: 5})
        saved = await self.source.remove([one, two], versions={one: 4, two: 6})
        assert set(saved.refused) == {one}
        assert await self.source.load([one, two]) == self.items(1, text="five")

    @law("writable", "versioned")
    async def test_a_late_write_does_not_bring_a_removed_record_back(self) -> None:
        """Whether or not it was there when it was removed; a newer write does."""
        one, two = self.keys(1, 2)
        await self.source.save(self.items(1), versions={one: 1})
        await self.source.remove([one, two], versions={one: 5, two: 5})
        late = await self.source.save(self.items(1, 2, text="late"), versions={one: 4, two: 4})
        assert set(late.refused) == {one, two}
        assert await self.source.load([one, two]) == {}
        newer = await self.source.save(self.items(1, 2, text="newer"), versions={one: 6, two: 7})
        assert newer.refused == ()
        assert await self.source.load([one, two]) == self.items(1, 2, text="newer")
        older = await self.source.remove([one], versions={one: 5})
        assert set(older.refused) == {one}

    @law("writable", "versioned")
    async def test_whatever_the_order_of_arrival_the_highest_version_stands(self) -> None:
        """Writes and removals of a few keys, delivered in random order and partly twice, seeded."""
        for seed in range(6):
            rng = Random(seed)  # noqa: S311 - a test that repeats
            numbers = range(seed * 10, seed * 10 + 3)
            writes = [(rng.choice(numbers), seed * 1000 + step, rng.random() < 0.4) for step in range(30)]
            arriving = writes + rng.sample(writes, 10)
            rng.shuffle(arriving)
            for number, version, removal in arriving:
                (key,) = self.keys(number)
                if removal:
                    await self.source.remove([key], versions={key: version})
                else:
                    await self.source.save(self.items(number, text=str(version)), versions={key: version})
            last = {number: (version, removal) for number, version, removal in writes}
            expected: dict[Any, Any] = {}
            for number, (version, removal) in last.items():
                expected |= {} if removal else self.items(number, text=str(version))
            assert await self.source.load(self.keys(*numbers)) == expected, f"seed {seed}"

    async def _refusal(self, items: Mapping[Any, Any]) -> SourceRefused:
        try:
            await self.source.save(items)
        except SourceRefused as error:
            return error
        raise AssertionError("the batch was saved")
