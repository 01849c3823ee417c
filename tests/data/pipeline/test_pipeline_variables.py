"""Variables: how they begin in each pipeline, and who may write them."""

import threading

import numpy as np
import pytest

from dovetail.data.datasets.dataset import Dataset
from dovetail.data.pipeline.named import Component, Variable
from dovetail.data.pipeline.pipeline import Pipeline
from dovetail.data.pipeline.variables import Declared, Variables
from dovetail.errors import ParamsError


class Session:
    """Something that can't be copied in any useful way."""


def test_pipelines_made_from_one_template_share_no_variable():
    template = Pipeline().init_variable("losses", [])
    one, two = template << Dataset(3), template << Dataset(3)
    one.get_variable("losses").append(1)
    one.set_variable("more", 2)
    assert two.get_variable("losses") == template.get_variable("losses") == []
    assert not two.has_variable("more")
    assert (template + Pipeline()).get_variable("losses") == []


def test_a_sum_does_not_lose_one_of_two_variables_of_one_name():
    one = Pipeline().init_variable("losses", []).init_variable("made", init=list)
    two = Pipeline().init_variable("losses", []).init_variable("made", init=list)
    assert (one + two).get_variable("losses") == []
    assert (one + one).get_variable("made") == []
    for other in (
        Pipeline().init_variable("losses", [1]),
        Pipeline().init_variable("losses", 0),
        Pipeline().init_variable("losses", np.zeros(2)),
        Pipeline().init_variable("losses", init=list),
    ):
        with pytest.raises(ParamsError, match="Both pipelines declare a variable 'losses'"):
            one + other
        with pytest.raises(ParamsError, match="'losses', which begins differently"):
            other + one
    arrays = [Pipeline().init_variable("w", np.array(given)) for given in ([1, 2], [1, 2], [1, 3])]
    assert (arrays[0] + arrays[1]).get_variable("w").tolist() == [1, 2]
    with pytest.raises(ParamsError, match="begins differently"):
        arrays[0] + arrays[2]


def test_containers_are_copied_for_each_pipeline_and_other_objects_are_shared():
    session, nested = Session(), {"k": [1]}
    template = Pipeline().init_variable("session", session).init_variable("nested", nested)
    one, two = template << Dataset(2), template << Dataset(2)
    assert one.get_variable("session") is two.get_variable("session") is session
    one.get_variable("nested")["k"].append(2)
    assert two.get_variable("nested") == nested == {"k": [1]}


def test_init_makes_one_for_each_pipeline():
    template = Pipeline().init_variable("session", init=Session)
    one, two = template << Dataset(2), template << Dataset(2)
    assert isinstance(one.get_variable("session"), Session)
    assert one.get_variable("session") is one.get_variable("session")
    assert one.get_variable("session") is not two.get_variable("session")


def test_a_variable_is_had_set_and_deleted():
    pipeline = Pipeline().init_variable("v", 1)
    assert pipeline.set_variable("v", 2) is pipeline
    assert pipeline.get_variable("v") == 2
    assert pipeline.delete_variable("v") is pipeline
    assert not pipeline.has_variable("v")
    assert pipeline.get_variable("v", 5) == 5
    assert pipeline.get_variable("w", init=list) == []
    pipeline.get_variable("w").append(1)
    assert pipeline.get_variable("w", init=list) == [1]
    assert list(pipeline.variables) == ["v", "w"]


def test_an_unknown_variable_is_refused_with_the_nearest():
    pipeline = Pipeline().init_variable("losses", [])
    for use in (pipeline.get_variable, pipeline.delete_variable):
        with pytest.raises(ParamsError, match=r"no variable 'loses'. Did you mean 'losses'"):
            use("loses")
    with pytest.raises(ParamsError, match=r"init_variable\('v', value\)"):
        Dataset(2).p.call(lambda batch, v: None, Variable("v")).run(2)


@pytest.mark.parametrize(
    ("mode", "first", "expected"),
    [
        ("set", None, [2, 3]),
        ("append", [], [[0, 1], [2, 3]]),
        ("extend", [], [0, 1, 2, 3]),
        ("add", None, [2, 4]),
    ],
)
def test_a_step_writes_a_variable_for_each_batch(mode, first, expected):
    pipeline = (
        Dataset(4)
        .p.init_variable("v", first)
        .call(lambda batch: batch.add_components("ids", batch.indices))
        .update_variable("v", Component("ids"), mode)
        .run(2)
    )
    found = pipeline.get_variable("v")
    assert [one.tolist() if hasattr(one, "tolist") else one for one in found] == expected


def test_a_function_of_the_batch_gives_what_is_written():
    pipeline = Dataset(5).p.init_variable("sizes", [])
    pipeline = pipeline.update_variable("sizes", lambda batch: len(batch), "append")
    assert pipeline.run(2).get_variable("sizes") == [2, 2, 1]


def test_a_wrong_mode_or_a_variable_that_does_not_take_it_is_refused():
    with pytest.raises(ParamsError, match="Did you mean 'append'"):
        Pipeline().update_variable("v", 1, "apend")
    variables = Variables({"v": Declared(3)})
    with pytest.raises(ParamsError, match=r"'v' is a int, which has no 'append'.*init_variable"):
        variables.change("v", 1, "append")
    with pytest.raises(ParamsError, match=r"init_variable\('v', \{\}\)"):
        variables.change("v", {}, "update")
    with pytest.raises(ParamsError, match="no variable 'w'"):
        variables.change("w", 1, "append")


def test_a_wrong_beginning_is_refused():
    with pytest.raises(ParamsError, match="function without arguments"):
        Declared(init=3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ParamsError, match="not both"):
        Declared(3, list)


def test_many_threads_add_without_losing_any():
    variables = Variables({"n": Declared(0), "seen": Declared([])})

    def add():
        for number in range(500):
            variables.change("n", 1, "add")
            variables.change("seen", number, "append")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert variables["n"] == 2000
    assert len(variables["seen"]) == 2000
