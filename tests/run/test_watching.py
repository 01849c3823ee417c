"""What a real training says of itself, as `status` and TensorBoard read it afterwards."""

from __future__ import annotations

import math
import os
import signal

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dovetail
from dovetail.errors import NanLossError
from dovetail.run import heartbeat
from dovetail.run.event_files import event_files, read_events
from dovetail.run.hooks import Hook
from dovetail.run.status import status


class At(Hook):
    """Does something after a step."""

    def __init__(self, step, what) -> None:
        self.step, self.what = step, what

    def after_step(self, run, output):
        if run.step == self.step:
            self.what(run)


def events_of(folder):
    return [event for path in event_files(folder) for _, _, event in read_events(path)]


def test_a_run_that_ends_says_all_of_it(make, records):
    estimator = make(save_checkpoints_steps=3)
    estimator.train(str(records), max_steps=5)
    found = status(estimator.model_dir)
    assert (found.standing, found.why, found.step, found.last_step) == ("done", "max_steps", 5, 5)
    assert (found.checkpoint.step, found.checkpoint.whole) == (5, True)
    assert found.learning_rate == pytest.approx(0.05 * (1 + math.cos(math.pi * 4 / 40)) / 2)
    assert {"setup", "data", "step", "checkpoint"} <= found.goodput.keys()
    told = heartbeat.read(estimator.model_dir)
    assert told["position"] == 40
    assert told["checkpoint"]["step"] == 5


def test_it_says_while_it_goes_what_it_does(make, records):
    seen = []
    estimator = make(save_checkpoints_steps=2)
    estimator.train(
        str(records), max_steps=4, hooks=[At(3, lambda run: seen.append(status(run.model_dir)))]
    )
    (found,) = seen
    assert (found.standing, found.doing, found.last_step) == ("running", "training", 4)
    assert found.process["pid"] == os.getpid()


def test_an_error_is_the_end_and_is_told(make, records):
    def fail(run):
        raise ValueError("the hook had enough")

    estimator = make()
    with pytest.raises(ValueError, match="had enough"):
        estimator.train(str(records), max_steps=5, hooks=[At(2, fail)])
    found = status(estimator.model_dir)
    assert (found.standing, found.why) == ("failed", "ValueError: the hook had enough")


def test_a_loss_that_is_not_finite_is_the_end_and_is_told(make, batches):
    def input_fn():
        given = batches(8)
        given[2] = ({"x": given[2][0]["x"] * float("nan")}, given[2][1])
        return given

    estimator = make()
    with pytest.raises(NanLossError):
        estimator.train(input_fn)
    assert status(estimator.model_dir).why.startswith("NanLossError: ")


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")]
)
def test_a_signal_stops_and_the_state_is_saved(make, records, number, name):
    estimator = make()
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        estimator.train(
            str(records), max_steps=9, hooks=[At(4, lambda run: os.kill(os.getpid(), number))]
        )
    found = status(estimator.model_dir)
    assert (found.standing, found.why, found.step) == ("stopped", name, 4)
    assert found.checkpoint.step == 4


def test_a_resumed_run_has_one_graph_one_session_and_one_curve(make, records):
    make(save_summary_steps=1).train(str(records), max_steps=3)
    make(save_summary_steps=1).train(str(records), max_steps=6)
    folder = make().model_dir
    events = events_of(folder)
    assert sum(event.HasField("graph_def") for event in events) == 1
    tags = [value.tag for event in events for value in event.summary.value]
    assert tags.count("_hparams_/session_start_info") == 1
    assert tags.count("values") == 1
    read = EventAccumulator(folder).Reload()
    assert [point.step for point in read.Scalars("goodput/step")] == [1, 2, 3, 4, 5, 6]
    names = {node.name for node in read.Graph().node}
    assert {"fully_connected/weight", "batch_norm/batch_norm", "loss", "train/optimizer"} <= names


def test_watching_changes_nothing_of_what_is_trained(make, records, assert_same_state):
    make("watched", heartbeat_secs=0.001, save_summary_steps=1).train(str(records), max_steps=5)
    plain = make("plain", heartbeat_secs=0).train(str(records), max_steps=5)
    assert_same_state(make("watched"), plain)
    assert not os.path.exists(os.path.join(plain.model_dir, heartbeat.FILE))
    assert status(plain.model_dir).standing == "unknown"


def test_shares_of_the_time_add_up_at_every_point(make, records):
    estimator = make(save_summary_steps=1, save_checkpoints_steps=2)
    estimator.train(str(records), max_steps=5)
    shares = {}
    for event in events_of(estimator.model_dir):
        for value in event.summary.value:
            if value.tag.startswith("goodput/"):
                shares[event.step] = shares.get(event.step, 0.0) + value.simple_value
    assert shares.keys() == {1, 2, 3, 4, 5}
    assert all(share == pytest.approx(1.0) for share in shares.values())


def test_the_graph_leaves_a_model_fn_that_counts_its_calls_as_it_was(tmp_path):
    modes = []

    def model_fn(features, labels, mode, params):
        modes.append(mode)
        loss = (dovetail.layers.fully_connected(features, 1) ** 2).mean()
        return dovetail.EstimatorSpec(mode, None, loss, dovetail.optimizers.SGD(0.1).minimize(loss))

    config = dovetail.RunConfig(tmp_path, progress=False, device="cpu")
    estimator = dovetail.Estimator(model_fn, config=config)
    estimator.train(lambda: [(torch.ones(2, 3), None)] * 2)
    assert modes == ["train"] * 4  # to build the layers, to draw the graph, and two steps
