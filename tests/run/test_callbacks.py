"""`callbacks` of a definition: run at every training of it, before the hooks that are given."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

import dovetail
from dovetail.errors import DefinitionError, ParamsError
from dovetail.run.callbacks import hooks_of
from dovetail.run.estimator import Estimator

BASE = """
import dovetail
import torch
from torch import nn

called = []


def model():
    return nn.Linear(5, 3)


def loss(output, labels):
    return nn.functional.cross_entropy(output, labels)


def optimizer():
    return dovetail.optimizers.SGD(0.1)


class Count(dovetail.Hook):
    def __init__(self, name):
        self.name = name

    def begin(self, run):
        called.append(f"{self.name}.begin")

    def after_step(self, run, output):
        called.append(f"{self.name}.after_step")

    def end(self, run):
        called.append(f"{self.name}.end")


"""


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Write a model file with a function `callbacks`, whose first line is at CALLBACKS."""

    def write(text: str, base: str = BASE) -> Path:
        path = tmp_path / "line.py"
        path.write_text(base + text)
        return path

    return write


@pytest.fixture
def quiet(tmp_path: Path) -> Any:
    """Make an Estimator of a file, in a folder of its own."""

    def make(path: Any, name: str = "run", **given: Any) -> Estimator:
        config = {"device": "cpu", "progress": False, "log_step_count_steps": 1000}
        params = {"batch_size": 8, **given.pop("params", {})}
        return Estimator(path, tmp_path / name, dovetail.RunConfig(**config, **given), params)

    return make


def called_in(estimator: Estimator) -> list[str]:
    """What the file's hooks wrote down."""
    assert estimator.definition.callbacks is not None
    return estimator.definition.callbacks.function.__globals__["called"]


CALLBACKS = BASE.count("\n") + 1


def test_a_definition_without_callbacks_has_no_hooks(written, model_fn):
    for source in (written(""), model_fn):
        assert hooks_of(dovetail.load(source), dovetail.HParams()) == []


def test_hooks_of_the_definition_come_before_those_that_are_given(written, quiet, records):
    estimator = quiet(written("def callbacks():\n    return [Count('a'), Count('b')]\n"))
    called = called_in(estimator)

    class Given(dovetail.Hook):
        def begin(self, run):
            called.append("given.begin")

        def after_step(self, run, output):
            called.append("given.after_step")

    estimator.train(str(records), hooks=[Given()], max_steps=2)
    a_step = ["a.after_step", "b.after_step", "given.after_step"]
    assert called == ["a.begin", "b.begin", "given.begin", *a_step, *a_step, "a.end", "b.end"]


def test_they_are_made_anew_for_each_training_and_run_beside_evaluations_too(
    written, quiet, records
):
    text = "def callbacks():\n    called.append('made')\n    return Count('a')\n"
    estimator = quiet(written(text))
    estimator.train(str(records), max_steps=1)
    estimator.evaluate(str(records))
    list(estimator.predict(str(records)))
    once = ["made", "a.begin", "a.after_step", "a.end"]
    assert called_in(estimator) == once
    spec = dovetail.TrainSpec(str(records), max_steps=2)
    dovetail.train_and_evaluate(estimator, spec, dovetail.EvalSpec(str(records)))
    assert called_in(estimator) == once * 2


def test_they_are_given_params_and_their_own_arguments_can_be_set(written, quiet, records):
    text = (
        "def callbacks(params, patience=5):\n"
        "    called.append((params.batch_size, patience))\n"
        "    return []\n"
    )
    estimator = quiet(written(text), params={"callbacks": {"patience": 3}})
    assert dovetail.load(written(text)).params.callbacks.patience == 5
    estimator.train(str(records), max_steps=1)
    assert called_in(estimator) == [(8, 3)]


def test_a_file_with_a_model_fn_has_them_too(written, quiet, records):
    text = (
        "def model_fn(features, labels, mode):\n"
        "    output = dovetail.layers.fully_connected(features['x'], 3, activation_fn=None)\n"
        "    loss = nn.functional.cross_entropy(output, labels)\n"
        "    train_op = dovetail.optimizers.SGD(0.1).minimize(loss)\n"
        "    return dovetail.EstimatorSpec(mode, {'output': output}, loss, train_op)\n"
        "def callbacks():\n"
        "    return [Count('a')]\n"
    )
    base = re.sub(r"def model\(\):.*?(?=class Count)", "", BASE, flags=re.DOTALL)
    estimator = quiet(written(text, base))
    estimator.train(str(records), max_steps=1)
    assert called_in(estimator) == ["a.begin", "a.after_step", "a.end"]


def test_a_file_with_a_modeler_has_them_too(written):
    modeler = (
        "from dovetail import ImageClassificationModelerConfig, ModelerConfig\n"
        "from dovetail.nets.convnet import net\n"
        "from dovetail.tasks import image_classification\n"
        "config = ModelerConfig('infer', 4, 2, 'momentum', 0.05)\n"
        "config = ImageClassificationModelerConfig(config, num_classes=2)\n"
        "modeler = image_classification.build(config, net)\n"
        "def callbacks(params, last=2):\n"
        "    return [dovetail.hooks.StopAtStep(last), Count(str(params.learning_rate))]\n"
    )
    base = re.sub(r"def model\(\):.*?(?=class Count)", "", BASE, flags=re.DOTALL)
    definition = dovetail.load(written(modeler, base), params={"callbacks": {"last": 7}})
    stop, count = hooks_of(definition, definition.params)
    assert isinstance(stop, dovetail.hooks.StopAtStep)
    assert stop.last_step == 7
    assert getattr(count, "name", None) == "0.05"


