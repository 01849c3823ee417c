"""A run that goes on says in which of its parts it is another one, and in no others."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.definition.modes import ModeKeys
from dovetail.program.building import build
from dovetail.run import fingerprint
from dovetail.run.estimator import Estimator
from dovetail.run.inputs import open_input

MODEL = """
import torch
from dovetail import optimizers
from sizes import WIDTH


def model(width=WIDTH):
    return torch.nn.Linear(5, width)


def input_fn(records):
    return records["x"], records["label"].reshape(-1)


def loss(output, labels):
    return torch.nn.functional.cross_entropy(output, labels)


def optimizer(lr=0.1, momentum=0.5):
    return optimizers.Momentum(optimizers.schedules.Cosine(lr, 40), momentum=momentum)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "sizes.py").write_text("WIDTH = 3\n")
    (folder / "model.py").write_text(MODEL)
    return folder / "model.py"


@pytest.fixture
def taken(tmp_path: Path, model: Path, records: Path, make_in: Callable[..., Estimator]) -> Any:
    """Take the fingerprint of a run of the model file, as it is now."""

    def take(data: Any = records, **given: Any) -> dict[str, Any]:
        params = given.pop("params", {})
        estimator = make_in(tmp_path / "run", given.pop("model", model), params, **given)
        source = open_input(
            data,
            estimator.definition,
            ModeKeys.TRAIN,
            params=estimator.params,
            config=estimator.config,
            batch_size=estimator.resolved.batch_size,
            seed=estimator.config.seed,
        )
        fed = next(source.batches(0))
        program = build(
            estimator.definition,
            example=(fed.features, fed.labels),
            device="cpu",
            config=estimator.config,
        )
        return fingerprint.take(program, source, estimator.config)

    return take


def test_the_same_run_has_the_same_fingerprint_which_json_holds(taken: Any):
    one = taken()
    assert taken() == one
    assert json.loads(json.dumps(one, allow_nan=False)) == one
    assert fingerprint.compare(one, taken()) == []


def test_a_project_and_data_that_were_moved_are_the_same(
    taken: Any, model: Path, records: Path, tmp_path: Path
):
    before = taken()
    shutil.copytree(model.parent, tmp_path / "moved")
    shutil.copytree(records, tmp_path / "elsewhere")
    after = taken(tmp_path / "elsewhere", model=tmp_path / "moved" / "model.py")
    assert after["data"]["path"] != before["data"]["path"]
    assert fingerprint.compare(before, after) == []


def test_changed_code_is_named_by_its_file(taken: Any, model: Path):
    before = taken()
    (model.parent / "sizes.py").write_text("WIDTH = 3  # as ever\n")
    (line,) = fingerprint.compare(before, taken())
    then, now = before["definition"]["code"]["sizes.py"], taken()["definition"]["code"]["sizes.py"]
    assert line == (
        f"sizes.py was {then[:8]} and is {now[:8]}: the changed code holds from here on."
    )


def test_params_optimizer_and_settings_are_told_one_by_one(taken: Any):
    before = taken()
    after = taken(params={"optimizer": {"lr": 0.2}, "batch_size": 4}, seed=3, parts=2)
    assert fingerprint.compare(before, after) == [
        "params.optimizer.lr was 0.1 and is 0.2: it holds from here on.",
        "the optimizer was Momentum(learning_rate=Cosine(initial_learning_rate=0.1, "
        "decay_steps=40), momentum=0.5) and is Momentum(learning_rate=Cosine("
        "initial_learning_rate=0.2, decay_steps=40), momentum=0.5): it goes on with the state of "
        "the one before.",
        "batch_size was 8 and is 4: steps take so many examples from here on; the position stays "
        "what it was.",
        "seed was 0 and is 3: the order of examples and all randomness are those of another run.",
        "parts was 1 and is 2: what follows is the same up to rounding, not bit for bit.",
    ]


def test_other_parameters_are_an_error_and_come_first(taken: Any):
    found = fingerprint.differing(taken(), taken(params={"model": {"width": 4}}))
    assert [difference.kind for difference in found] == ["error", "note"]
    assert found[0].then.startswith("2 tensors of 18 numbers (")
    assert found[0].now.startswith("2 tensors of 24 numbers (")
    assert found[1].name == "params.model.width"


def test_other_data_is_told_in_one_line_with_both_sets(taken: Any, records: Path, tmp_path: Path):
    before = taken()
    whole = Records(records)
    with RecordWriter(tmp_path / "more", whole.schema) as writer:
        for row in whole.rows(np.arange(len(whole))):
            writer.append(row)
        writer.append(whole.rows([0])[0])
    (line,) = fingerprint.compare(before, taken(tmp_path / "more"))
    assert line.startswith(f"the data was 37 rows of {records} ({whole.fingerprint[:8]}) and is ")
    assert f"38 rows of {tmp_path / 'more'} (" in line


def test_an_iterable_is_told_by_what_can_be_known_of_it(taken: Any, batches: Any):
    def input_fn():
        return [(f["x"], y) for f, y in batches(8)]

    def longer():
        return input_fn() * 2

    before = taken(input_fn)
    assert fingerprint.compare(before, taken(input_fn)) == []
    lines = fingerprint.compare(before, taken(longer))
    assert any(line.startswith("the data's batches was 5 and is 10: ") for line in lines)
    assert any("input_fn was" in line and "is not there" in line for line in lines)


def test_versions_and_machine_say_that_bits_may_differ(taken: Any):
    before = taken()
    now = copy.deepcopy(before)
    now["versions"]["torch"] = "99.0"
    now["machine"]["threads"] = 64
    one, two = fingerprint.compare(before, now)
    assert one.startswith(f"the version of torch was {before['versions']['torch']} and is 99.0: ")
    assert "not bit for bit" in one
    assert two.startswith("the machine's threads was ")


def test_a_checkpoint_s_fingerprint_counts_before_that_of_the_last_record(
    taken: Any, tmp_path: Path
):
    now = taken()
    assert fingerprint.differences(tmp_path / "nothing", now) == []
    then = copy.deepcopy(now)
    then["run"]["seed"] = 9
    (line,) = fingerprint.differences(tmp_path / "nothing", now, {"fingerprint": then})
    assert line.startswith("seed was 9 and is 0")
