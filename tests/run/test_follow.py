"""Following a run elsewhere: each checkpoint once, in order, whatever the run does meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dovetail.errors import CheckpointError
from dovetail.program.program import Program
from dovetail.run import checkpoint
from dovetail.run.estimator import Estimator
from dovetail.run.exporters import BestExporter, FinalExporter
from dovetail.run.follow import follow
from dovetail.run.heartbeat import Heartbeat
from dovetail.run.specs import EvalSpec
from dovetail.run.summaries import read_scalars


class Elsewhere:
    """A run of another process, as the follower finds it: it goes on when the follower waits.

    What happens at each wait is a list of functions; time is counted in waits.
    """

    def __init__(self, *events: Callable[[], object]) -> None:
        self.events = list(events)
        self.now = 0.0
        self.notes: list[str] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if not self.events:
            pytest.fail("the follower waits for nothing")
        self.events.pop(0)()

    def followed(self, estimator: Estimator, spec: EvalSpec, **more: Any) -> list[int]:
        found = follow(
            estimator,
            spec,
            note=self.notes.append,
            clock=lambda: self.now,
            sleep=self.sleep,
            **more,
        )
        return [step for step, _ in found]


def now(spec_input: Any, **more: Any) -> EvalSpec:
    return EvalSpec(spec_input, None, start_delay_secs=0, throttle_secs=0, **more)


def nothing() -> None:
    pass


@pytest.fixture
def trained(make: Callable[..., Estimator], records: Path) -> Path:
    """The checkpoints of a run of 6 steps, one each 2, kept apart."""
    estimator = make("trained", save_checkpoints_steps=2)
    estimator.train(records, max_steps=6)
    return Path(estimator.model_dir)


@pytest.fixture
def come(trained: Path, tmp_path: Path) -> Callable[..., Callable[[], None]]:
    """Make an event: the run's checkpoints of these steps are there now."""
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)

    def event(*steps: int) -> Callable[[], None]:
        def happen() -> None:
            for step in steps:
                name = f"checkpoints/{step:010d}"
                shutil.copytree(trained / name, tmp_path / "run" / name)

        return happen

    return event


@pytest.fixture
def heart(tmp_path: Path, trained: Path, come: Any) -> Heartbeat:
    heart = Heartbeat(tmp_path / "run", 10)
    heart.beat("training", 1)
    return heart


def test_each_checkpoint_is_evaluated_once_in_the_order_of_steps_until_the_run_ends(
    make: Callable[..., Estimator],
    records: Path,
    come: Callable[..., Callable[[], None]],
    heart: Heartbeat,
    trained: Path,
):
    run = Elsewhere(
        nothing, come(0), come(4, 2), nothing, come(6), lambda: heart.close("done", "max_steps")
    )
    estimator = make("run")
    assert run.followed(estimator, now(records)) == [2, 4, 6]
    assert "has ended: done (max_steps)" in run.notes[-1]
    found = read_scalars(Path(estimator.eval_dir()))["loss"]
    alone = make("trained")
    for step, loss in found:
        path = trained / "checkpoints" / f"{step:010d}"
        assert alone.evaluate(records, checkpoint_path=path)["loss"] == pytest.approx(loss)
    assert [step for step, _ in found] == [2, 4, 6]


def test_what_comes_with_the_end_is_evaluated_too(
    make: Callable[..., Estimator],
    records: Path,
    come: Callable[..., Callable[[], None]],
    heart: Heartbeat,
):
    def last() -> None:
        come(2, 4, 6)()
        heart.close("error", "a failure")

    assert Elsewhere(last).followed(make("run"), now(records)) == [2, 4, 6]


def test_those_in_the_event_log_are_not_evaluated_again(
    make: Callable[..., Estimator],
    records: Path,
    come: Callable[..., Callable[[], None]],
    heart: Heartbeat,
):
    come(2, 4)()
    heart.close("done", "max_steps")
    estimator = make("run")
    assert Elsewhere().followed(estimator, now(records)) == [2, 4]
    come(6)()
    assert Elsewhere().followed(make("run"), now(records)) == [6]
    assert Elsewhere().followed(make("run"), now(records)) == []
    assert Elsewhere().followed(make("run"), now(records, name="other")) == [2, 4, 6]
    assert [step for step, _ in read_scalars(Path(estimator.eval_dir()))["loss"]] == [2, 4, 6]


def test_one_program_serves_all(
    make: Callable[..., Estimator],
    records: Path,
    come: Callable[..., Callable[[], None]],
    heart: Heartbeat,
    monkeypatch: pytest.MonkeyPatch,
):
    built = []
    build = Program._build
    monkeypatch.setattr(Program, "_build", lambda *args: (built.append(1), build(*args)))
    come(2, 4, 6)()
    heart.close("done", "max_steps")
    assert Elsewhere().followed(make("run"), now(records)) == [2, 4, 6]
    assert built == [1]


