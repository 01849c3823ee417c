"""Params, model_dirs and losses that are wrong: one clear message, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dovetail.errors import CheckpointError, DovetailError, NanLossError, ParamsError
from dovetail.run import checkpoint
from dovetail.run.estimator import Estimator


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"widht": 3}, "'widht' is not a parameter of model. Did you mean 'width'"),
        ({"width": "three"}, "width"),
        ({"width": 2.5}, "width.*int.*2.5"),
        ({"net": {"rat": 0.1}}, "'net.rat' is not a parameter of model. Did you mean 'rate'"),
        ({"optimizer": {"lrr": 0.1}}, "optimizer.lrr.*Did you mean 'lr'"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1; it is 0"),
        ({"batch_size": "many"}, "batch_size"),
        ({"runconfig": {"sed": 1}}, "params.runconfig.sed is not a setting.*mean 'seed'"),
        ({"runconfig": {"seed": "x"}}, "seed must be of type int; it is 'x'"),
        ({"train_epochs": -1}, "train_epochs"),
    ],
)
def test_params_that_are_wrong_are_refused_before_anything_is_made(
    params: dict, message: str, estimator: Callable[..., Estimator], tmp_path: Path
):
    with pytest.raises(ParamsError, match=message):
        estimator(params)
    assert not (tmp_path / "run").exists()


def test_a_model_dir_of_another_definition_is_refused_with_what_differs(
    estimator: Callable[..., Estimator], write_records: Callable[..., Path]
):
    records = write_records()
    made = estimator().train(records, max_steps=3)
    before = checkpoint.load(made.latest_checkpoint()).model
    other = estimator({"width": 7})
    calls = (
        lambda: other.train(records, max_steps=5),
        lambda: other.evaluate(records),
        lambda: next(other.predict(records)),
    )
    for call in calls:
        with pytest.raises(CheckpointError) as caught:
            call()
        said = str(caught.value)
        assert "is of another definition than model" in said
        assert "model.0.weight (expected (7, 5), found (6, 5))" in said
        assert "another model_dir" in said
    after = checkpoint.load(made.latest_checkpoint())
    assert after.step == 3
    assert all((after.model[name] == tensor).all() for name, tensor in before.items())
    estimator().train(records, max_steps=4)


def test_a_model_dir_that_is_a_file_is_refused(estimator: Callable[..., Estimator], tmp_path: Path):
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(DovetailError, match="model_dir .*run can't be made.* or name another"):
        estimator()
    assert (tmp_path / "run").read_text() == "not a folder"


@pytest.mark.parametrize("taken", ["checkpoints", "provenance", "eval"])
def test_a_place_in_model_dir_that_can_not_be_written_is_named(
    taken: str,
    estimator: Callable[..., Estimator],
    write_records: Callable[..., Path],
):
    """A file where a folder must be, as root may write anywhere."""
    records = write_records()
    made = estimator()
    (Path(made.model_dir) / taken).write_text("in the way")

    def run() -> None:
        made.train(records, max_steps=1).evaluate(records)

    with pytest.raises(DovetailError, match=rf"{taken}"):
        run()
    assert (Path(made.model_dir) / taken).read_text() == "in the way"
    (Path(made.model_dir) / taken).unlink()
    made.train(records, max_steps=2).evaluate(records)
    assert made.get_variable_value("global_step") == 2


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    estimator: Callable[..., Estimator],
    write_records: Callable[..., Path],
    model_file: Path,
):
    good_model = model_file.read_text()
    records = write_records()
    estimator().train(records, max_steps=2)
    model_file.write_text(
        good_model.replace(
            "(output, labels)\n\ndef opt", "(output, labels) + float('nan')\n\ndef opt"
        )
    )
    made = estimator()
    with pytest.raises(
        NanLossError, match=r"nan at step 3, on the batch of rows .* checkpoint is "
    ):
        made.train(records, max_steps=5)
    kept = checkpoint.load(made.latest_checkpoint())
    assert kept.step == 2
    assert all(np.isfinite(tensor.numpy()).all() for tensor in kept.model.values())
    model_file.write_text(good_model)
    assert estimator().train(records, max_steps=5).get_variable_value("global_step") == 5


def test_all_checkpoints_damaged_is_said_and_nothing_is_started_afresh(
    estimator: Callable[..., Estimator], write_records: Callable[..., Path]
):
    records = write_records()
    made = estimator().train(records, max_steps=2)
    for path in checkpoint.listed(made.model_dir):
        (path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="All 3 checkpoints in .* are damaged"):
        estimator().train(records, max_steps=3)
    assert len(checkpoint.listed(made.model_dir)) == 3
