"""Training with evaluations beside it: the same training, one program, nothing read again."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import DataError, ParamsError, StorageError
from dovetail.program.program import Program
from dovetail.run import checkpoint, evaluation_log
from dovetail.run.early_stopping import EarlyStopping
from dovetail.run.estimator import Estimator
from dovetail.run.exporters import BestExporter, FinalExporter, LatestExporter
from dovetail.run.hooks import Hook
from dovetail.run.specs import EvalSpec, TrainSpec
from dovetail.run.summaries import read_scalars
from dovetail.run.train_and_evaluate import train_and_evaluate

STEPS = 10
SETTINGS: dict[str, Any] = {"save_checkpoints_steps": 4, "save_summary_steps": 1, "seed": 3}


class Told(Hook):
    """Keeps what hooks are told of evaluations."""

    def __init__(self) -> None:
        self.evaluations: list[tuple[int, str, dict[str, Any]]] = []

    def after_evaluate(self, run: Any, name: str, metrics: dict[str, Any]) -> None:
        self.evaluations.append((run.step, name, metrics))


def steps_of(folder: Path, tag: str = "loss") -> list[int]:
    return [step for step, _ in read_scalars(folder).get(tag, [])]


def test_each_checkpoint_but_the_first_is_evaluated_and_the_last_once(
    make: Callable[..., Estimator], records: Path
):
    estimator, told = make(**SETTINGS), Told()
    metrics, exports = train_and_evaluate(
        estimator, TrainSpec(records, STEPS, [told]), EvalSpec(records, steps=None)
    )
    assert [step for step, _, _ in told.evaluations] == [4, 8, 10]
    assert told.evaluations[-1][2] == metrics
    assert metrics["global_step"] == STEPS
    assert exports == []
    assert steps_of(Path(estimator.model_dir) / "eval", "accuracy") == [4, 8, 10]


def test_what_is_evaluated_is_the_checkpoint_of_that_step(
    make: Callable[..., Estimator], records: Path
):
    estimator, told = make(**SETTINGS), Told()
    train_and_evaluate(estimator, TrainSpec(records, STEPS, [told]), EvalSpec(records, steps=None))
    alone = make(**SETTINGS)
    for step, _, metrics in told.evaluations:
        path = Path(estimator.model_dir) / "checkpoints" / f"{step:010d}"
        assert alone.evaluate(records, checkpoint_path=path, name="again") == metrics


def test_training_is_bit_for_bit_what_it_is_without_evaluations(
    make: Callable[..., Estimator], records: Path, assert_same_state: Callable[..., None]
):
    plain = make("plain", **SETTINGS).train(records, max_steps=STEPS)
    beside = make("beside", **SETTINGS)
    specs = [EvalSpec(records, steps=None), EvalSpec(records, steps=2, name="some")]
    train_and_evaluate(beside, TrainSpec(records, STEPS), specs)
    assert_same_state(plain, beside)
    for tag in ("loss", "accuracy", "learning_rate"):
        assert read_scalars(plain.model_dir)[tag] == read_scalars(beside.model_dir)[tag]


def drawing_model_fn(features, labels, mode, params):
    """A model whose inputs were drawn at random, by its definition's input_fn."""
    logits = layers.fully_connected(layers.dropout(features["x"]), 3, activation_fn=None)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return dovetail.EstimatorSpec(mode, logits, loss, optimizers.Adam(0.01).minimize(loss))


def drawing_input_fn(records):
    """Augment with every generator that there is but torch's; slowly, so that threads meet."""
    noise = np.random.normal(size=records["x"].shape) + random.random()
    for _ in range(20):
        noise = noise + np.random.normal(size=records["x"].shape)
    return {"x": (records["x"] + noise).astype(np.float32)}, records["label"].reshape(-1)


@pytest.mark.parametrize("prefetch", [0, 3])
def test_random_inputs_of_both_do_not_disturb_each_other(
    prefetch: int,
    tmp_path: Path,
    records: Path,
    batches: Callable[[int], list[Any]],
    assert_same_state: Callable[..., None],
):
    from dataclasses import replace

    from dovetail.definition.signature import Matched

    definition = dovetail.load(drawing_model_fn, params={"batch_size": 4})
    definition = replace(
        definition, input_fn=Matched(drawing_input_fn, ("records",), what="input_fn")
    )

    def drawn_input_fn() -> Any:
        for features, labels in batches(3):
            yield {"x": features["x"] + np.random.normal(size=(1, 5)).astype(np.float32)}, labels

    def made(name: str) -> Estimator:
        config = dovetail.RunConfig(
            device="cpu", progress=False, prefetch=prefetch, save_checkpoints_steps=2
        )
        return Estimator(definition, tmp_path / name, config)

    plain = made("plain").train(records, max_steps=12)
    beside, told = made("beside"), Told()
    specs = [EvalSpec(records, steps=None), EvalSpec(drawn_input_fn, steps=None, name="drawn")]
    train_and_evaluate(beside, TrainSpec(records, 12, [told]), specs)
    assert_same_state(plain, beside)
    alone = made("plain").evaluate(records)
    assert told.evaluations[-2][2] == alone


