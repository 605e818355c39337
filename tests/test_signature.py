"""Call shapes: what a wrapper needs to be called exactly like its function."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from functools import update_wrapper
from types import FunctionType
from typing import TYPE_CHECKING, Annotated

import pytest

from acache._signature import CallShape, Names

if TYPE_CHECKING:
    from uuid import UUID

SENTINEL = object()


def plain(): ...
def usual(a, b=SENTINEL): ...
def positional(a, b=1, /): ...
def mixed(a, /, b, *, c, d=SENTINEL): ...
def keyword_only(*, c): ...
def variadic(a, *rest, c=2, **named): ...
def shadowing(names, key_default, int, str, *, key=3): ...  # noqa: A002 - as users do
def unicode_name(größe=1): ...  # noqa: PLC2401 - as users do


FUNCTIONS = [plain, usual, positional, mixed, keyword_only, variadic, shadowing, unicode_name]


def wrapper(function, *, bound=False):
    """Generate a wrapper that returns what it would pass on."""
    shape = CallShape.of(function)
    names = shape.names()
    called = names.bind("called", lambda *args, **kwargs: (args, kwargs))
    definition = shape.definition(names, bound=bound)
    exec(f"def wrapper({definition}): return {called}({shape.forward(bound=bound)})", names.values)
    return names.values["wrapper"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_wrapper_has_the_identical_signature(function):
    expected = inspect.signature(function)
    assert inspect.signature(wrapper(function)) == expected


def test_defaults_are_kept_by_reference():
    assert inspect.signature(wrapper(usual)).parameters["b"].default is SENTINEL


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (plain, (), {}),
        (usual, (1,), {"b": 2}),
        (positional, (1, 2), {}),
        (mixed, (1, 2), {"c": 3, "d": 4}),
        (variadic, (1, 2, 3), {"c": 4, "x": 5}),
        (shadowing, (1, 2, 3, 4), {"key": 5}),
    ],
)
def test_a_call_is_passed_on_as_the_function_would_receive_it(function, args, kwargs):
    passed_args, passed_kwargs = wrapper(function)(*args, **kwargs)
    signature = inspect.signature(function)
    expected = signature.bind(*args, **kwargs)
    expected.apply_defaults()
    assert signature.bind(*passed_args, **passed_kwargs) == expected


def test_a_bound_wrapper_leaves_out_the_instance():
    class Repo:
        def load(self, /, user_id, *, fresh=False): ...

    assert wrapper(Repo.load, bound=True)(7, fresh=True) == ((7,), {"fresh": True})
    assert str(inspect.signature(wrapper(Repo.load, bound=True))) == "(user_id, *, fresh=False)"


def test_names_avoid_parameters_and_each_other():
    names = Names({"lookup"})
    assert names.fresh("lookup") == "lookup_"
    assert names.fresh("lookup") == "lookup__"
    assert names.bind("load", 1) == "load"
    assert names.bind("load", 2) == "load_"
    assert names.values == {"load": 1, "load_": 2}


def test_a_value_that_is_bound_twice_keeps_its_name():
    names = Names(set())
    assert names.bind("int", int) == names.bind("int", int) == "int"


# --- annotations -----------------------------------------------------------------------------------


def test_string_annotations_are_resolved_one_by_one():
    def load(user_id: int, token: UUID, tenant: Annotated[str, "of the request"], other): ...

    assert CallShape.of(load).hints == {"user_id": int, "token": None, "tenant": str, "other": None}


def test_the_annotation_of_variadic_parameters_describes_their_items():
    def load(*ids: int, **options: str): ...

    assert CallShape.of(load).hints == {"ids": None, "options": None}


def test_the_annotations_of_a_decorated_function_are_resolved_where_it_was_written():
    def load(user_id: int): ...

    def around(*args): ...

    elsewhere = FunctionType(around.__code__, {"int": str})
    around = update_wrapper(elsewhere, load)
    assert CallShape.of(around).hints == {"user_id": int}


def batch_list(ids: list[int]): ...
def batch_iterable(ids: Iterable[str], currency: str): ...
def batch_set(ids: set[int], /): ...
def batch_tuple(ids: tuple[int, ...]): ...
def batch_sequence(ids: Sequence[int | None]): ...
def batch_pair(ids: tuple[int, str]): ...
def batch_bare(ids: list): ...
def batch_untyped(ids): ...
def batch_none(): ...
def batch_keyword(*, ids: list[int]): ...


@pytest.mark.parametrize(
    ("function", "iterable", "element"),
    [
        (batch_list, "ids", int),
        (batch_iterable, "ids", str),
        (batch_set, "ids", int),
        (batch_tuple, "ids", int),
        (batch_sequence, "ids", int | None),
        (batch_pair, "ids", None),
        (batch_bare, "ids", None),
        (batch_untyped, "ids", None),
        (batch_none, None, None),
        (batch_keyword, None, None),
    ],
)
def test_the_ids_of_a_batch_function_are_its_first_parameter(function, iterable, element):
    shape = CallShape.of(function)
    assert (shape.iterable, shape.element) == (iterable, element)


# --- methods ---------------------------------------------------------------------------------------


class Repo:
    def load(self, ids: list[int]): ...

    def of_class(cls): ...

    @staticmethod
    def static(user_id): ...

    def outer(self):
        def inner(self): ...

        return inner


def self_styled(self): ...


@pytest.mark.parametrize(
    ("function", "instance"),
    [
        (Repo.load, "self"),
        (Repo.of_class, "cls"),
        (Repo.static, None),
        (Repo().outer(), None),
        (self_styled, None),
        (plain, None),
    ],
)
def test_a_method_is_a_function_in_a_class_body_that_takes_the_instance(function, instance):
    assert CallShape.of(function).instance == instance


def test_a_method_takes_its_ids_after_the_instance():
    shape = CallShape.of(Repo.load)
    assert (shape.iterable, shape.element) == ("ids", int)


def test_the_name_is_that_of_the_module_and_the_class():
    assert CallShape.of(Repo.load).name == f"{__name__}.Repo.load"
