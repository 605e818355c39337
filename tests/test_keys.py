"""Key templates: two calls share a key only if all their values are the same."""

import string
from types import SimpleNamespace
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from acache._keys import LONGEST_READABLE, MAX_KEY, Template, check_key, finish, key_template
from acache._signature import CallShape
from acache._text import scalar, text, writer
from acache.errors import InvalidKey, InvalidTemplate, UncacheableArgument

HERE = __name__
SAFE = string.ascii_letters + string.digits + "_.@-"


def key_of(function, template=None):
    """Generate the function that yields the unfinished key of a call."""
    shape = CallShape.of(function)
    names = shape.names()
    definition = shape.definition(names)
    expression = key_template(shape, template).expression(shape, names)
    maker = names.fresh("maker")
    exec(f"def {maker}({definition}): return {expression}", names.values)
    return names.values[maker]


def batch_keys_of(function, template=None):
    shape = CallShape.of(function)
    names = shape.names()
    definition = shape.definition(names)
    each = names.fresh("each")
    expression = key_template(shape, template, batch=True).expression(shape, names, item=each)
    exec(f"def maker({definition}): return [{expression} for {each} in {shape.iterable}]", names.values)
    return names.values["maker"]


# --- parsing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "fields", "shape"),
    [
        ("users", (), "users"),
        ("user:{user_id}", ("user_id",), "user:{}"),
        ("user:{}", ("",), "user:{}"),
        ("repo:{self.tenant}:{id}", ("self.tenant", "id"), "repo:{}:{}"),
        ("{user.address.city}", ("user.address.city",), "{}"),
        ("{owner}/{repo}", ("owner", "repo"), "{}/{}"),
        ("f({lat},{lon})", ("lat", "lon"), "f({},{})"),
        ("{a}={b}", ("a", "b"), "{}={}"),
        ("100% {a} \"quoted\" \\ 'ü' \n", ("a",), "100% {} \"quoted\" \\ 'ü' \n"),
    ],
)
def test_a_template_has_literals_and_fields(template, fields, shape):
    parsed = Template.parse(template)
    assert (parsed.fields, parsed.shape) == (fields, shape)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("", "is empty"),
        ("user:{user_id", "unbalanced or doubled brace"),
        ("user:user_id}", "unbalanced or doubled brace"),
        ("user:{{user_id}}", "unbalanced or doubled brace"),
        ("user:{}}", "unbalanced or doubled brace"),
        ("user:{a{b}}", "unbalanced or doubled brace"),
        ("user:{user_id:d}", "without spaces, index, conversion or format"),
        ("user:{user_id!r}", "without spaces, index, conversion or format"),
        ("user:{ids[0]}", "without spaces, index, conversion or format"),
        ("user:{f()}", "without spaces, index, conversion or format"),
        ("user:{ user_id }", "without spaces, index, conversion or format"),
        ("user:{0}", "without spaces, index, conversion or format"),
        ("user:{user.}", "without spaces, index, conversion or format"),
        ("user:{.id}", "without spaces, index, conversion or format"),
        ("user:{user.class}", "without spaces, index, conversion or format"),
        ("user:\ud800", "surrogate"),
        ("{a}{b}", "separate them with ':'"),
        ("{a}-{b}", "separate them with ':'"),
        ("{a}x1_.@-{b}", "separate them with ':'"),
        ("{a}%{b}", "separate them with ':'"),
        ("{a}'{b}", "separate them with ':'"),
        ("{a}({b})", "separate them with ':'"),
        ("{a}(,{b}", "separate them with ':'"),
        ("{}{}", "separate them with ':'"),
    ],
)
def test_a_template_that_cannot_work_is_refused_with_the_reason(template, problem):
    with pytest.raises(InvalidTemplate, match=r"^template ") as refused:
        Template.parse(template)
    assert problem in str(refused.value)


