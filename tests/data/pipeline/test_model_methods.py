"""Methods that define models: when they are called, with what, and how they are found."""

import gc

import pytest

from dovetail.data.batches.batch import Batch
from dovetail.data.pipeline.model_methods import ModelMethod, find_model, model, models_of
from dovetail.errors import DefinitionError, ParamsError


def test_a_global_model_is_built_once_while_its_class_body_runs():
    calls = []

    class Globally(Batch):
        @model(mode="global")
        def everywhere():
            calls.append("built")
            return {"k": 1}

        before_the_end_of_the_body = tuple(calls)

    assert Globally.before_the_end_of_the_body == ("built",)
    assert calls == ["built"]
    assert Globally.everywhere.descriptor == {"k": 1}


def test_bare_is_dynamic():
    class Bare(Batch):
        @model
        def bare_one(self):
            """Make it."""

        @model()
        def other_one(self):
            return 1

    assert (Bare.bare_one.mode, Bare.other_one.mode) == ("dynamic", "dynamic")
    assert Bare.bare_one.__doc__ == "Make it."
    assert "Bare.bare_one" in repr(Bare.bare_one)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (lambda: (), ()),
        (lambda holder: (holder,), ("holder",)),
        (lambda holder, config: (holder, config), ("holder", {"k": 1})),
        (lambda holder, config=None: (holder, config), ("holder", {"k": 1})),
        (lambda *args: args, ("holder", {"k": 1})),
        (lambda holder, *, config: (holder, config), ("holder", {"k": 1})),
        (lambda holder, config, more=3: (holder, config, more), ("holder", {"k": 1}, 3)),
    ],
)
def test_a_method_gets_as_much_as_it_declares(method, expected):
    assert ModelMethod(method, "dynamic").build("holder", {"k": 1}) == expected


def test_its_config_is_a_copy():
    config = {"k": 1}
    ModelMethod(lambda holder, config: config.clear(), "static").build(None, config)
    assert config == {"k": 1}


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_a_method_that_wants_more_is_refused_where_it_is_defined(mode):
    def wants(holder, config, session):
        """Nobody gives a session."""

    with pytest.raises(DefinitionError, match=rf"test_model_methods.py:\d+: the {mode} model 'wa"):
        model(mode=mode)(wants)

    def by_name(holder, *, session):
        """Nor by name."""

    with pytest.raises(DefinitionError, match="'session', which nobody gives"):
        model(mode=mode)(by_name)


def test_a_global_model_takes_nothing():
    with pytest.raises(DefinitionError, match="takes nothing"):
        model(mode="global")(lambda self: 1)


def test_wrong_uses_are_refused():
    with pytest.raises(DefinitionError, match="Did you mean 'static'"):
        model(mode="statc")  # pyright: ignore[reportArgumentType, reportCallIssue]
    with pytest.raises(DefinitionError, match="methods of a batch class"):
        model("static")  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_it_is_not_for_calling():
    class Called(Batch):
        @model
        def not_called(self):
            return 1

    with pytest.raises(DefinitionError, match=r"@action\(model='not_called'\)"):
        Called.not_called()
    with pytest.raises(DefinitionError, match="was called"):
        Called([1]).not_called()


def test_names_are_exact():
    class Exact(Batch):
        @model
        def dyn(self):
            return "dyn"

        def method(self):
            """No model."""

    assert find_model(Exact, "dyn") is vars(Exact)["dyn"]
    for name in ("n", "yn", "Dyn", "dyn ", "method", "nothing"):
        assert find_model(Exact, name) is None
    assert models_of(Exact) == ["dyn"]


def test_what_is_inherited_counts_and_may_be_overridden():
    class Base(Batch):
        @model
        def inherited_one(self):
            return 1

        @model
        def dropped_one(self):
            return 1

    class Sub(Base):
        dropped_one = None

    assert find_model(Sub, "inherited_one") is vars(Base)["inherited_one"]
    assert find_model(Sub, "dropped_one") is None
    assert models_of(Sub) == ["inherited_one"]


def test_without_a_class_a_name_is_looked_up_among_those_that_exist():
    class Alone(Batch):
        @model
        def only_there(self):
            return 1

    method = vars(Alone)["only_there"]
    assert find_model(None, "only_there") is method
    assert find_model(None, method) is method
    assert "only_there" in models_of(None)
    del Alone, method
    gc.collect()
    assert find_model(None, "only_there") is None


def test_two_of_one_name_are_an_error_that_names_both():
    class First(Batch):
        @model
        def twice_there(self):
            return 1

    class Second(Batch):
        @model
        def twice_there(self):
            return 2

    with pytest.raises(ParamsError, match=r"First and .*Second.*init_model\(First.twice_there\)"):
        find_model(None, "twice_there")


def test_a_class_defined_again_takes_the_place_of_the_first():
    def cell():
        class Notebook(Batch):
            @model
            def from_a_cell(self):
                return 1

        return Notebook

    first, second = cell(), cell()
    assert find_model(None, "from_a_cell") is vars(second)["from_a_cell"]
    assert first is not second
