"""A run that was stopped and started again is the run that was not, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dovetail
from dovetail.run.estimator import Estimator
from dovetail.run.hooks import Hook
from dovetail.run.summaries import read_scalars

STEPS = 12  # of batches of 8 out of 37 examples: two and a half epochs


# How the runs of this file are done: everything that a resume may get wrong.
SETTINGS = {"save_summary_steps": 1, "save_checkpoints_steps": 4, "parts": 2, "seed": 3}


def curves(estimator: Estimator) -> dict[str, list[tuple[int, float]]]:
    found = read_scalars(estimator.model_dir)
    for tag in [tag for tag in found if tag.startswith(("examples_per_sec", "goodput/"))]:
        del found[tag]  # they tell of time
    return found


@pytest.fixture(scope="module")
def whole(
    make_in: Callable[..., Estimator], records: Path, tmp_path_factory: pytest.TempPathFactory
) -> Estimator:
    """The run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    return make_in(folder, **SETTINGS).train(records, max_steps=STEPS)


@pytest.mark.parametrize("stops", [(1, 2), (4,), (3, 7, 11), (12,)])
def test_a_run_in_several_calls_is_the_run_in_one(
    stops: tuple[int, ...],
    make: Callable[..., Estimator],
    whole: Estimator,
    records: Path,
    assert_same_state: Callable[..., None],
):
    for stop in (*stops, STEPS):
        make("again", **SETTINGS).train(records, max_steps=stop)
    again = make("again", **SETTINGS)
    assert_same_state(whole, again)
    assert curves(whole) == curves(again)
    assert set(curves(whole)) == {"loss", "learning_rate", "accuracy"}
    assert [step for step, _ in curves(again)["loss"]] == list(range(1, STEPS + 1))


def test_steps_count_from_where_the_run_stands(
    make: Callable[..., Estimator],
    whole: Estimator,
    records: Path,
    assert_same_state: Callable[..., None],
):
    again = make("again", **SETTINGS)
    for steps in (1, 5, 6):
        again.train(records, steps=steps)
    assert_same_state(whole, again)
    assert curves(whole) == curves(again)


def test_one_estimator_or_a_new_one_for_each_call_is_the_same(
    make: Callable[..., Estimator],
    whole: Estimator,
    records: Path,
    assert_same_state: Callable[..., None],
):
    one = make("one", **SETTINGS)
    for stop in (5, 9, STEPS):
        one.train(records, max_steps=stop)
    assert_same_state(whole, one)


class StopAt(Hook):
    def __init__(self, step: int):
        self.step = step

    def after_step(self, run, output):
        if run.step == self.step:
            run.request_stop()


def test_a_run_that_a_hook_stopped_goes_on(
    make: Callable[..., Estimator],
    whole: Estimator,
    records: Path,
    assert_same_state: Callable[..., None],
):
    again = make("again", **SETTINGS)
    again.train(records, hooks=[StopAt(7)], max_steps=STEPS)
    assert again.get_variable_value("global_step") == 7
    again.train(records, max_steps=STEPS)
    assert_same_state(whole, again)
    assert curves(whole) == curves(again)


def test_a_run_that_a_failing_hook_ended_goes_on_from_the_last_checkpoint(
    make: Callable[..., Estimator],
    whole: Estimator,
    records: Path,
    assert_same_state: Callable[..., None],
):
    class Failing(Hook):
        def after_step(self, run, output):
            if run.step == 7:
                raise KeyError("mine")

    again = make("again", **SETTINGS)
    with pytest.raises(KeyError) as caught:
        again.train(records, hooks=[Failing()], max_steps=STEPS)
    assert "Failing.after_step, at step 7" in caught.value.__notes__[0]
    assert again.get_variable_value("global_step") == 4
    assert [step for step, _ in curves(again)["loss"]] == list(range(1, 8))
    again.train(records, max_steps=STEPS)
    assert_same_state(whole, again)
    assert curves(whole) == curves(again)


def test_a_run_whose_input_fn_failed_is_saved_and_goes_on(
    make: Callable[..., Estimator],
    records: Path,
    tmp_path: Path,
    assert_same_state: Callable[..., None],
):
    model = tmp_path / "model.py"
    model.write_text(MODEL_FILE)
    settings = {**SETTINGS, "save_checkpoints_steps": 100}
    whole = make("whole", model, **settings).train(records, max_steps=STEPS)

    again = make("again", model, **settings)
    (tmp_path / "fail_at").write_text("6")
    with pytest.raises(dovetail.errors.DataError, match=r"input_fn.*the disk is gone"):
        again.train(records, max_steps=STEPS)
    (tmp_path / "fail_at").unlink()
    assert again.get_variable_value("global_step") == 5
    make("again", model, **settings).train(records, max_steps=STEPS)
    assert_same_state(whole, again)
    assert curves(whole) == curves(again)