def test_keras_is_not_imported_to_tell_its_callbacks(written, monkeypatch):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    definition = dovetail.load(written("def callbacks():\n    return [Count('a')]\n"))
    assert len(hooks_of(definition, definition.params)) == 1
    assert "keras" not in sys.modules


WATCH = """
class Watch:
    def before_run(self, run):
        called.append(("before_run", run.step))

    def before_step(self):
        called.append("before_step")

    def after_step(self, run, out):
        return {returned}

    def after_run(self, run):
        called.append(("after_run", run.step))


def callbacks():
    return Watch()
"""


@pytest.mark.parametrize(
    ("returned", "shown"),
    [
        ('{"loss": torch.tensor(0.25), "seen": run.count}', "step 2: loss 0.25  seen 8\n"),
        ('f"step {run.step} gave {sorted(out)[0]}"', "step 2 gave loss\n"),
        ("None", ""),
    ],
)
def test_the_four_moments_of_a_modelers_runner_are_called_and_what_is_returned_is_shown(
    written, quiet, records, capsys, returned, shown
):
    estimator = quiet(written(WATCH.replace("{returned}", returned)))
    estimator.train(str(records), max_steps=2)
    expected = [("before_run", 0), "before_step", "before_step", ("after_run", 2)]
    assert called_in(estimator) == expected
    told = capsys.readouterr().err
    assert told.endswith(shown) if shown else "step 2" not in told


def test_an_error_in_one_names_it_and_the_function_that_gave_it(written, quiet, records):
    path = written(WATCH.replace("{returned}", "1 / 0"))
    with pytest.raises(ZeroDivisionError) as raised:
        quiet(path).train(str(records), max_steps=2)
    notes = " ".join(raised.value.__notes__)
    assert "Watch.after_step" in notes
    assert f"callbacks ({path}:" in notes


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("None", r"returned None\. It must return a list of hooks"),
        ("{'a': Count('a')}", "returned .*, of type dict"),
        ("[Count('a'), 3]", "gave 3, of type int. It must return a list of hooks"),
        ("Count", r"returned the class Count instead of an object of it, Count\(\)"),
        ("[Count]", r"gave the class Count instead of an object of it, Count\(\)"),
        ("'early'", "returned 'early', of type str"),
        ("[print]", "gave <built-in function print>, of type"),
    ],
)
def test_what_is_no_callback_is_refused_with_the_place(written, quiet, records, returned, said):
    path = written(f"def callbacks():\n    return {returned}\n")
    with pytest.raises(DefinitionError, match=said) as raised:
        quiet(path).train(str(records), max_steps=1)
    assert f"callbacks ({path}:{CALLBACKS})" in str(raised.value)


def test_a_mixture_of_both_kinds_of_names_is_refused(written, quiet, records):
    text = (
        "class Both:\n"
        "    def begin(self, run): ...\n"
        "    def after_run(self, run): ...\n"
        "def callbacks():\n"
        "    return [Both()]\n"
    )
    with pytest.raises(DefinitionError, match="after_run and also begin.*keep one kind of names"):
        quiet(written(text)).train(str(records), max_steps=1)


def test_among_the_hooks_of_a_training_that_kind_is_refused_with_where_it_belongs(
    written, quiet, records
):
    class Watch:
        def before_run(self, run): ...

        def after_step(self, run, output): ...

    with pytest.raises(ParamsError, match="Watch.before_run is no method.*from its `callbacks`"):
        quiet(written("")).train(str(records), hooks=[Watch()], max_steps=1)


def test_arguments_that_nobody_gives_are_refused_before_the_training(written, quiet, records):
    text = (
        "class Watch:\n"
        "    def after_step(self, run, output, saver): ...\n"
        "def callbacks():\n"
        "    return [Watch()]\n"
    )
    with pytest.raises(DefinitionError, match="Watch.after_step.*'saver' that nobody gives it"):
        quiet(written(text)).train(str(records), max_steps=1)


def test_a_list_in_the_place_of_the_function_is_refused(written):
    with pytest.raises(DefinitionError, match="callbacks must be a function; it is a list"):
        dovetail.load(written("callbacks = [Count('a')]\n"))


def test_a_run_that_they_end_is_reproduced_and_resumed_bit_for_bit(
    written, quiet, records, assert_same_state
):
    text = "def callbacks(last=3):\n    return [dovetail.hooks.StopAtStep(last)]\n"
    whole = quiet(written(text), "whole", params={"callbacks": {"last": 5}})
    whole.train(str(records), max_steps=9)
    stopped = quiet(written(text), "stopped").train(str(records), max_steps=9)
    assert int(stopped.get_variable_value("global_step")) == 3
    again = quiet(written(text), "stopped", params={"callbacks": {"last": 5}})
    again.train(str(records), max_steps=9)
    assert_same_state(whole, again)
