"""The record of a run gets its fingerprint, its data and its end, each once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dovetail.data.mixing import Mixed
from dovetail.data.records import Records
from dovetail.definition.definition import load
from dovetail.definition.modes import ModeKeys
from dovetail.errors import DovetailError
from dovetail.program.building import build
from dovetail.run import hardware, provenance
from dovetail.run.config import RunConfig
from dovetail.run.data_manifest import manifest
from dovetail.run.hooks import Hook, Run
from dovetail.run.inputs import open_input
from dovetail.run.run_record import RunRecord


@pytest.fixture
def run_record(
    model_fn: Callable[..., Any], records: Path, tmp_path: Path
) -> Callable[..., tuple[Path, RunRecord]]:
    """Record a run that goes on at step 2 in a model_dir."""

    def made() -> tuple[Path, RunRecord]:
        config, definition, model_dir = RunConfig(), load(model_fn), tmp_path / "run"
        given = {"params": definition.params, "config": config, "batch_size": 8}
        source = open_input(records, definition, ModeKeys.TRAIN, **given)
        program = build(definition, device="cpu")
        for fed, _ in zip(source.batches(0), range(2), strict=False):
            program.train_step(fed.features, fed.labels)
        provenance.record(model_dir, params={}, origins={}, files=[], command=[], seed=0)
        return model_dir, RunRecord(program, source, config, model_dir, step=2, position=16)

    return made


def test_a_record_holds_fingerprint_data_and_end(run_record: Any, records: Path):
    model_dir, record = run_record()
    record.begin()
    record.end(2, 16, "max_steps", math.nan)
    (read,) = provenance.read(model_dir)
    assert read["fingerprint"]["from"] == {"step": 2, "position": 16}
    assert {k: v for k, v in read["fingerprint"].items() if k != "from"} == record.fingerprint
    assert read["data"] == manifest(Records(records))
    ended = read["ended"]
    assert (ended["step"], ended["position"], ended["why"]) == (2, 16, "max_steps")
    assert ended["loss"] == "nan"
    saved = record.program.state()
    assert ended["tensors"].keys() == saved.keys()
    for name, tensor in saved.items():
        plain = tensor.contiguous().numpy().tobytes()
        assert ended["tensors"][name]["sha256"] == hashlib.sha256(plain).hexdigest(), name


def test_what_is_recorded_is_never_written_again(run_record: Any):
    model_dir, record = run_record()
    record.begin()
    record.end(2, 16, "RuntimeError: no", 0.5, whole=False)
    folder = provenance.newest(model_dir)
    assert folder is not None
    before = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    assert "tensors" not in json.loads(before["ended.json"])
    with pytest.raises(DovetailError, match=r"ended.json is there already"):
        record.end(2, 16, "max_steps", 0.5)
    record.begin()  # it has a fingerprint: left alone
    assert {path.name: path.read_bytes() for path in folder.glob("*.json")} == before


def test_where_no_record_is_kept_nothing_is_added(run_record: Any, tmp_path: Path):
    _, record = run_record()
    record.model_dir = tmp_path / "none"
    record.begin()
    record.end(2, 16, "max_steps", 0.5)
    assert not (tmp_path / "none").exists()


def test_a_run_that_goes_on_is_compared_with_its_checkpoint_or_record(run_record: Any):
    _, record = run_record()
    record.begin()
    assert record.differences() == []
    then = json.loads(json.dumps(record.fingerprint))
    then["run"]["seed"] = 5
    (line,) = record.differences({"fingerprint": then})
    assert line.startswith("seed was 5 and is 0")
    record.stands["step"] = 0
    assert record.differences({"fingerprint": then}) == []


def test_a_mixture_s_manifest_holds_that_of_each_source(records: Path):
    one = Records(records)
    made = manifest(Mixed({"a": one, "b": one.select(np.arange(5))}, {"a": 3, "b": 1}))
    assert made["weights"] == {"a": 0.75, "b": 0.25}
    assert made["sources"]["a"] == manifest(one)
    assert made["sources"]["b"]["rows"] == 5


def test_the_manifest_tells_which_shard_changed(records: Path):
    (shard,) = manifest(Records(records))["shards"]
    size = (records / shard["file"]).stat().st_size
    assert (shard["rows"], shard["bytes"]) == (37, size)
    assert len(shard["sha256_of_checksums"]) == 64


def test_the_machine_and_torch_s_settings_are_recorded():
    machine = hardware.machine()
    assert machine["threads"] == torch.get_num_threads()
    assert machine["memory_bytes"] > 2**28
    assert machine["cpu"]
    assert machine["accelerators"] == hardware.accelerators()
    assert hardware.brief()["threads"] == machine["threads"]
    before = hardware.determinism()
    assert before["deterministic_algorithms"] is False
    torch.use_deterministic_algorithms(True)
    try:
        assert hardware.determinism() == {**before, "deterministic_algorithms": True}
    finally:
        torch.use_deterministic_algorithms(False)


def test_an_error_is_recorded_as_the_end_without_sums(run_record: Any):
    model_dir, record = run_record()
    record.begin()
    with (
        pytest.raises(ValueError, match="no"),
        record.error_noted(Run(record.program, model_dir, 2)),
    ):
        raise ValueError("no\nmore")
    ended = provenance.read(model_dir)[0]["ended"]
    assert (ended["why"], ended["step"], "tensors" in ended) == ("ValueError: no", 2, False)


def test_an_error_after_the_end_changes_nothing(run_record: Any):
    model_dir, record = run_record()
    record.begin()
    record.end(2, 16, "signal", 0.5)
    with pytest.raises(SystemExit), record.error_noted(Run(record.program, model_dir)):
        raise SystemExit(143)
    assert provenance.read(model_dir)[0]["ended"]["why"] == "signal"


def test_training_records_its_end_its_errors_and_its_fingerprint(
    make: Callable[..., Any], records: Path, state_of: Any
):
    class Fails(Hook):
        def after_step(self, run: Run, output: dict[str, Any]) -> None:
            if run.step == 3:
                raise RuntimeError("at three")

    estimator = make(save_checkpoints_steps=2)
    with pytest.raises(RuntimeError, match="at three"):
        estimator.train(records, max_steps=5, hooks=[Fails()])
    make().train(records, max_steps=5)
    first, second = provenance.read(estimator.model_dir)
    assert (first["ended"]["step"], second["ended"]["step"]) == (3, 5)
    assert first["ended"]["why"] == "RuntimeError: at three"
    assert second["fingerprint"]["from"]["step"] == 2
    assert second["ended"]["why"] == "max_steps"
    kept = state_of(estimator).state["fingerprint"]
    assert kept == {k: v for k, v in second["fingerprint"].items() if k != "from"}


def test_a_resumed_run_says_what_is_not_as_it_was(
    make: Callable[..., Any], records: Path, capsys: pytest.CaptureFixture[str]
):
    make().train(records, max_steps=2)
    make().train(records, max_steps=3)
    assert " was " not in capsys.readouterr().err
    make(seed=3, params={"batch_size": 4}).train(records, max_steps=4)
    said = capsys.readouterr().err
    assert "seed was 0 and is 3: the order of examples and all randomness are" in said
    assert "batch_size was 8 and is 4: " in said
