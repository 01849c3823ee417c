"""A recorded run is run again from its record alone, and compared bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from dovetail.errors import CheckpointError, DovetailError
from dovetail.run import checkpoint
from dovetail.run.estimator import Estimator
from dovetail.run.reproduce import compare_with, reproduce
from dovetail.run.warm_start import WarmStart

MODEL = """
import numpy as np
import torch
from dovetail import optimizers
from recipes.sizes import width


def model():
    return torch.nn.Sequential(
        torch.nn.Linear(5, width()), torch.nn.Dropout(0.3), torch.nn.Linear(width(), 3)
    )


def input_fn(records):
    noise = np.random.normal(scale=0.01, size=(len(records), 5)).astype(np.float32)
    return records["x"] + noise, records["label"].reshape(-1)


def loss(output, labels):
    return torch.nn.functional.cross_entropy(output, labels)


def optimizer(lr=0.1, act=torch.relu):
    return optimizers.Adam(lr)
"""

Train = Callable[..., Path]


@pytest.fixture
def train(tmp_path: Path, make_in: Callable[..., Estimator], records: Path) -> Train:
    """Train the model file in `tmp_path/run` as one call; gives the model_dir."""
    project = tmp_path / "project"
    (project / "recipes").mkdir(parents=True)
    (project / "recipes" / "sizes.py").write_text("def width():\n    return 6\n")
    (project / "model.py").write_text(MODEL)

    def trained(
        lr: float = 0.1, data: Any = records, model: Any = project / "model.py", **how: Any
    ) -> Path:
        config = {"save_checkpoints_steps": 3}
        config |= {name: how.pop(name, None) for name in ("ema_decay", "warm_start_from")}
        params = {"optimizer": {"lr": lr}} if isinstance(model, Path) else {}
        estimator = make_in(tmp_path / "run", model, params, **config)
        estimator.train_run(data, **how)
        return tmp_path / "run"

    return trained


def tensors(model_dir: Path, step: int) -> dict[str, np.ndarray]:
    """The parameters of a checkpoint, read without us."""
    path = model_dir / "checkpoints" / f"{step:010d}" / "model.safetensors"
    return safetensors.numpy.load_file(path)


def again(model_dir: Path, **more: Any) -> tuple[Any, list[str]]:
    said: list[str] = []
    return reproduce(model_dir, model_dir.parent / "again", say=said.append, **more), said


def test_a_run_is_done_again_to_the_same_bits_without_its_files(train: Train, tmp_path: Path):
    model_dir = train(max_steps=7)
    shutil.rmtree(tmp_path / "project")
    comparison, said = again(model_dir)
    assert comparison.equal
    assert comparison.lines() == ["Step 7: all 4 tensors are equal, bit for bit."]
    assert said == [f"Run 1, steps 0 to 7, is run again in {tmp_path / 'again'}."]
    one, other = tensors(model_dir, 7), tensors(tmp_path / "again", 7)
    assert one.keys() == other.keys()
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_a_run_that_was_resumed_is_done_again_as_one(train: Train, tmp_path: Path):
    train(max_steps=4)
    train(max_steps=6)
    model_dir = train(max_steps=11)
    comparison, said = again(model_dir, against_checkpoint=True)
    assert comparison.equal
    assert comparison.compared > 4  # the optimizer's too
    assert said == [f"Run 3, steps 0 to 11, is run again in {tmp_path / 'again'}."]


def test_a_run_that_was_killed_is_done_again_to_its_last_checkpoint(train: Train, tmp_path: Path):
    model_dir = train(max_steps=8)
    (model_dir / "provenance/0001/ended.json").unlink()
    shutil.rmtree(model_dir / "checkpoints" / "0000000008")
    comparison, _ = again(model_dir)
    assert comparison.equal
    assert comparison.step == 6


def test_steps_that_were_lost_and_taken_again_are_taken_once(train: Train, tmp_path: Path):
    model_dir = train(max_steps=5)
    (model_dir / "provenance/0001/ended.json").unlink()
    for step in (3, 5):
        shutil.rmtree(model_dir / "checkpoints" / f"{step:010d}")
    train(max_steps=4)  # from step 0 again
    comparison, said = again(model_dir)
    assert comparison.equal
    assert said[0].startswith("Run 2, steps 0 to 4,")


def test_a_run_that_was_killed_before_its_first_step_is_passed_over(train: Train, tmp_path: Path):
    train(max_steps=3)
    train(max_steps=5)
    model_dir = train(max_steps=6)
    for number in (2, 3):  # as if 2 had been killed before its first step, and 3 too
        for name in ("fingerprint", "data", "ended"):
            (model_dir / f"provenance/{number:04d}/{name}.json").unlink()
    for step in (5, 6):
        shutil.rmtree(model_dir / "checkpoints" / f"{step:010d}")
    comparison, said = again(model_dir)
    assert comparison.equal
    assert said[0].startswith("Run 1, steps 0 to 3,")


def test_what_was_changed_between_runs_makes_legs(train: Train, tmp_path: Path):
    train(epochs=1)  # 37 examples: its last batch is short
    train(epochs=2)
    model_dir = train(epochs=2, max_steps=10)  # nothing left: leaves no record
    train(lr=0.01, max_steps=13)
    comparison, said = again(model_dir)
    assert comparison.equal
    assert [line.split(" is run")[0] for line in said] == [
        "Run 1, steps 0 to 5,",
        "Run 2, steps 5 to 10,",
        "Run 3, steps 10 to 13,",
    ]
    assert (tmp_path / "again/definition/3/recipes/sizes.py").is_file()


def test_an_earlier_run_can_be_named(train: Train, tmp_path: Path):
    train(max_steps=4)
    model_dir = train(max_steps=9)
    comparison, _ = again(model_dir, run=1)
    assert comparison.equal
    assert comparison.step == 4
    with pytest.raises(DovetailError, match=r"no record of a run 7; it has 1, 2"):
        again(model_dir, run=7)


def test_averages_and_a_limit_are_those_of_the_record(train: Train):
    model_dir = train(max_steps=6, epochs=None, limit=10, ema_decay=0.9)
    comparison, _ = again(model_dir, against_checkpoint=True)
    assert comparison.equal


def test_a_warm_start_is_taken_from_where_it_was(train: Train, tmp_path: Path):
    train(max_steps=3).rename(tmp_path / "before")
    model_dir = train(max_steps=4, warm_start_from=str(tmp_path / "before"))
    comparison, said = again(model_dir)
    assert comparison.equal
    assert f"note: it begins with the parameters of {tmp_path / 'before'}, as they are now." in said


def test_a_warm_start_of_some_parameters_is_taken_as_it_was(train: Train, tmp_path: Path):
    train(max_steps=3).rename(tmp_path / "before")
    some = WarmStart(str(tmp_path / "before"), variables=("model.0.*",), skip=("bias",))
    comparison, said = again(train(max_steps=4, warm_start_from=some))
    assert comparison.equal
    assert f"note: it begins with the parameters of {tmp_path / 'before'}, as they are now." in said


def test_a_difference_is_named_with_its_size(train: Train, tmp_path: Path):
    model_dir = train(max_steps=4)
    path = model_dir / "provenance/0001/ended.json"
    ended = json.loads(path.read_text())
    ended["tensors"]["model.2.bias"]["sha256"] = "0" * 64
    path.write_text(json.dumps(ended))
    comparison, _ = again(model_dir)
    assert not comparison.equal
    assert [one.name for one in comparison.different] == ["model.2.bias"]


def test_a_run_with_other_values_is_found_to_differ(train: Train, tmp_path: Path):
    model_dir = train(max_steps=4)
    shutil.copytree(model_dir, tmp_path / "first")
    shutil.rmtree(model_dir)
    train(lr=0.2, max_steps=4)
    said: list[str] = []
    comparison = compare_with(tmp_path / "first", model_dir, say=said.append)
    one, other = tensors(tmp_path / "first", 4), tensors(model_dir, 4)
    expected = max(float(np.abs(one[name] - other[name]).max()) for name in one)
    assert comparison.largest == expected
    assert f"4 of 4 tensors differ, by {expected:.3g} at most" in comparison.lines()[0]
    assert "note: params.optimizer.lr was 0.1 and is 0.2: it holds from here on." in said


def test_changed_copies_and_other_data_are_refused_before_anything_runs(
    train: Train, records: Path, tmp_path: Path
):
    model_dir = train(max_steps=3)
    with pytest.raises(DovetailError, match=r"nowhere are not there.*--data"):
        again(model_dir, data=tmp_path / "nowhere")
    moved = tmp_path / "moved"
    shutil.copytree(records, moved)
    comparison, _ = again(model_dir, data=moved)
    assert comparison.equal
    shutil.rmtree(tmp_path / "again")
    run = model_dir / "provenance/0001/fingerprint.json"
    text = run.read_text()
    recorded = json.loads(text)
    recorded["data"]["fingerprint"] = "0" * 64
    run.write_text(json.dumps(recorded))
    with pytest.raises(DovetailError, match=r"not those of the run: 37 rows .* 00000000"):
        again(model_dir)
    run.write_text(text)
    copy = model_dir / "provenance/0001/files/sizes.py"
    copy.write_text("def width():\n    return 7\n")
    with pytest.raises(DovetailError, match=r"sizes.py was changed after it was recorded"):
        again(model_dir)
    assert not (tmp_path / "again").exists()


def test_another_machine_or_version_is_a_note(train: Train):
    model_dir = train(max_steps=3)
    path = model_dir / "provenance/0001/fingerprint.json"
    recorded = json.loads(path.read_text())
    recorded["versions"]["torch"] = "1.0"
    recorded["machine"]["threads"] = 99
    path.write_text(json.dumps(recorded))
    comparison, said = again(model_dir)
    assert comparison.equal
    assert said[0].startswith("note: the version of torch was 1.0 and is ")
    assert said[1].startswith("note: the machine's threads was 99 and is ")


def test_a_run_of_a_script_says_what_can_be_done_and_takes_its_parts(
    train: Train, model_fn: Any, batches: Any, tmp_path: Path
):
    def input_fn():
        return batches(8)

    model_dir = train(data=input_fn, model=model_fn, max_steps=4)
    with pytest.raises(
        DovetailError, match=r"given as a Python object and its data .*Python code.*--compare"
    ):
        again(model_dir)
    comparison, _ = again(model_dir, definition=model_fn, input_fn=input_fn)
    assert comparison.equal
    assert compare_with(model_dir, tmp_path / "again").equal


def test_what_is_missing_is_named(train: Train, tmp_path: Path):
    with pytest.raises(DovetailError, match="no record of a run in"):
        again(tmp_path / "nothing")
    model_dir = train(max_steps=3)
    with pytest.raises(DovetailError, match="holds a trained run already"):
        reproduce(model_dir, model_dir)
    newest = checkpoint.latest(model_dir)
    assert newest is not None
    shutil.rmtree(newest)
    assert again(model_dir)[0].equal  # the sums are enough
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 3 .*--against-checkpoint"):
        reproduce(model_dir, tmp_path / "more", against_checkpoint=True)
    (model_dir / "provenance/0001/fingerprint.json").unlink()
    with pytest.raises(DovetailError, match=r"run 1 .* has no fingerprint.json"):
        reproduce(model_dir, tmp_path / "other")
