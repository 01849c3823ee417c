"""The training loop: when it ends, what it saves, whom it tells, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dovetail
from dovetail import layers, optimizers
from dovetail.errors import DataError, ParamsError
from dovetail.run import checkpoint
from dovetail.run.estimator import Estimator
from dovetail.run.hooks import Hook
from dovetail.run.summaries import read_scalars


def steps_of(estimator: Estimator) -> list[int]:
    return [int(path.name) for path in checkpoint.listed(estimator.model_dir)]


def linear_model_fn(features, labels, mode, params):
    y = layers.fully_connected(features, 1, activation_fn=None)
    loss = torch.mean((y - labels) ** 2)
    return dovetail.EstimatorSpec(mode, y, loss, optimizers.SGD(0.1).minimize(loss))


def test_parameters_after_training_are_those_of_a_plain_loop(
    make: Callable[..., Estimator], table: dict[str, np.ndarray]
):
    x = torch.from_numpy(table["x"])
    y = x.sum(1, keepdim=True)
    pairs = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 32, 8)] * 2
    estimator = make("run", linear_model_fn).train(lambda: pairs)
    first = checkpoint.load(checkpoint.listed(estimator.model_dir)[0])
    assert first.step == 0

    net = torch.nn.Linear(5, 1)
    net.load_state_dict({k.removeprefix("fully_connected."): v for k, v in first.model.items()})
    sgd = torch.optim.SGD(net.parameters(), 0.1)
    for features, labels in pairs:
        sgd.zero_grad()
        torch.mean((net(features) - labels) ** 2).backward()
        sgd.step()
    assert estimator.get_variable_value("global_step") == 8
    for name, parameter in net.state_dict().items():
        found = estimator.get_variable_value(f"fully_connected.{name}")
        assert np.array_equal(found, parameter.numpy())


def test_max_steps_is_the_step_to_end_at_and_steps_how_many_more(
    make: Callable[..., Estimator], records: Path
):
    estimator = make()
    estimator.train(records, max_steps=3)
    estimator.train(records, max_steps=5)
    assert estimator.get_variable_value("global_step") == 5
    estimator.train(records, steps=3)
    estimator.train(records, steps=3)
    assert estimator.get_variable_value("global_step") == 11


def test_nothing_is_done_when_max_steps_is_reached(make: Callable[..., Estimator], records: Path):
    estimator = make().train(records, max_steps=3)
    before = sorted(str(p) for p in Path(estimator.model_dir).rglob("*"))
    opened = []

    def input_fn():
        opened.append(1)
        return records

    for other in (estimator, make()):
        for max_steps in (1, 3):
            trained = other.train_run(input_fn, max_steps=max_steps)
            assert (trained.step, trained.steps, trained.why) == (3, 0, "nothing to do")
    assert not opened
    assert sorted(str(p) for p in Path(estimator.model_dir).rglob("*")) == before


def test_records_come_once_or_for_train_epochs_counted_from_the_beginning(
    make: Callable[..., Estimator], records: Path
):
    once = make("once").train_run(records)
    assert (once.step, once.position, once.why) == (5, 37, "input ended")
    assert make("once").train_run(records).why == "nothing to do"

    twice = make("twice", params={"train_epochs": 2})
    twice.train(records, max_steps=3)
    trained = make("twice", params={"train_epochs": 2}).train_run(records)
    assert (trained.step, trained.position) == (10, 74)


def test_max_steps_of_params_bounds_a_call_that_says_nothing(
    make: Callable[..., Estimator], records: Path
):
    estimator = make(params={"max_steps": 7})
    assert estimator.train_run(records).step == 7
    assert estimator.train_run(records, steps=2).step == 9


def test_an_input_ends_where_it_ends(
    make: Callable[..., Estimator], batches: Callable[[int], list[Any]]
):
    trained = make().train_run(lambda: batches(10))
    assert (trained.step, trained.position, trained.why) == (4, 37, "input ended")


def test_checkpoints_come_at_step_0_every_so_many_steps_and_at_the_end(
    make: Callable[..., Estimator], records: Path
):
    estimator = make(save_checkpoints_steps=3, keep_checkpoint_max=0).train(records, max_steps=8)
    assert steps_of(estimator) == [0, 3, 6, 8]
    assert make("end").train(records, max_steps=2).latest_checkpoint().endswith("0000000002")


def test_only_the_newest_checkpoints_are_kept(make: Callable[..., Estimator], records: Path):
    estimator = make(save_checkpoints_steps=1, keep_checkpoint_max=2).train(records, max_steps=6)
    assert steps_of(estimator) == [5, 6]
    default = make("default", save_checkpoints_steps=1).train(records, max_steps=8)
    assert steps_of(default) == [4, 5, 6, 7, 8]


def test_checkpoints_come_by_the_clock(
    make: Callable[..., Estimator], records: Path, monkeypatch: pytest.MonkeyPatch
):
    from dovetail.run import train

    class Clock:
        seconds = 0.0

        @classmethod
        def monotonic(cls) -> float:
            return cls.seconds

    class Tick(Hook):
        def after_step(self, run, output):
            Clock.seconds += 1.0

    monkeypatch.setattr(train, "time", Clock)
    estimator = make(save_checkpoints_secs=3, keep_checkpoint_max=0)
    estimator.train(records, hooks=[Tick()], max_steps=7)
    assert steps_of(estimator) == [0, 3, 6, 7]


class Diary(Hook):
    """Writes down what it is told."""

    def __init__(self, name: str, told: list[Any]):
        self.name = name
        self.told = told

    def begin(self, run):
        self.told.append((self.name, "begin", run.step, run.program.built))

    def before_step(self, run):
        self.told.append((self.name, "before", run.step))

    def after_step(self, run, output):
        self.told.append((self.name, "after", run.step, run.program.global_step))
        assert output["loss"].shape == ()

    def end(self, run):
        newest = checkpoint.latest(run.model_dir)
        self.told.append((self.name, "end", run.step, newest and int(newest.name)))

    def after_save(self, run, path):
        checkpoint.load(path)
        self.told.append((self.name, "saved", int(path.name)))


class Listener:
    """Writes down of which checkpoints it is told."""

    def __init__(self, told: list[Any]):
        self.told = told

    def after_save(self, path, step):
        checkpoint.load(path)
        self.told.append(("l", step, int(path.name)))


def test_hooks_and_listeners_are_called_in_order(make: Callable[..., Estimator], records: Path):
    told: list[Any] = []
    make(save_checkpoints_steps=2).train(
        records,
        hooks=[Diary("a", told), Diary("b", told)],
        max_steps=3,
        saving_listeners=[Listener(told)],
    )
    # Saving goes on beside the steps, so of these it is known only in which order they come.
    assert [what for what in told if what[1] == "saved"] == [
        (name, "saved", step) for step in (0, 2, 3) for name in "ab"
    ]
    assert [what for what in told if what[0] == "l"] == [("l", n, n) for n in (0, 2, 3)]
    assert told.index(("l", 3, 3)) < told.index(("a", "saved", 3)) < told.index(("a", "end", 3, 3))
    assert [what for what in told if what[0] != "l" and what[1] != "saved"] == [
        ("a", "begin", 0, True),
        ("b", "begin", 0, True),
        ("a", "before", 0),
        ("b", "before", 0),
        ("a", "after", 1, 1),
        ("b", "after", 1, 1),
        ("a", "before", 1),
        ("b", "before", 1),
        ("a", "after", 2, 2),
        ("b", "after", 2, 2),
        ("a", "before", 2),
        ("b", "before", 2),
        ("a", "after", 3, 3),
        ("b", "after", 3, 3),
        ("a", "end", 3, 3),
        ("b", "end", 3, 3),
    ]


def test_a_hook_is_given_the_restored_state_when_a_run_goes_on(
    make: Callable[..., Estimator], records: Path
):
    make().train(records, max_steps=3)
    told: list[Any] = []
    make().train(records, hooks=[Diary("a", told)], max_steps=4)
    assert told[0] == ("a", "begin", 3, True)


def test_a_failing_listener_names_itself_and_the_checkpoint_stays(
    make: Callable[..., Estimator], records: Path
):
    class Failing:
        def after_save(self, path, step):
            if step:
                raise OSError("no room")

    estimator = make()
    with pytest.raises(OSError, match="no room") as caught:
        estimator.train(records, max_steps=2, saving_listeners=[Failing()])
    assert "Failing.after_save, at step 2" in caught.value.__notes__[0]
    assert estimator.get_variable_value("global_step") == 2


@pytest.mark.parametrize("wrong", [[Hook], [3], 3])
def test_what_is_no_hook_is_refused_before_anything_runs(
    wrong: Any, make: Callable[..., Estimator], records: Path
):
    estimator = make()
    with pytest.raises(ParamsError, match="hooks"):
        estimator.train(records, hooks=wrong, max_steps=1)
    with pytest.raises(ParamsError, match="saving_listeners"):
        estimator.train(records, max_steps=1, saving_listeners=wrong)
    assert estimator.latest_checkpoint() is None


def test_tensorboard_reads_the_curves(make: Callable[..., Estimator], records: Path):
    estimator = make(save_summary_steps=2)
    estimator.train(records, max_steps=3)
    estimator.train(records, max_steps=6)
    estimator.evaluate(records)
    reader = EventAccumulator(estimator.model_dir)
    reader.Reload()
    tags = reader.Tags()["scalars"]
    tags = [tag for tag in tags if not tag.startswith("goodput/")]
    assert sorted(tags) == ["accuracy", "examples_per_sec", "learning_rate", "loss"]
    for tag in tags:
        assert [event.step for event in reader.Scalars(tag)] == [1, 2, 4, 6]
    rates = {event.step: event.value for event in reader.Scalars("learning_rate")}
    cosine = optimizers.schedules.Cosine(0.05, 40)
    for step, rate in rates.items():
        assert rate == pytest.approx(cosine(step - 1), rel=1e-6)  # of the step's own update
    assert all(event.value > 0 for event in reader.Scalars("examples_per_sec"))
    evaluation = EventAccumulator(f"{estimator.model_dir}/eval")
    evaluation.Reload()
    assert sorted(evaluation.Tags()["scalars"]) == ["accuracy", "loss"]
    assert [event.step for event in evaluation.Scalars("loss")] == [6]


def test_summaries_of_a_model_fn_are_written_at_summary_steps(
    make: Callable[..., Estimator], table: dict[str, np.ndarray]
):
    def model_fn(features, labels, mode, params):
        spec = linear_model_fn(features, labels, mode, params)
        dovetail.summary.scalar("net/loss_again", spec.loss)
        dovetail.summary.histogram("output", spec.predictions)
        dovetail.summary.image("image", features.reshape(-1, 5, 1, 1).sigmoid())
        dovetail.summary.text("note", "hello")
        return spec

    x = table["x"][:8]
    estimator = make("run", model_fn, save_summary_steps=2)
    estimator.train(lambda: [(x, x[:, :1])] * 4)
    found = read_scalars(estimator.model_dir)
    assert found["net/loss_again"] == found["loss"]
    assert [step for step, _ in found["loss"]] == [1, 2, 4]
    reader = EventAccumulator(estimator.model_dir)
    reader.Reload()
    assert reader.Tags()["histograms"] == ["output"]
    assert reader.Tags()["images"] == ["image/0", "image/1", "image/2"]


def test_a_torch_data_loader_is_an_input(
    make: Callable[..., Estimator], table: dict[str, np.ndarray]
):
    x = torch.from_numpy(table["x"])
    data = torch.utils.data.TensorDataset(x, x[:, :1])

    def input_fn():
        return torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)

    orders = []

    class Seen(Hook):
        def after_step(self, run, output):
            orders[-1].append(float(output["loss"]))

    for name in ("one", "two"):
        orders.append([])
        torch.rand(1)  # what others draw does not reach the run
        make(name, linear_model_fn).train(input_fn, hooks=[Seen()])
    assert len(orders[0]) == 5
    assert orders[0] == orders[1]


def test_training_leaves_the_global_generators_as_they_were(
    make: Callable[..., Estimator], records: Path
):
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    estimator = make().train(records, max_steps=2)
    estimator.evaluate(records)
    list(estimator.predict(records))
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.rand(3), expected[1])


def test_an_empty_input_is_an_error_and_one_that_is_used_up_is_not(
    make: Callable[..., Estimator], records: Path
):
    estimator = make()
    with pytest.raises(DataError, match="input_fn .* gave no batch, so there is nothing to train"):
        estimator.train(lambda: [])
    assert estimator.latest_checkpoint() is None
    estimator.train(records, max_steps=2)
    assert estimator.train_run(lambda: []).why == "nothing to do"
    estimator.train(records, max_steps=3)
    assert estimator.get_variable_value("global_step") == 3


def test_a_run_in_a_thread_is_not_hindered_by_signals(
    make: Callable[..., Estimator], records: Path
):
    import threading

    estimator = make()
    thread = threading.Thread(target=lambda: estimator.train(records, max_steps=2))
    thread.start()
    thread.join()
    assert estimator.get_variable_value("global_step") == 2


def test_no_thread_is_left_when_training_ends_early(make: Callable[..., Estimator], records: Path):
    import threading

    before = threading.active_count()
    make().train(records, max_steps=2)

    class Failing(Hook):
        def after_step(self, run, output):
            raise KeyError

    with pytest.raises(KeyError):
        make("other").train(records, hooks=[Failing()], max_steps=2)
    assert threading.active_count() == before


def test_an_input_is_read_only_as_far_as_steps_are_taken(
    make: Callable[..., Estimator], table: dict[str, np.ndarray]
):
    given = []

    def input_fn() -> Iterator[Any]:
        while True:
            given.append(1)
            yield table["x"][:8], table["x"][:8, :1]

    make("run", linear_model_fn).train(input_fn, steps=3)
    assert len(given) == 3


def test_progress_is_shown_and_can_be_turned_off(
    make: Callable[..., Estimator], records: Path, capsys: pytest.CaptureFixture[str]
):
    make("quiet").train(records, max_steps=4)
    assert capsys.readouterr().err == ""
    make("loud", progress=True, log_step_count_steps=2).train(records, max_steps=4)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines[:-1]] == ["train step 2/4", "train step 4/4"]
    assert lines[-1].startswith("Goodput ")
    assert "loss" in lines[0]
    assert "examples/s" in lines[0]
