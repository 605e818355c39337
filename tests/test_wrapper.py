"""Methods: one wrapper per instance, and never another's."""

import asyncio
import copy
import inspect
import pickle
from dataclasses import dataclass
from types import MethodType

import pytest

from acache import MISSING, Cache
from acache.errors import InvalidTemplate

shared = Cache("memory://")


class Pickled:
    """At module level, so that pickle finds it."""

    def __init__(self, tenant):
        self.tenant = tenant

    @shared.cached("pickled:{self.tenant}:{number}", ttl=60)
    async def get(self, number: int):
        return self.tenant, number


@pytest.fixture
def repo_class(cache):
    class Repo:
        def __init__(self, tenant):
            self.tenant = tenant
            self.calls = []

        @cache.cached("repo:{self.tenant}:{number}", ttl=60, tags=["repo:{self.tenant}"])
        async def get(self, number: int, *, upper: bool = False) -> str:
            """Return one."""
            self.calls.append(number)
            return f"{self.tenant}{number}"

        @cache.cached_many("repos:{self.tenant}:{}", ttl=60)
        async def get_many(self, numbers: list[int]) -> dict[int, str]:
            self.calls.append(list(numbers))
            return {number: f"{self.tenant}{number}" for number in numbers if number > 0}

    return Repo


@pytest.mark.asyncio
async def test_instances_do_not_share_what_they_cache(repo_class):
    a, b = repo_class("a"), repo_class("b")
    assert [await a.get(1), await b.get(1), await a.get(1), await b.get(1)] == ["a1", "b1", "a1", "b1"]
    assert (a.calls, b.calls) == ([1], [1])


@pytest.mark.asyncio
async def test_instances_that_the_template_calls_equal_share(repo_class):
    first, second = repo_class("a"), repo_class("a")
    assert (await first.get(1), await second.get(1)) == ("a1", "a1")
    assert second.calls == []


@pytest.mark.asyncio
async def test_an_attribute_of_the_instance_counts_as_it_is_at_the_call(repo_class):
    repo = repo_class("a")
    assert await repo.get(1) == "a1"
    repo.tenant = "b"
    assert await repo.get(1) == "b1"


@pytest.mark.asyncio
async def test_a_method_has_every_verb_bound(cache, repo_class):
    repo = repo_class("a")
    await repo.get(1)
    assert repo.get.key(1) == "repo:a:1"
    await repo.get.invalidate(1)
    assert await cache.get("repo:a:1", MISSING) is MISSING
    assert await repo.get.refresh(1) == "a1"
    assert await repo.get.uncached(2) == "a2"
    assert repo.calls == [1, 1, 2]
    await cache.invalidate(tags=["repo:a"])
    await repo.get(1)
    assert (repo.get.stats().loads, repo.get.stats().hits) == (3, 0)


@pytest.mark.asyncio
async def test_a_batch_method_has_every_verb_bound(cache, repo_class):
    a, b = repo_class("a"), repo_class("b")
    assert await a.get_many([1, 0, 2]) == {1: "a1", 2: "a2"}
    assert await asyncio.gather(a.get_many([1, 3]), b.get_many([1, 3])) == [
        {1: "a1", 3: "a3"},
        {1: "b1", 3: "b3"},
    ]
    assert (a.calls, b.calls) == ([[1, 0, 2], [3]], [[1, 3]])
    assert a.get_many.key(1) == "repos:a:1"
    await a.get_many.invalidate([1])
    assert await cache.get_many(["repos:a:1", "repos:a:2"]) == {"repos:a:2": "a2"}
    assert await a.get_many.refresh([2]) == {2: "a2"}
    assert await a.get_many.uncached([5]) == {5: "a5"}


def test_a_bound_method_has_the_face_of_one(repo_class):
    repo = repo_class("a")
    assert str(inspect.signature(repo.get)) == "(number: int, *, upper: bool = False) -> str"
    assert str(inspect.signature(repo.get_many)) == "(numbers: list[int]) -> dict[int, str]"
    assert inspect.iscoroutinefunction(repo.get)
    assert (repo.get.__name__, repo.get.__doc__) == ("get", "Return one.")
    assert repo.get is repo.get
    assert isinstance(repo.get.uncached, MethodType)


@pytest.mark.asyncio
async def test_through_its_class_a_method_takes_the_instance_first(cache, repo_class):
    repo = repo_class("a")
    assert str(inspect.signature(repo_class.get)) == "(self, number: int, *, upper: bool = False) -> str"
    assert inspect.iscoroutinefunction(repo_class.get)
    assert await repo_class.get(repo, 1) == "a1"
    assert await repo_class.get(repo, number=1) == "a1"
    assert repo_class.get.key(repo, 1) == "repo:a:1"
    await repo_class.get.invalidate(repo, 1)
    assert await repo_class.get.refresh(repo, 1) == "a1"
    assert await repo_class.get.uncached(repo, 2) == "a2"
    assert repo_class.get.stats() == repo.get.stats()
    assert await repo_class.get_many(repo, [1]) == {1: "a1"}
    assert repo.calls == [1, 1, 2, [1]]


