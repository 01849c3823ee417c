"""What actions in a worker process find for their pipeline; tried without a process."""

import pytest

from dovetail.data.datasets.dataset import Dataset
from dovetail.data.pipeline.elsewhere import Elsewhere
from dovetail.data.pipeline.locks import NamedLock
from dovetail.data.pipeline.named import Config, Variable
from dovetail.data.pipeline.worker_job import Job, Sent
from dovetail.errors import ParamsError


def elsewhere(config=None, variables=None, locks=None):
    job = Job(
        Dataset(3),
        (),
        Sent.of(config or {}, "config's entry"),
        Sent.of(variables or {}, "variable"),
    )
    return Elsewhere(job, locks or {})


def test_config_and_variables_can_be_read():
    pipeline = elsewhere({"net": {"width": 3}}, {"v": [1]})
    assert Config("net.width").get(None, pipeline) == 3
    assert Variable("v").get(None, pipeline) == [1]
    assert pipeline.has_variable("v")
    assert not pipeline.has_variable("w")
    assert (dict(pipeline.config), len(pipeline.variables)) == ({"net": {"width": 3}}, 1)


def test_what_could_not_be_sent_says_so_when_it_is_asked_for():
    pipeline = elsewhere({"k": lambda: 0, "n": 1}, {"session": open})
    assert pipeline.config["n"] == 1
    with pytest.raises(ParamsError, match="config's entry 'k' can't be sent.*target='threads'"):
        pipeline.config["k"]
    assert "k" in pipeline.config
    assert elsewhere(variables={"f": lambda: 0}).has_variable("f")
    with pytest.raises(ParamsError, match="variable 'f' can't be sent"):
        elsewhere(variables={"f": lambda: 0}).get_variable("f")


def test_an_unknown_variable_is_refused_with_the_nearest():
    with pytest.raises(ParamsError, match="no variable 'loses' when the pass began.*'losses'"):
        elsewhere(variables={"losses": 0}).get_variable("loses")


def test_writing_is_refused_with_the_cure():
    pipeline = elsewhere(variables={"v": 0})
    for write in (
        lambda: pipeline.set_variable("v", 1),
        lambda: pipeline.change_variable("v", 1, "append"),
        lambda: pipeline.delete_variable("v"),
        lambda: pipeline.get_variable("w", 0),
        lambda: pipeline.get_variable("w", init=list),
    ):
        with pytest.raises(ParamsError, match=r"update_variable\('\w', Component.*threads"):
            write()


def test_models_are_refused_with_the_cure():
    pipeline = elsewhere()
    for ask in (pipeline.get_model_by_name, lambda name: pipeline.model_for(None, name)):
        with pytest.raises(ParamsError, match=r"@action\(model='net'\).*main process.*threads"):
            ask("net")


def test_locks_are_those_that_were_sent():
    lock = NamedLock(0)
    assert elsewhere(locks={"disk": lock}).lock("disk") is lock
    with pytest.raises(ParamsError, match=r"no lock 'dsk'.*\(disk\)"):
        elsewhere(locks={"disk": lock}).lock("dsk")


def test_all_else_of_a_pipeline_is_not_to_be_had():
    with pytest.raises(AttributeError, match="'next_batch' of a pipeline.*threads"):
        elsewhere().next_batch(3)