def load(user_id: int, name: str = "", *, limit=10): ...


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (
            "user:{user}",
            r"{user}, which is no parameter of .*load \(user_id, name, limit\), did you mean {user_id}\?",
        ),
        ("user:{xyz.id}", r"{xyz}, which is no parameter of .*load \(user_id, name, limit\)$"),
        ("user:{}", r"a field without a name: name a parameter of .*load \(user_id, name, limit\)"),
    ],
)
def test_a_field_that_is_no_parameter_is_refused_with_those_that_are(template, problem):
    with pytest.raises(InvalidTemplate, match=problem):
        key_of(load, template)


def test_a_function_without_parameters_says_so():
    def nothing(): ...

    with pytest.raises(InvalidTemplate, match="it has none"):
        key_of(nothing, "user:{user_id}")


# --- generated keys --------------------------------------------------------------------------------


def test_annotated_arguments_stand_as_they_are():
    key = key_of(load, "user:{user_id}:{name}")
    assert key(1) == key(True) == "user:1:"
    assert key(1, "42") == "user:1:42"
    assert key(-7, "alice@example.com") == "user:-7:alice@example.com"
    assert key(1, "a:b{c}") == "user:1:a%3Ab%7Bc%7D"


def test_arguments_that_violate_their_annotation_meet_no_other():
    key = key_of(load, "user:{user_id}:{name}")
    assert key("1", 1) == "user:str(1):int(1)"
    assert len({key(1, "1"), key("1", "1"), key(1.0, "1"), key(None, "1"), key(1, 1), key(1, None)}) == 6


def free(x): ...


def test_values_that_look_alike_have_different_keys_without_an_annotation():
    key = key_of(free, "{x}")
    lookalikes = [
        1,
        "1",
        1.0,
        "1.0",
        True,
        "True",
        None,
        "None",
        "",
        "''",
        b"",
        (),
        [],
        "inf",
        float("inf"),
        b"1",
    ]
    assert len({key(each) for each in lookalikes}) == len(lookalikes)


def test_the_automatic_template_names_the_function_and_all_its_parameters():
    def everything(a: int, /, b, *rest, c=None, **named): ...

    key = key_of(everything)
    prefix = f"{everything.__module__}.{everything.__qualname__}"
    assert key(1, "b") == f"{prefix}:1:b:tuple():None:dict()"
    assert key(1, "b", 2, 3, c=4, y=5, x=6) == f"{prefix}:1:b:tuple(2,3):4:dict(x=6,y=5)"


def test_the_automatic_key_of_a_function_without_parameters_is_its_name():
    def nothing(): ...

    assert key_of(nothing)() == f"{HERE}.{nothing.__qualname__}"


def test_defaults_and_the_order_of_keywords_do_not_matter():
    key = key_of(load)
    assert key(1) == key(user_id=1) == key(1, "", limit=10) == key(limit=10, name="", user_id=1)
    assert key(1) != key(1, limit=11)


def test_a_constant_template_is_a_constant():
    assert key_of(load, 'all "users" \\ 100% \n é')(1) == 'all "users" \\ 100% \n é'


def test_fields_follow_attributes_and_read_each_once():
    class User:
        reads = 0

        @property
        def address(self):
            self.reads += 1
            return SimpleNamespace(city="a b")

    def city(user): ...

    user = User()
    key = key_of(city, "city:{user.address.city}")
    assert key(user) == "city:a%20b"
    assert user.reads == 1
    assert key(SimpleNamespace(address=SimpleNamespace(city=7))) == "city:7"


def test_a_field_may_occur_twice():
    assert key_of(load, "{user_id}:list:{user_id}")(3) == "3:list:3"


def test_parameters_may_have_any_name():
    def awkward(int, str, words, key, text, read_int, part, self, maker, *, f="", each=None): ...  # noqa: A002

    key = key_of(awkward, "{int}:{str}:{words}:{key.id}:{text}:{read_int}:{self}:{maker}:{f}:{each}")
    assert key(1, "s", "inf", SimpleNamespace(id="k"), 2, 3, 4, "e", "m") == "1:s:'inf':k:2:3:e:m:'':None"