# --- copies -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
async def test_a_copy_reads_its_own(repo_class, duplicate):
    original = repo_class("a")
    await original.get(1)
    twin = duplicate(original)
    twin.tenant = "b"
    assert (await twin.get(1), await original.get(1)) == ("b1", "a1")
    assert twin.get is not original.get
    assert twin.get.key(1) == "repo:b:1"


@pytest.mark.asyncio
async def test_what_was_used_can_be_pickled_and_reads_its_own():
    async with shared:
        original = Pickled("a")
        assert await original.get(1) == ("a", 1)
        again = original
        for _ in range(3):
            again = pickle.loads(pickle.dumps(again))
            assert await again.get(1) == ("a", 1)
        again.tenant = "b"
        assert (await again.get(1), await original.get(1)) == (("b", 1), ("a", 1))
        assert len(vars(again)) == len(vars(original)) == 2


@pytest.mark.asyncio
async def test_an_instance_without_a_dict_works_as_well(cache):
    class Slotted:
        __slots__ = ("tenant",)

        @cache.cached("slotted:{self.tenant}:{number}", ttl=60)
        async def get(self, number: int):
            return self.tenant, number

    slotted = Slotted()
    slotted.tenant = "a"
    assert [await slotted.get(1), await slotted.get(1)] == [("a", 1), ("a", 1)]
    assert (slotted.get.stats().hits, slotted.get.key(1)) == (1, "slotted:a:1")


@pytest.mark.asyncio
async def test_a_frozen_dataclass_works_and_stays_equal_to_its_like(cache):
    @dataclass(frozen=True)
    class Key:
        tenant: str

        @cache.cached("frozen:{self.tenant}", ttl=60)
        async def get(self):
            return self.tenant

    used = Key("a")
    assert await used.get() == "a"
    assert used == Key("a")
    assert hash(used) == hash(Key("a"))
    assert repr(used).endswith("Key(tenant='a')")


# --- inheritance ------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_inherited_method_is_cached(repo_class):
    class Child(repo_class):
        pass

    child = Child("c")
    assert [await child.get(1), await child.get(1), child.calls] == ["c1", "c1", [1]]


@pytest.mark.asyncio
async def test_a_method_may_call_the_one_that_it_overrides(cache, repo_class):
    class Child(repo_class):
        @cache.cached("child:{self.tenant}:{number}", ttl=60)
        async def get(self, number: int):
            return f"child of {await super().get(number)}"

    child = Child("c")
    for _ in range(2):
        assert await asyncio.wait_for(child.get(1), 5) == "child of c1"
        assert await repo_class.get(child, 1) == "c1"
    assert child.calls == [1]
    assert (child.get.key(1), repo_class.get.key(child, 1)) == ("child:c:1", "repo:c:1")


@pytest.mark.asyncio
async def test_a_plain_method_may_override_a_cached_one(repo_class):
    class Child(repo_class):
        async def get(self, number: int):
            return f"plain {await super().get(number)}"

    assert await Child("c").get(1) == "plain c1"


# --- what cannot be wrapped -------------------------------------------------------------------------


def test_a_method_whose_template_does_not_name_the_instance_is_refused(cache):
    with pytest.raises(InvalidTemplate, match=r"all instances would share their keys.*{self.id}"):

        class Repo:
            @cache.cached("repo:{number}", ttl=60)
            async def get(self, number):
                return number


def test_a_classmethod_is_refused_either_way(cache):
    words = "a @classmethod cannot be wrapped: wrap a function that takes what identifies the class"
    with pytest.raises(TypeError, match=words):

        class Below:
            @cache.cached("c:{number}", ttl=60)
            @classmethod
            async def get(cls, number):
                return number

    with pytest.raises(TypeError, match=words):

        class Above:
            @classmethod
            @cache.cached("c:{cls.__name__}:{number}", ttl=60)
            async def get(cls, number):
                return number

    class Odd:
        @classmethod
        @cache.cached("c:{self.__name__}:{number}", ttl=60)
        async def get(self, number):
            return number

    with pytest.raises(TypeError, match=words):
        Odd.get(1).send(None)


@pytest.mark.asyncio
async def test_a_staticmethod_goes_above(cache):
    with pytest.raises(TypeError, match="put @staticmethod above @cached"):

        class Below:
            @cache.cached("s:{number}", ttl=60)
            @staticmethod
            async def get(number):
                return number

    class Above:
        @staticmethod
        @cache.cached("s:{number}", ttl=60)
        async def get(number):
            return number

    assert [await Above.get(1), await Above().get(1), Above.get.stats().loads] == [1, 1, 1]