MODEL_FILE = """
from pathlib import Path

import torch

from dovetail import metrics, optimizers

calls = []


def model():
    return torch.nn.Sequential(
        torch.nn.Linear(5, 6), torch.nn.BatchNorm1d(6), torch.nn.Dropout(0.3), torch.nn.Linear(6, 3)
    )


def data_schema():
    return [
        {"name": "x", "shape": [5], "dtype": "float32"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]


def input_fn(records):
    calls.append(1)
    marker = Path(__file__).parent / "fail_at"
    if marker.exists() and len(calls) == int(marker.read_text()):
        raise OSError("the disk is gone")
    return {"input": records["x"]}, records["label"].reshape(-1)


def prepare_data_for_a_single_file(filename):
    raise AssertionError("not asked for")


def loss(output, labels):
    return torch.nn.functional.cross_entropy(output, labels)


def optimizer(lr=0.05):
    return optimizers.Adam(learning_rate=lr)


def eval_metrics_fn(predictions, labels):
    return {"accuracy": metrics.accuracy(labels, predictions.argmax(1))}
"""


class Kill(Hook):
    def __init__(self, sent: signal.Signals):
        self.sent = sent

    def before_step(self, run):
        if run.step == 6:
            os.kill(os.getpid(), self.sent)


@pytest.mark.parametrize(
    "noise",
    [
        "torch.from_numpy(np.random.normal(size=records['x'].shape).astype('float32'))",
        "random.random()",
        "torch.rand(records['x'].shape)",
    ],
    ids=["numpy", "random", "torch"],
)
def test_random_augmentation_in_input_fn_is_that_of_the_run_and_its_position(
    noise: str,
    make: Callable[..., Estimator],
    records: Path,
    tmp_path: Path,
    assert_same_state: Callable[..., None],
):
    model = tmp_path / "model.py"
    augmented = f"torch.from_numpy(records['x']) + {noise}"
    text = MODEL_FILE.replace('records["x"]', augmented)
    model.write_text(f"import random\nimport numpy as np\n{text}")
    whole = make("whole", model, seed=3).train(records, max_steps=STEPS)
    assert_same_state(whole, make("same", model, seed=3).train(records, max_steps=STEPS))
    for stop in (1, 5, STEPS):
        again = make("again", model, seed=3).train(records, max_steps=stop)
    assert_same_state(whole, again)
    assert again.evaluate(records) == whole.evaluate(records)
    other = make("other", model, seed=4).train(records, max_steps=STEPS)
    assert other.evaluate(records) != whole.evaluate(records)