def test_modes_and_generators_are_as_they_were(make: Callable[..., Estimator], records: Path):
    seen = []

    class Watch(Hook):
        def after_step(self, run, output):
            run.program.network.eval()  # as a user's own hook might leave it
            for module in list(run.program.network.modules())[::2]:
                module.training = True
            if run.step == 1:
                run.request_save()
                self.before = state(run)

        def after_evaluate(self, run, name, metrics):
            after = state(run)
            seen.append([number for number, was in enumerate(self.before) if was != after[number]])

    def state(run):
        network = run.program.network
        return (
            network.mode,
            [module.training for module in network.modules()],
            torch.get_rng_state().tolist(),
            repr(np.random.get_state()),
            random.getstate(),
            [p.grad is None for p in network.parameters()],
        )

    train_and_evaluate(
        make(), TrainSpec(records, 2, [Watch()]), EvalSpec(lambda: _drawing(records))
    )
    assert seen[0] == []


def _drawing(records: Path) -> Any:
    for draw in (torch.rand, np.random.rand, lambda _: random.random()):
        draw(3)
    return records


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often a program is made or built, and a checkpoint read."""
    found = {"made": 0, "built": 0, "read": 0}

    def counted(owner: Any, name: str, key: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            found[key] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    counted(Program, "__init__", "made")
    counted(Program, "_build", "built")
    counted(checkpoint, "load", "read")
    counted(checkpoint.files, "verify", "read")
    return found


def test_one_program_serves_all_and_no_checkpoint_is_read(
    make: Callable[..., Estimator], records: Path, counts: dict[str, int]
):
    specs = [EvalSpec(records, None, name, exporters=()) for name in ("one", "two")]
    estimator = make(**SETTINGS)
    train_and_evaluate(estimator, TrainSpec(records, STEPS), specs)
    assert counts == {"made": 1, "built": 1, "read": 0}
    train_and_evaluate(estimator, TrainSpec(records, STEPS + 4), specs)
    assert counts == {"made": 1, "built": 1, "read": 0}


def test_several_evaluations_have_event_logs_and_metrics_of_their_own(
    make: Callable[..., Estimator], records: Path
):
    estimator, told = make(**SETTINGS), Told()
    specs = [EvalSpec(records, None), EvalSpec(records, 1, "first"), EvalSpec(records, 2, "two")]
    metrics, _ = train_and_evaluate(estimator, TrainSpec(records, STEPS, [told]), specs)
    assert list(metrics) == ["", "first", "two"]
    assert [name for _, name, _ in told.evaluations] == ["", "first", "two"] * 3
    folders = [Path(estimator.eval_dir(name)) for name in (None, "first", "two")]
    assert [steps_of(folder) for folder in folders] == [[4, 8, 10]] * 3
    assert len({read_scalars(folder)["loss"][-1] for folder in folders}) == 3


@pytest.mark.parametrize("stops", [(4,), (6, 7), (3, 5, 9, 10)])
def test_a_run_in_several_calls_has_each_point_once(
    stops: tuple[int, ...], make: Callable[..., Estimator], records: Path
):
    spec = EvalSpec(records, steps=None)
    for stop in (*stops, STEPS):
        train_and_evaluate(make("again", **SETTINGS), TrainSpec(records, stop), spec)
    again = Path(make("again", **SETTINGS).model_dir)
    whole = make("whole", **SETTINGS)
    train_and_evaluate(whole, TrainSpec(records, STEPS), spec)
    expected = dict(read_scalars(Path(whole.eval_dir()))["loss"])
    found = read_scalars(again / "eval")["loss"]
    assert [step for step, _ in found] == sorted({4, 8, STEPS, *stops})
    assert {step: value for step, value in found if step in expected} == expected


class Killed(BaseException):
    """Ends a run as a kill would: nothing that follows is done."""


def test_an_evaluation_that_a_kill_prevented_is_made_by_the_resumed_run(
    make: Callable[..., Estimator], records: Path
):
    class Kill(Hook):
        def __init__(self, step: int) -> None:
            self.step = step

        def begin(self, run):
            if run.step == self.step:
                raise Killed

    whole = make("whole", **SETTINGS)
    train_and_evaluate(whole, TrainSpec(records, STEPS), EvalSpec(records, None))
    again, told = make("again", **SETTINGS), Told()
    spec = EvalSpec(records, None, hooks=[Kill(8)])
    with pytest.raises(Killed):
        train_and_evaluate(again, TrainSpec(records, STEPS), spec)
    assert again.get_variable_value("global_step") == 8
    exporter = LatestExporter()
    train_and_evaluate(
        make("again", **SETTINGS),
        TrainSpec(records, STEPS, [told]),
        EvalSpec(records, None, exporters=exporter),
    )
    saved = {step for step, _, _ in told.evaluations}
    assert saved == {8, 10}
    assert read_scalars(Path(again.eval_dir())) == read_scalars(Path(whole.eval_dir()))
    exported = sorted((Path(again.model_dir) / "export" / "latest").iterdir())
    assert [int(path.name) for path in exported] == [8, 10]


def test_what_a_killed_run_evaluated_beyond_its_last_checkpoint_is_dropped(
    make: Callable[..., Estimator], records: Path
):
    estimator = make(**SETTINGS)
    spec = EvalSpec(records, None)
    train_and_evaluate(estimator, TrainSpec(records, STEPS), spec)
    before = read_scalars(Path(estimator.eval_dir()))
    for path in checkpoint.listed(estimator.model_dir)[-2:]:
        shutil.rmtree(path)
    train_and_evaluate(make(**SETTINGS), TrainSpec(records, STEPS), spec)
    assert read_scalars(Path(estimator.eval_dir())) == before
    for path in checkpoint.listed(estimator.model_dir)[-2:]:
        shutil.rmtree(path)
    train_and_evaluate(make(**SETTINGS), TrainSpec(records, 6), spec)
    assert steps_of(Path(estimator.eval_dir())) == [4, 6]


def test_nothing_left_to_train_evaluates_the_last_checkpoint(
    make: Callable[..., Estimator], records: Path
):
    make(**SETTINGS).train(records, max_steps=STEPS)
    spec = EvalSpec(records, None, exporters=[FinalExporter(), BestExporter()])
    for _ in range(2):
        estimator = make(**SETTINGS)
        metrics, exports = train_and_evaluate(estimator, TrainSpec(records, STEPS), spec)
        assert metrics == make(**SETTINGS).evaluate(records)
        assert exports[0] == Path(estimator.model_dir) / "export" / "final" / f"{STEPS:010d}"
    assert steps_of(Path(estimator.eval_dir())) == [STEPS]


def test_the_best_export_survives_restarts(make: Callable[..., Estimator], records: Path):
    scores = iter([0.3, 0.9, 0.5, 0.8, 0.7, 0.6, 0.85])

    def scored_model_fn(features, labels, mode, params):
        logits = layers.fully_connected(features["x"], 3, activation_fn=None)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        score = torch.tensor(next(scores) if mode == "eval" else 0.0)
        train_op = optimizers.SGD(0.1).minimize(loss)
        return dovetail.EstimatorSpec(mode, logits, loss, train_op, {"score": score})

    for stop in (2, 4, 5, 6, 7):
        exporter = BestExporter(metric="score", exports_to_keep=1)
        estimator = make("run", scored_model_fn, save_checkpoints_steps=1, keep_checkpoint_max=1)
        spec = EvalSpec(records, 1, exporters=exporter)
        train_and_evaluate(estimator, TrainSpec(records, stop), spec)
    (exported,) = (Path(estimator.model_dir) / "export" / "best").glob("[0-9]*")
    assert checkpoint.load(exported).step == 2


def test_the_best_checkpoints_are_kept_beside_the_newest(
    make: Callable[..., Estimator], records: Path
):
    scores = iter([0.3, 0.9, 0.5, 0.8, 0.7, 0.6, 0.2])

    def scored_model_fn(features, labels, mode, params):
        logits = layers.fully_connected(features["x"], 3, activation_fn=None)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        score = torch.tensor(next(scores) if mode == "eval" else 0.0)
        train_op = optimizers.SGD(0.1).minimize(loss)
        return dovetail.EstimatorSpec(mode, logits, loss, train_op, {"score": score})

    for stop in (2, 3, 7):
        settings = {"save_checkpoints_steps": 1, "keep_checkpoint_max": 1}
        best = {"keep_checkpoint_best": 2, "best_metric": "score"}
        estimator = make("run", scored_model_fn, **settings, **best)
        train_and_evaluate(estimator, TrainSpec(records, stop), EvalSpec(records, 1, "test"))
    kept = [int(path.name) for path in checkpoint.listed(estimator.model_dir)]
    assert kept == [2, 4, 7]


def test_a_metric_for_the_best_that_no_evaluation_gives_is_named(
    make: Callable[..., Estimator], records: Path
):
    specs = [EvalSpec(records, 1, name) for name in ("one", "two")]
    for metric in ("accuracy", "two/accuracy"):
        estimator = make(metric[:3], keep_checkpoint_best=1, best_metric=metric)
        train_and_evaluate(estimator, TrainSpec(records, 1), specs)
    for metric, meant in (("acuracy", "accuracy"), ("two/acuracy", "two/accuracy")):
        estimator = make(f"bad_{metric[:3]}", keep_checkpoint_best=1, best_metric=metric)
        with pytest.raises(ParamsError, match=f"Did you mean '{meant}'"):
            train_and_evaluate(estimator, TrainSpec(records, 1), specs)


def test_a_signal_does_not_wait_for_an_evaluation_and_changes_none(
    make: Callable[..., Estimator], records: Path
):
    class Signal(Hook):
        def __init__(self, step: int) -> None:
            self.step, self.batches = step, 0

        def after_step(self, run, output):
            self.batches += run.step == self.step
            if run.step == self.step and self.batches == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    whole = make("whole", **SETTINGS)
    train_and_evaluate(whole, TrainSpec(records, STEPS), EvalSpec(records, None))
    expected = read_scalars(Path(whole.eval_dir()))
    # In an evaluation, which is given up; and in a step, whose checkpoint was not due.
    for name, in_evaluation, in_training in (("a", 8, -1), ("b", -1, 6)):
        again, watch = make(name, **SETTINGS), Signal(in_evaluation)
        with pytest.raises(SystemExit) as caught:
            train_and_evaluate(
                again,
                TrainSpec(records, STEPS, [Signal(in_training)]),
                EvalSpec(records, None, hooks=[watch]),
            )
        assert caught.value.code == 143
        assert watch.batches <= 1
        assert again.get_variable_value("global_step") == max(in_evaluation, in_training)
        train_and_evaluate(
            make(name, **SETTINGS), TrainSpec(records, STEPS), EvalSpec(records, None)
        )
        assert read_scalars(Path(again.eval_dir())) == expected


def test_an_export_can_be_evaluated_and_predicted_with(
    make: Callable[..., Estimator], records: Path
):
    estimator = make(**SETTINGS)
    spec = EvalSpec(records, None, exporters=FinalExporter())
    metrics, (exported,) = train_and_evaluate(estimator, TrainSpec(records, STEPS), spec)
    fresh = make(**SETTINGS)
    assert fresh.evaluate(records, checkpoint_path=exported, name="export") == metrics
    assert len(list(fresh.predict(records, checkpoint_path=exported))) == 37


def test_a_run_stops_early_and_a_restart_stops_at_once(
    make: Callable[..., Estimator], records: Path
):
    def run(patience: int) -> Estimator:
        estimator = make(save_checkpoints_steps=2)
        stop = EarlyStopping("loss", patience=patience, min_delta=1e3)
        train_and_evaluate(estimator, TrainSpec(records, 20, [stop]), EvalSpec(records, None))
        return estimator

    assert run(2).get_variable_value("global_step") == 6
    assert run(2).get_variable_value("global_step") == 6
    assert run(4).get_variable_value("global_step") == 10


def test_a_hook_s_request_to_save_is_evaluated_too(make: Callable[..., Estimator], records: Path):
    class SaveAt3(Hook):
        def after_step(self, run, output):
            if run.step == 3:
                run.request_save()

    estimator = make(**SETTINGS)
    train_and_evaluate(estimator, TrainSpec(records, 5, [SaveAt3()]), EvalSpec(records, 1))
    assert steps_of(Path(estimator.eval_dir())) == [3, 4, 5]


def test_averages_are_evaluated_where_there_are_any(make: Callable[..., Estimator], records: Path):
    estimator = make(ema_decay=0.9, **SETTINGS)
    metrics, _ = train_and_evaluate(estimator, TrainSpec(records, STEPS), EvalSpec(records, None))
    plain = make("plain", **SETTINGS).train(records, max_steps=STEPS)
    assert metrics["loss"] != plain.evaluate(records)["loss"]
    # Neither a program that keeps averages nor one that does not need be told.
    assert make(**SETTINGS).evaluate(records) == metrics
    assert make(ema_decay=0.9, **SETTINGS).evaluate(records) == metrics
    assert estimator.evaluate(records) == metrics
    saved = checkpoint.load(estimator.latest_checkpoint() or "")
    values = {k: v for k, v in saved.model.items() if "average" not in k}
    assert values.keys() == checkpoint.load(plain.latest_checkpoint() or "").model.keys()


def test_an_error_in_an_evaluation_names_it_and_the_state_is_saved(
    make: Callable[..., Estimator], records: Path
):
    estimator = make(**SETTINGS)
    spec = EvalSpec(lambda: [], name="empty")
    with pytest.raises(DataError) as caught:
        train_and_evaluate(estimator, TrainSpec(records, STEPS), spec)
    assert "the evaluation 'empty' at step 4" in "".join(caught.value.__notes__)
    assert estimator.get_variable_value("global_step") == 4


def test_a_full_disk_leaves_the_log_of_an_evaluation_whole(
    make: Callable[..., Estimator], records: Path, monkeypatch: pytest.MonkeyPatch
):
    record = evaluation_log.record

    class Full(Hook):
        def after_step(self, run, output):
            def too_long(payload: bytes) -> Any:
                raise OSError(28, "No space left on device")

            if run.step == 8:
                monkeypatch.setattr(evaluation_log, "record", too_long)

    whole, spec = make("whole", **SETTINGS), EvalSpec(records, None)
    train_and_evaluate(whole, TrainSpec(records, STEPS), spec)
    again = make("again", **SETTINGS)
    with pytest.raises(StorageError, match="metrics of step 8 can't be written .* made again"):
        train_and_evaluate(again, TrainSpec(records, STEPS, [Full()]), spec)
    monkeypatch.setattr(evaluation_log, "record", record)
    assert again.get_variable_value("global_step") == 8
    assert steps_of(Path(again.eval_dir())) == [4]
    train_and_evaluate(make("again", **SETTINGS), TrainSpec(records, STEPS), spec)
    assert read_scalars(Path(again.eval_dir())) == read_scalars(Path(whole.eval_dir()))


def test_hooks_of_an_evaluation_see_its_batches_alone(
    make: Callable[..., Estimator], records: Path
):
    calls = []

    class Count(Hook):
        def after_step(self, run, output):
            calls.append(run.step)

    spec = EvalSpec(records, steps=2, hooks=[Count()])
    train_and_evaluate(make(**SETTINGS), TrainSpec(records, STEPS), spec)
    assert calls == [4, 4, 8, 8, 10, 10]


@pytest.mark.parametrize(
    ("make_spec", "said"),
    [
        (lambda: TrainSpec("x", max_steps=0), "TrainSpec: max_steps must be a whole number"),
        (lambda: EvalSpec("x", steps=True), "EvalSpec: steps must be a whole number"),
        (lambda: EvalSpec("x", name="a/b"), "name must be text without '/'"),
        (lambda: EvalSpec("x", throttle_secs=-1), "throttle_secs must be seconds"),
        (lambda: EvalSpec("x", hooks=[Told]), "hooks holds the class Told"),  # pyright: ignore
    ],
)
def test_a_spec_that_makes_no_sense_is_refused_when_it_is_made(
    make_spec: Callable[[], object], said: str
):
    with pytest.raises(ParamsError, match=said):
        make_spec()


def test_specs_that_clash_and_wrong_arguments_are_refused(make: Callable[..., Estimator]):
    estimator, spec, train = make(), EvalSpec("x"), TrainSpec("x")
    with pytest.raises(ParamsError, match="Two EvalSpecs would write to 'eval'"):
        train_and_evaluate(estimator, train, [spec, spec])
    best = [EvalSpec("x", name=name, exporters=BestExporter()) for name in "ab"]
    with pytest.raises(ParamsError, match="Two exporters would export to 'export/best'"):
        train_and_evaluate(estimator, train, best)
    wrong: list[tuple[Any, Any, Any]] = [
        (3, train, spec),
        (estimator, spec, spec),
        (estimator, train, train),
    ]
    for arguments in wrong:
        with pytest.raises(ParamsError, match="must be a dovetail"):
            train_and_evaluate(*arguments)