def test_an_argument_without_canonical_text_is_named_with_the_remedy():
    def by_user(user, *others): ...

    key = key_of(by_user, "{user}:{others}")
    with pytest.raises(UncacheableArgument) as refused:
        key(object())
    assert str(refused.value) == (
        f"argument 'user' of {HERE}.{by_user.__qualname__} has no canonical text, it is a value of class"
        ' builtins.object: name the part that identifies it in the template, e.g. "{user.id}"'
    )
    with pytest.raises(
        UncacheableArgument, match=r"an item of argument 'others' of .* pass what identifies it"
    ):
        key(1, object())


def test_what_attributes_raise_is_passed_on():
    with pytest.raises(AttributeError):
        key_of(free, "{x.id}")(None)


# --- batches ---------------------------------------------------------------------------------------


def prices(ids: list[int], currency: str): ...


def test_a_batch_has_a_key_for_each_of_its_ids():
    assert batch_keys_of(prices, "price:{}:{currency}")([1, True, "1"], "EUR") == [
        "price:1:EUR",
        "price:1:EUR",
        "price:str(1):EUR",
    ]


def test_the_automatic_template_of_a_batch_has_the_id_first():
    assert batch_keys_of(prices)([1], "EUR") == [f"{HERE}.prices:1:EUR"]


def test_ids_without_an_annotation_are_told_apart():
    def load_many(ids): ...

    assert batch_keys_of(load_many, "user:{}")([1, "1", "a"]) == ["user:1", "user:'1'", "user:a"]


def test_an_id_without_canonical_text_is_named_by_its_argument():
    with pytest.raises(UncacheableArgument, match=r"an item of argument 'ids' of .*prices"):
        batch_keys_of(prices, "price:{}:{currency}")([object()], "EUR")


def no_ids(*, currency): ...


@pytest.mark.parametrize(
    ("function", "template", "problem"),
    [
        (prices, "price:{currency}", "^template 'price:{currency}' needs a {} for each of the ids"),
        (prices, "price:{ids}:{}", "names {ids}: write {} for each of them"),
        (no_ids, "price:{}", "a first parameter that takes them"),
    ],
)
def test_a_batch_template_names_the_ids_by_position(function, template, problem):
    with pytest.raises(InvalidTemplate, match=problem):
        batch_keys_of(function, template)


def test_a_tag_of_a_batch_needs_no_id():
    shape = CallShape.of(prices)
    names = shape.names()
    expression = Template.parse("currency:{currency}").expression(shape, names, item=names.fresh("each"))
    assert eval(expression, names.values, {"currency": "EUR"}) == "currency:EUR"


# --- methods ---------------------------------------------------------------------------------------


class Repo:
    tenant = "acme"

    def get(self, user_id: int): ...

    def get_many(self, ids: list[int]): ...

    @staticmethod
    def static(user_id: int): ...


@pytest.mark.parametrize("template", [None, "user:{user_id}"])
def test_a_method_whose_template_does_not_name_the_instance_is_refused(template):
    with pytest.raises(InvalidTemplate, match=r'Repo.get is a method.*as in "get:{self.id}:{user_id}"'):
        key_of(Repo.get, template)


def test_a_batch_method_is_told_where_the_id_stands():
    with pytest.raises(InvalidTemplate, match=r'as in "get_many:{self.id}:{}"'):
        batch_keys_of(Repo.get_many, "user:{}")


def test_a_method_that_names_its_instance_has_keys():
    assert key_of(Repo.get, "repo:{self.tenant}:{user_id}")(Repo(), 7) == "repo:acme:7"
    assert batch_keys_of(Repo.get_many, "repo:{self.tenant}:{}")(Repo(), [7]) == ["repo:acme:7"]


def test_a_static_method_needs_no_instance():
    assert key_of(Repo.static, "user:{user_id}")(7) == "user:7"


# --- by hand ---------------------------------------------------------------------------------------


def test_values_are_formatted_by_position_or_name():
    template = Template.parse("price:{}:{currency}:{self.tenant}")
    assert template.format(1, "EUR", "acme") == "price:1:EUR:acme"
    assert template.format(1, currency="EUR", **{"self.tenant": "acme"}) == "price:1:EUR:acme"
    assert template.format(1, "acme", currency="EUR") == "price:1:EUR:acme"
    assert Template.parse("100%:{self}").format(self=1) == "100%:1"


