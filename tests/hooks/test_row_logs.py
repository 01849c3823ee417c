"""Logs of rows: CSV and JSON lines."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pandas
import pytest

import dovetail
from dovetail import hooks
from dovetail.errors import DataError, ParamsError, StorageError

KINDS = [hooks.CsvLog, hooks.JsonLinesLog]


def rows(path):
    if path.suffix == ".csv":
        return [
            {k: float(v) for k, v in row.items() if v != ""}
            for row in csv.DictReader(path.read_text().splitlines())
        ]
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_time(rows):
    return [{k: v for k, v in row.items() if k != "time"} for row in rows]


class Losses(dovetail.Hook):
    def __init__(self):
        self.seen = {}

    def after_step(self, run, output):
        self.seen[run.step] = output["loss"].item()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_holds_the_numbers_of_its_step(train, kind):
    losses = Losses()
    hook = kind(every_steps=5)
    done = train(losses, hook, steps=12)
    found = rows(done.folder / hook.path)
    assert [row["step"] for row in found] == [1, 5, 10]
    assert [row["loss"] for row in found] == [losses.seen[s] for s in (1, 5, 10)]
    assert set(found[0]) == {"step", "time", "loss", "learning_rate", "error", "spread"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_leaves_the_rows_of_one_that_never_stopped(train, kind, input_fn):
    class Fail(dovetail.Hook):
        def after_step(self, run, output):
            if run.step == 17:
                raise InterruptedError

    # Two runs over the same batches in the same order; one dies at 17 and goes on from 10.
    whole, broken = kind(every_steps=1), kind(every_steps=1)
    fed = input_fn()[:1] * 25
    estimators = {
        name: train(steps=1, max_steps=None, name=name).estimator for name in ("whole", "broken")
    }
    estimators["whole"].train(lambda: fed, hooks=[whole], max_steps=25)
    again = dovetail.Estimator(
        estimators["broken"].resolved.definition,
        estimators["broken"].model_dir,
        dovetail.RunConfig(device="cpu", progress=False, save_checkpoints_steps=10),
    )
    with pytest.raises(InterruptedError):
        again.train(lambda: fed, hooks=[broken, Fail()], max_steps=25)
    path = Path(again.model_dir, broken.path)
    assert [row["step"] for row in rows(path)] == list(range(2, 18))
    with path.open("a") as file:
        file.write(path.read_text()[-9:-2])  # cut short, as by a kill
    again.train(lambda: fed, hooks=[broken], max_steps=25)
    one = without_time(rows(Path(estimators["whole"].model_dir, whole.path)))
    assert without_time(rows(path)) == one
    assert [row["step"] for row in one] == list(range(2, 26))


def test_what_is_not_finite_is_valid(train):
    class Spoil(dovetail.Hook):
        def after_step(self, run, output):
            output["summaries"]["scalar/spread"].fill_([math.nan, math.inf][run.step - 1])

    def strict(constant):
        raise AssertionError(constant)

    done = train(Spoil(), hooks.CsvLog(every_steps=1), hooks.JsonLinesLog(every_steps=1), steps=2)
    lines = (done.folder / "log.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=strict)["spread"] for line in lines] == [None, None]
    table = pandas.read_csv(done.folder / "log.csv")
    assert math.isnan(table["spread"][0])
    assert table["spread"][1] == math.inf


def evaluated(hook, run, name="", **metrics):
    hook.after_evaluate(run, name, {"global_step": run.step, **metrics})


@pytest.mark.parametrize("kind", KINDS)
def test_evaluations_are_rows_of_their_own_and_new_columns(train, kind):
    class Evaluate(dovetail.Hook):
        def after_step(self, run, output):
            if run.step == 2:
                evaluated(hook, run, loss=0.5, per_class=[1.0])
                evaluated(hook, run, "test", accuracy=0.75)

    hook = kind(names="loss", every_steps=1)
    done = train(Evaluate(), hook, steps=3)
    found = without_time(rows(done.folder / hook.path))
    assert found[1] == {"step": 2, "eval/loss": 0.5}
    assert found[2] == {"step": 2, "eval_test/accuracy": 0.75}
    assert [row["step"] for row in found] == [1, 2, 2, 2, 3]
    if kind is hooks.CsvLog:
        table = pandas.read_csv(done.folder / hook.path)
        assert list(table) == ["step", "time", "loss", "eval/loss", "eval_test/accuracy"]
        assert len(table) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_that_is_done_again_after_a_resume_is_not_written_again(train, kind):
    class Evaluate(dovetail.Hook):
        def begin(self, run):
            if run.step:
                evaluated(hook, run, loss=0.5)

        def after_step(self, run, output):
            if run.step == 3:
                evaluated(hook, run, loss=0.5)

    hook = kind(names="loss", every_steps=1)
    train(hook, Evaluate(), steps=3)
    done = train(hook, Evaluate(), steps=1)
    assert [row["step"] for row in rows(done.folder / hook.path)] == [1, 2, 3, 3, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_keeps_no_log(train, kind, input_fn):
    hook = kind(every_steps=1)
    estimator = train(hook, steps=3).estimator
    with pytest.raises(ParamsError, match="keeps a log of a training"):
        estimator.evaluate(input_fn, hooks=[hook])
    assert len(rows(Path(estimator.model_dir, hook.path))) == 3


def test_a_file_of_something_else_is_not_touched(train, tmp_path):
    for kind, name, text in (
        (hooks.CsvLog, "a.csv", "name,age\nEve,3\n"),
        (hooks.CsvLog, "b.csv", "step,loss\nsoon,3\n"),
        (hooks.JsonLinesLog, "c.jsonl", "[1]\n"),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(DataError, match="is no log of an earlier part of this run"):
            train(kind(path), name=name + ".run")
        assert path.read_text() == text


def test_a_log_in_a_folder_that_can_not_be_made_is_an_error_that_names_it(train, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"Can't keep the log .*file.log\.csv"):
        train(hooks.CsvLog(tmp_path / "file" / "log.csv"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_is_full_for_a_while_loses_no_row(train, kind, monkeypatch):
    class Full(dovetail.Hook):
        """Lets half a row through, from step 3 to 5."""

        def after_step(self, run, output):
            monkeypatch.setattr(Path, "open", halved if 3 <= run.step <= 5 else open_path)

        def end(self, run):
            monkeypatch.setattr(Path, "open", open_path)

    open_path = Path.open

    def halved(self, mode="r", *args, **given):
        file = open_path(self, mode, *args, **given)
        if self.name != hook.path.name or "a" not in mode:
            return file

        class Half:
            tell, truncate = file.tell, file.truncate

            def __enter__(self):
                return self

            def __exit__(self, *error):
                file.close()

            def write(self, content):
                return file.write(content[: len(content) // 2])

        return Half()

    hook = kind(names="loss", every_steps=1)
    done = train(Full(), hook, steps=8)
    assert [row["step"] for row in rows(done.folder / hook.path)] == list(range(1, 9))
    [note] = done.lines
    assert "No space left on device" in note
    assert "The run goes on" in note


def test_a_tensor_is_refused_with_what_to_do(train):
    with pytest.raises(ParamsError, match=r"'y' has shape \[8, 1\]; .*summary\.scalar\('y_mean'"):
        train(hooks.CsvLog(names="y"))


def test_a_path_is_needed():
    with pytest.raises(ParamsError, match="path must be the path of a file; it is ''"):
        hooks.CsvLog("")