def test_a_checkpoint_that_is_deleted_while_it_is_read_or_is_damaged_is_left_out(
    make: Callable[..., Estimator],
    records: Path,
    come: Callable[..., Callable[[], None]],
    heart: Heartbeat,
    monkeypatch: pytest.MonkeyPatch,
):
    come(2, 4, 6)()
    heart.close("done", "max_steps")
    estimator = make("run")
    load = checkpoint.load

    def delete_first(path: Path) -> Any:
        if int(Path(path).name) == 2:
            shutil.rmtree(path)
        return load(path)

    monkeypatch.setattr(checkpoint, "load", delete_first)
    damaged = Path(estimator.model_dir) / "checkpoints/0000000004/model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    run = Elsewhere()
    assert run.followed(estimator, now(records)) == [6]
    assert "0000000002 was deleted by the run" in run.notes[0]
    assert "0000000004 is left out" in run.notes[1]
    assert "model.safetensors is damaged" in run.notes[1]


def test_a_save_that_is_under_way_is_not_read(
    make: Callable[..., Estimator],
    records: Path,
    come: Callable[..., Callable[[], None]],
    heart: Heartbeat,
    tmp_path: Path,
    trained: Path,
):
    folder = tmp_path / "run" / "checkpoints"

    def begin() -> None:
        half = folder / ".saving-0000000002"
        half.mkdir()
        shutil.copy(trained / "checkpoints/0000000002/model.safetensors", half)

    def finish() -> None:
        shutil.rmtree(folder / ".saving-0000000002")
        come(2)()

    run = Elsewhere(begin, nothing, finish, lambda: heart.close("done", "max_steps"))
    assert run.followed(make("run"), now(records)) == [2]


def test_without_a_heartbeat_it_ends_after_the_timeout(
    make: Callable[..., Estimator],
    records: Path,
    come: Callable[..., Callable[[], None]],
):
    run = Elsewhere(nothing, come(2), nothing, come(4), nothing, nothing, nothing)
    assert run.followed(make("run"), now(records), timeout=3) == [2, 4]
    assert "No new checkpoint came" in run.notes[-1]
    run = Elsewhere(nothing, nothing, nothing)
    with pytest.raises(CheckpointError, match="No checkpoint came to .*empty in 3 seconds"):
        run.followed(make("empty"), now(records), timeout=3)


def test_start_delay_and_throttle_count(
    make: Callable[..., Estimator],
    records: Path,
    come: Callable[..., Callable[[], None]],
    heart: Heartbeat,
):
    come(2, 4)()
    run = Elsewhere(*[nothing] * 9, lambda: heart.close("done", "max_steps"))
    spec = EvalSpec(records, None, start_delay_secs=3, throttle_secs=5)
    times = []
    for step, _ in follow(
        make("run"), spec, note=run.notes.append, clock=lambda: run.now, sleep=run.sleep
    ):
        times.append((step, run.now))
    assert times == [(2, 3.0), (4, 8.0)]


def test_a_checkpoint_of_another_definition_is_an_error(
    make: Callable[..., Estimator],
    records: Path,
    come: Callable[..., Callable[[], None]],
    heart: Heartbeat,
):
    import torch

    import dovetail
    from dovetail import layers, optimizers

    def other_model_fn(features, labels, mode, params):
        logits = layers.fully_connected(features["x"], 3, activation_fn=None)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return dovetail.EstimatorSpec(mode, logits, loss, optimizers.SGD(0.1).minimize(loss))

    come(2)()
    with pytest.raises(CheckpointError, match="of another definition"):
        Elsewhere().followed(make("run", other_model_fn), now(records))


def test_exporters_go_by_what_the_follower_finds(
    make: Callable[..., Estimator],
    records: Path,
    come: Callable[..., Callable[[], None]],
    heart: Heartbeat,
    tmp_path: Path,
):
    come(2, 4, 6)()
    heart.close("done", "max_steps")
    exporters = [BestExporter(exports_to_keep=1), FinalExporter()]
    estimator = make("run")
    Elsewhere().followed(estimator, now(records, exporters=exporters))
    found = dict(read_scalars(Path(estimator.eval_dir()))["loss"])
    best = min(found, key=lambda step: found[step])
    export = tmp_path / "run" / "export"
    assert [path.name for path in (export / "best").glob("0*")] == [f"{best:010d}"]
    assert [path.name for path in (export / "final").glob("0*")] == ["0000000006"]