@pytest.mark.parametrize(
    ("template", "args", "named", "problem"),
    [
        ("user:{}", (), {}, "takes 1 value, one for each field, but 0 given"),
        ("user:{}:{}", (1, 2, 3), {}, "takes 2 values, one for each field, but 3 given"),
        ("user:{a}", (1,), {"a": 2}, "takes 1 value, one for each field, but 1 and a= given"),
        ("user:{a}", (1,), {"b": 2}, "takes 1 value, one for each field, but 1 and b= given"),
        ("users", (1,), {}, "takes 0 values, one for each field, but 1 given"),
    ],
)
def test_a_wrong_number_of_values_is_refused_with_the_right_one(template, args, named, problem):
    with pytest.raises(TypeError, match=problem):
        Template.parse(template).format(*args, **named)


def test_a_long_key_is_formatted_as_it_is_stored():
    raw = key_of(free, "user:{x}")("x" * 400)
    assert Template.parse("user:{}").format("x" * 400) == finish(raw) != raw


def test_a_typed_template_formats_what_the_expression_yields_in_the_order_of_its_fields():
    typed = key_template(CallShape.of(load), "{limit}:{name}:{user_id}").typed(CallShape.of(load))
    key = key_of(load, "{limit}:{name}:{user_id}")
    assert typed.format(10, "42", True) == key(True, "42", limit=10) == "10:42:1"
    assert typed.format(10, 42, "1") == key("1", 42, limit=10) == "10:int(42):str(1)"
    assert Template.parse("{}:{}:{x}").typed_like(typed).format(10, "42", x=True) == "10:42:1"


def test_a_typed_template_of_a_batch_has_the_type_of_its_ids():
    shape = CallShape.of(prices)
    typed = key_template(shape, "price:{}:{currency}", batch=True).typed(shape)
    assert typed.format(True, "1") == batch_keys_of(prices, "price:{}:{currency}")([True], "1")[0]


def test_templates_of_one_text_are_equal_whatever_they_format():
    assert Template.parse("user:{user_id}").typed(CallShape.of(load)) == Template.parse("user:{user_id}")


# --- long and hand-written keys --------------------------------------------------------------------


def test_a_long_key_keeps_its_readable_head():
    key = finish("user:" + "x" * 1000)
    assert len(key) == LONGEST_READABLE
    assert key.startswith("user:xxx")
    assert key == finish(key)
    head, _, digest = key.rpartition("~")
    assert len(digest) == 40
    assert set(digest) <= set("0123456789abcdef")
    assert head == "user:" + "x" * (LONGEST_READABLE - 46)


def test_a_readable_key_stays_as_it_is():
    assert finish("k" * LONGEST_READABLE) == "k" * LONGEST_READABLE


def test_long_keys_that_differ_at_the_end_stay_apart():
    assert finish("x" * 5000 + "a") != finish("x" * 5000 + "b")


def test_the_hash_of_a_long_key_never_changes():
    # Stored entries are found by it, also by a later version.
    assert finish("x" * 251)[-41:] == "~039edc83788ff9f57dc2600d67dfdbf8bb033636"


@pytest.mark.parametrize("key", ["user:42", "k" * MAX_KEY, "ключ", "{}"])
def test_a_key_by_hand_is_any_text(key):
    assert check_key(key) is key


@pytest.mark.parametrize(
    ("key", "error", "problem"),
    [
        ("", InvalidKey, "a key is empty"),
        ("k" * 1025, InvalidKey, "a key has 1025 characters, more than 1024: 'kkkk"),
        ("\ud800", InvalidKey, "half of a surrogate pair"),
        (42, TypeError, r'a key is a str, not int: build one, as in cache.key\("user:{}", user_id\)'),
        (None, TypeError, "not NoneType"),
        (b"user:42", TypeError, "not bytes"),
    ],
)
def test_what_cannot_be_a_key_is_refused_by_name(key, error, problem):
    with pytest.raises(error, match=problem):
        check_key(key)


def test_a_tag_is_called_a_tag():
    with pytest.raises(TypeError, match=r"a tag is a str, not int: build one, as in cache.tag\("):
        check_key(42, what="tag")


# --- laws ------------------------------------------------------------------------------------------