@pytest.mark.parametrize(
    ("sent", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_lets_the_step_finish_and_saves_it(
    sent: signal.Signals,
    error: type[BaseException],
    make: Callable[..., Estimator],
    whole: Estimator,
    records: Path,
    assert_same_state: Callable[..., None],
):
    again = make("again", **SETTINGS)
    with pytest.raises(error) as caught:
        again.train(records, hooks=[Kill(sent)], max_steps=STEPS)
    if sent == signal.SIGTERM:
        assert caught.value.code == 143
    assert again.get_variable_value("global_step") == 7
    again.train(records, max_steps=STEPS)
    assert_same_state(whole, again)
    assert curves(whole) == curves(again)


def test_a_process_that_is_terminated_exits_with_143_and_goes_on(
    make: Callable[..., Estimator],
    whole: Estimator,
    records: Path,
    tmp_path: Path,
    assert_same_state: Callable[..., None],
):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from conftest import noisy_model_fn
        from dovetail.run.config import RunConfig
        from dovetail.run.estimator import Estimator
        from dovetail.run.hooks import Hook

        class Kill(Hook):
            def before_step(self, run):
                if run.step == 6:
                    os.kill(os.getpid(), signal.SIGTERM)

        config = RunConfig(device="cpu", progress=False, **{SETTINGS!r})
        estimator = Estimator(noisy_model_fn, sys.argv[1], config, {{"batch_size": 8}})
        estimator.train({str(records)!r}, hooks=[Kill()], max_steps={STEPS})
        """)
    )
    ended = subprocess.run([sys.executable, script, tmp_path / "again"], timeout=100)
    assert ended.returncode == 143
    again = make("again", **SETTINGS)
    assert again.get_variable_value("global_step") == 7
    again.train(records, max_steps=STEPS)
    assert_same_state(whole, again)
    assert curves(whole) == curves(again)


def test_a_damaged_checkpoint_is_reported_and_the_one_before_is_gone_on_from(
    make: Callable[..., Estimator],
    whole: Estimator,
    records: Path,
    assert_same_state: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
):
    make("again", **SETTINGS).train(records, max_steps=10)
    again = make("again", **SETTINGS)
    damage(Path(again.latest_checkpoint()) / "model.safetensors")
    again.train(records, max_steps=STEPS)
    said = capsys.readouterr().err
    assert "0000000010 is passed over" in said
    assert "model.safetensors is damaged" in said
    assert_same_state(whole, again)
    assert curves(whole) == curves(again)


def test_steps_count_from_the_checkpoint_that_is_gone_on_from(
    make: Callable[..., Estimator], records: Path
):
    again = make("again", **SETTINGS).train(records, max_steps=10)
    damage(Path(again.latest_checkpoint()) / "optimizer.safetensors")
    trained = make("again", **SETTINGS).train_run(records, steps=3)
    assert (trained.step, trained.steps) == (11, 3)


def test_a_checkpoint_damaged_under_the_live_program_does_not_matter(
    make: Callable[..., Estimator],
    whole: Estimator,
    records: Path,
    assert_same_state: Callable[..., None],
):
    again = make("again", **SETTINGS).train(records, max_steps=10)
    damage(Path(again.latest_checkpoint()) / "model.safetensors")
    again.train(records, max_steps=STEPS)
    assert_same_state(whole, again)


def test_a_moved_model_dir_goes_on(
    make: Callable[..., Estimator],
    whole: Estimator,
    records: Path,
    tmp_path: Path,
    assert_same_state: Callable[..., None],
):
    make("before", **SETTINGS).train(records, max_steps=5)
    (tmp_path / "before").rename(tmp_path / "after")
    after = make("after", **SETTINGS).train(records, max_steps=STEPS)
    assert_same_state(whole, after)
    assert curves(whole) == curves(after)


def test_prefetching_changes_nothing(
    make: Callable[..., Estimator],
    whole: Estimator,
    records: Path,
    assert_same_state: Callable[..., None],
):
    without = make("without", **SETTINGS, prefetch=0).train(records, max_steps=STEPS)
    assert_same_state(whole, without)


def test_evaluating_between_changes_nothing(
    make: Callable[..., Estimator],
    whole: Estimator,
    records: Path,
    assert_same_state: Callable[..., None],
):
    again = make("again", **SETTINGS)
    for stop in (5, 9, STEPS):
        again.train(records, max_steps=stop)
        again.evaluate(records)
        next(again.predict(records))
    assert_same_state(whole, again)
    assert curves(whole) == curves(again)


def test_a_new_estimator_that_evaluates_first_goes_on_alike(
    make: Callable[..., Estimator],
    whole: Estimator,
    records: Path,
    assert_same_state: Callable[..., None],
):
    make("again", **SETTINGS).train(records, max_steps=5)
    again = make("again", **SETTINGS)
    list(again.predict(records))
    again.evaluate(records)
    again.train(records, max_steps=STEPS)
    assert_same_state(whole, again)


def test_another_seed_on_resume_is_said(
    make: Callable[..., Estimator], records: Path, capsys: pytest.CaptureFixture[str]
):
    make("run", seed=1).train(records, max_steps=2)
    make("run", seed=2).train(records, max_steps=3)
    assert (
        "seed was 1 and is 2: the order of examples and all randomness" in capsys.readouterr().err
    )


def test_an_iterable_that_can_not_be_positioned_says_so(
    make: Callable[..., Estimator],
    batches: Callable[[int], list[Any]],
    records: Path,
    capsys: pytest.CaptureFixture[str],
):
    make("run").train(lambda: batches(8), max_steps=2)
    first = capsys.readouterr().err
    assert "can't be positioned: a run that is interrupted" in first
    make("run").train(lambda: batches(8), max_steps=4)
    assert "not from where the run stood at step 2" in capsys.readouterr().err
    make("other").train(records, max_steps=2)
    make("other").train(records, max_steps=4)
    assert "positioned" not in capsys.readouterr().err


def damage(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