hostile = st.text(alphabet="a1.e-'\"%(),=:{}/~ é\x00\ud800", max_size=4)
scalars = hostile | st.sampled_from(
    [
        None,
        True,
        False,
        0,
        1,
        -1,
        1.0,
        "",
        "1",
        "None",
        "True",
        "nan",
        float("nan"),
        b"1",
        b"",
        UUID(int=1),
        "a_b",
    ]
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.tuples(inner, inner), max_leaves=4
)
separators = st.text(alphabet="a1'%(),=:/-+~ é", max_size=3)


@given(st.lists(separators, min_size=2, max_size=4), st.data())
def test_two_calls_share_a_key_only_if_all_values_have_the_same_text(literals, data):
    source = "{}".join(literals)
    try:
        template = Template.parse(source)
    except InvalidTemplate:
        assume(False)
    count = len(template.fields)
    first = data.draw(st.lists(values, min_size=count, max_size=count))
    # Moving characters of one value to its neighbour is what ambiguous templates fall for.
    second = data.draw(st.lists(values | st.sampled_from(first), min_size=count, max_size=count))
    if template.format(*first) == template.format(*second):
        assert [*map(text, first)] == [*map(text, second)]


@given(separators, st.text("a1'%(),=-/", max_size=8), st.text("a1'%(),=-/", max_size=8))
def test_a_template_that_is_accepted_can_be_read_back(separator, left, right):
    try:
        Template.parse(f"{{a}}{separator}{{b}}")
    except InvalidTemplate:
        assume(False)
    # Whatever could be texts of values by the grammar of `_text`, two pairs never join to one key.
    whole = left + separator + right
    splits = [
        (whole[:at], whole[at + len(separator) :])
        for at in range(len(whole))
        if whole.startswith(separator, at)
    ]
    assert len([pair for pair in splits if all(map(could_be_a_text, pair))]) <= 1


def could_be_a_text(candidate):
    """Whether the parentheses balance, and commas and equal signs stand within them only."""
    depth = 0
    for each in candidate:
        depth += {"(": 1, ")": -1}.get(each, 0)
        if depth < 0 or (depth == 0 and each in ",="):
            return False
    return depth == 0 and set(candidate) <= set(SAFE + "%'(),=")


def three(a, b=1, /, c=None, *, d=""): ...


@given(values, values, values, values)
def test_the_expression_yields_what_the_slow_path_writes(a, b, c, d):
    expected = f"k:{text(a)}|{text(b)}, {text(c)}:{text(d)}"
    assert key_of(three, "k:{a}|{b}, {c}:{d}")(a, b, c, d=d) == expected
    assert Template.parse("k:{}|{}, {}:{}").format(a, b, c, d) == finish(expected)


def by_int(x: int): ...
def by_str(x: str): ...
def by_float(x: float): ...
def by_uuid(x: UUID): ...
def by_bool(x: bool): ...


@pytest.mark.parametrize("function", [by_int, by_str, by_float, by_uuid, by_bool])
def test_the_expression_of_an_annotated_parameter_yields_what_its_writer_writes(function):
    key = key_of(function, "{x}")
    write = writer(scalar(function.__annotations__["x"]))

    @given(values)
    def law(value):
        assert key(value) == write(value)

    law()


words = st.text(alphabet="abNonefalsTru_inif1é", min_size=1, max_size=5)


@given(words)
def test_the_shortcuts_for_words_yield_what_the_slow_path_writes(word):
    assert key_of(free, "{x}")(word) == text(word)
    assert key_of(by_str, "{x}")(word) == writer(str)(word)


@given(st.text(alphabet=SAFE, min_size=1))
def test_a_hand_written_key_meets_the_generated_one(name):
    assert key_of(by_str, "user:{x}")(name) == f"user:{name}"


def two(a, b=5, *, c=6): ...


@given(values, values, values)
def test_every_way_to_spell_a_call_has_one_key(a, b, c):
    key = key_of(two)
    assert key(a, b, c=c) == key(a, c=c, b=b) == key(c=c, b=b, a=a)
    assert key(a) == key(a, 5, c=6) == key(c=6, a=a, b=5)
