"""Exporters: whole checkpoints, chosen by evaluations, the best of which survives restarts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dovetail.errors import CheckpointError, ParamsError, StorageError
from dovetail.run import best_export, checkpoint, export_folder, retention
from dovetail.run.exporters import BestExporter, Exporter, FinalExporter, LatestExporter
from dovetail.run.specs import EvalSpec


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Save a checkpoint whose only parameter is its step, or some number."""

    def save(step: int, value: float | None = None) -> Path:
        number = step if value is None else value
        return checkpoint.save(tmp_path, step, {"w": torch.full((3,), number)}, {}, {})

    return save


def give(exporter: Exporter, path: Path, final: bool = False, **metrics: Any) -> Path | None:
    """Ask an exporter as a run would, in the folder that it would have."""
    folder = path.parents[1] / "export" / exporter.name
    return exporter.export(None, folder, path, metrics, final)


def kept(tmp_path: Path, name: str) -> list[int]:
    return [int(path.name) for path in sorted((tmp_path / "export" / name).glob("[0-9]*"))]


def test_an_export_is_a_whole_checkpoint_that_outlives_the_one_it_was_made_from(
    saved: Callable[..., Path], tmp_path: Path
):
    path = saved(3)
    exported = give(LatestExporter(), path, loss=1.0)
    assert exported == tmp_path / "export" / "latest" / "0000000003"
    retention.prune(tmp_path, retention.Policy(last=1), current=saved(4))
    assert not path.exists()
    assert exported is not None
    assert checkpoint.load(exported).model["w"].tolist() == [3.0, 3.0, 3.0]


def test_exports_take_no_second_copy_where_files_can_be_linked(saved: Callable[..., Path]):
    path = saved(3)
    exported = give(LatestExporter(), path)
    assert exported is not None
    assert (exported / "model.safetensors").samefile(path / "model.safetensors")


def test_exports_are_copied_where_files_can_not_be_linked(
    saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    def refuse(*args: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(export_folder.os, "link", refuse)
    path = saved(3)
    exported = give(LatestExporter(), path)
    assert exported is not None
    assert not (exported / "model.safetensors").samefile(path / "model.safetensors")
    assert checkpoint.load(exported).step == 3


def test_the_latest_are_kept(saved: Callable[..., Path], tmp_path: Path):
    exporter = LatestExporter("new", exports_to_keep=2)
    for step in (1, 2, 3, 4):
        give(exporter, saved(step))
    assert kept(tmp_path, "new") == [3, 4]
    for step in (5, 6):
        give(LatestExporter("all", exports_to_keep=None), saved(step))
    assert kept(tmp_path, "all") == [5, 6]


def test_the_final_exporter_exports_at_the_end_alone(saved: Callable[..., Path], tmp_path: Path):
    exporter = FinalExporter()
    assert give(exporter, saved(1)) is None
    assert not (tmp_path / "export").exists()
    give(exporter, saved(2), final=True)
    give(exporter, saved(5), final=True)
    assert kept(tmp_path, "final") == [5]


@pytest.mark.parametrize(
    ("metric", "best_is", "values", "steps"),
    [
        ("accuracy", "auto", [0.5, 0.7, 0.6, 0.7, 0.8], [1, 2, 5]),
        ("loss", "auto", [0.5, 0.7, 0.4, 0.4, 0.3], [1, 3, 5]),
        ("rmse", "auto", [2.0, 3.0, 1.0, 1.5, 1.2], [1, 3]),
        ("loss", "higher", [0.5, 0.7, 0.4, 0.7, 0.8], [1, 2, 5]),
        ("speed", "lower", [0.5, 0.7, 0.4, 0.4, 0.3], [1, 3, 5]),
        ("loss", "auto", [float("nan"), 0.7, float("nan"), 0.9, 0.6], [2, 5]),
    ],
)
def test_only_what_is_better_than_all_before_is_exported(
    metric: str,
    best_is: Any,
    values: list[float],
    steps: list[int],
    saved: Callable[..., Path],
    tmp_path: Path,
):
    for step, value in enumerate(values, 1):
        # A new one each time, as after a restart: what it knows is on disk.
        give(BestExporter(metric=metric, best_is=best_is), saved(step), False, **{metric: value})
    assert kept(tmp_path, "best") == steps


def test_the_best_survives_restarts_even_where_only_one_is_kept(
    saved: Callable[..., Path], tmp_path: Path
):
    give(BestExporter(metric="accuracy", exports_to_keep=1), saved(7), accuracy=0.9)
    for step in (8, 9):
        assert (
            give(BestExporter(metric="accuracy", exports_to_keep=1), saved(step), accuracy=0.8)
            is None
        )
    assert kept(tmp_path, "best") == [7]
    at_the_end = give(BestExporter(metric="accuracy"), saved(10), final=True, accuracy=0.8)
    assert at_the_end == tmp_path / "export" / "best" / "0000000007"
    best = json.loads((tmp_path / "export" / "best" / "best.json").read_text())
    assert (best["step"], best["metrics"]["accuracy"]) == (7, pytest.approx(0.9))


def test_a_kill_between_copying_and_recording_loses_neither_the_old_best_nor_the_new(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    give(BestExporter(exports_to_keep=1), saved(1), loss=0.5)
    better = saved(2)
    with monkeypatch.context() as patched:
        patched.setattr(best_export, "write", _killed)
        with pytest.raises(_Killed):
            give(BestExporter(exports_to_keep=1), better, loss=0.4)
    assert {1, 2} <= set(kept(tmp_path, "best"))
    # The resumed run asks again for the checkpoint that it goes on from, and then for others.
    give(BestExporter(exports_to_keep=1), better, loss=0.4)
    assert give(BestExporter(exports_to_keep=1), saved(3), loss=0.45) is None
    assert kept(tmp_path, "best") == [2]


def test_a_kill_between_recording_and_deleting_the_surplus_leaves_none_in_the_end(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    give(BestExporter(exports_to_keep=1), saved(1), loss=0.5)
    better = saved(2)
    with monkeypatch.context() as patched:
        patched.setattr(export_folder, "prune", _killed)
        with pytest.raises(_Killed):
            give(BestExporter(exports_to_keep=1), better, loss=0.4)
    assert kept(tmp_path, "best") == [1, 2]
    assert give(BestExporter(exports_to_keep=1), better, loss=0.4) is not None
    assert kept(tmp_path, "best") == [2]


def test_a_kill_between_copying_and_recording_of_a_run_that_goes_back_keeps_what_is_recorded(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    give(BestExporter(exports_to_keep=1), saved(1), loss=0.5)
    with monkeypatch.context() as patched:
        patched.setattr(best_export, "write", _killed)
        with pytest.raises(_Killed):
            give(BestExporter(exports_to_keep=1), saved(4), loss=0.4)
    # It goes on from step 1, and its new best comes at an earlier step than what was left behind.
    exported = give(BestExporter(exports_to_keep=1), saved(2), loss=0.45)
    assert exported is not None
    assert checkpoint.load(exported).step == 2


class _Killed(BaseException):
    pass


def _killed(*args: object) -> None:
    raise _Killed


def test_a_kill_in_the_copying_leaves_nothing_that_looks_whole(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = saved(1)
    count = []

    def link(source: Path, target: Path) -> None:
        count.append(source)
        if len(count) == 2:
            raise _Killed
        target.write_bytes(source.read_bytes())

    with monkeypatch.context() as patched:
        patched.setattr(export_folder.os, "link", link)
        patched.setattr(export_folder.files.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(_Killed):
            give(BestExporter(), path, loss=0.4)
    assert checkpoint.listed(tmp_path / "export" / "best") == []
    exported = give(BestExporter(), path, loss=0.4)
    assert exported is not None
    assert checkpoint.load(exported).step == 1
    assert [p.name for p in (tmp_path / "export" / "best").iterdir() if p.name[0] == "."] == []


def test_another_checkpoint_of_the_same_step_replaces_the_export(saved: Callable[..., Path]):
    first = give(LatestExporter(), saved(3))
    again = give(LatestExporter(), saved(3))
    other = give(LatestExporter(), saved(3, 5.0))
    assert first == again == other
    assert other is not None
    assert checkpoint.load(other).model["w"][0] == 5.0


def test_a_function_compares_instead_of_a_metric(saved: Callable[..., Path], tmp_path: Path):
    def compare(best: Any, current: Any) -> bool:
        return current["gain"] - current["cost"] > best["gain"] - best["cost"]

    for step, (gain, cost) in enumerate([(3.0, 1.0), (9.0, 8.0), (4.0, 1.0)], 1):
        give(BestExporter(compare_fn=compare), saved(step), gain=gain, cost=cost)
    assert kept(tmp_path, "best") == [1, 3]


def test_values_that_an_event_log_holds_as_one_are_no_improvement(saved: Callable[..., Path]):
    assert give(BestExporter(), saved(1), loss=0.1) is not None
    assert give(BestExporter(), saved(2), loss=0.1 - 1e-12) is None


def test_a_metric_that_is_not_there_is_named_with_its_nearest(saved: Callable[..., Path]):
    with pytest.raises(ParamsError, match=r"'acuracy', which the evaluation .* mean 'accuracy'"):
        give(BestExporter(metric="acuracy"), saved(1), accuracy=0.5)
    give(BestExporter(metric="accuracy"), saved(1), accuracy=0.5)
    with pytest.raises(ParamsError, match=r"compares by 'auc', which .*best.json does not hold"):
        give(BestExporter(metric="auc"), saved(2), accuracy=0.5, auc=0.5)


def test_a_damaged_record_of_the_best_is_named(saved: Callable[..., Path], tmp_path: Path):
    give(BestExporter(), saved(1), loss=0.5)
    for content in ("{", "[1]"):
        (tmp_path / "export" / "best" / "best.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"best.json .* Delete it"):
            give(BestExporter(), saved(2), loss=0.4)


def test_a_checkpoint_that_is_gone_is_noted_and_a_disk_that_fails_is_an_error(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = saved(1)
    retention.prune(tmp_path, retention.Policy(last=1), current=saved(2))
    with pytest.warns(UserWarning, match="was deleted before it was exported"):
        assert give(BestExporter(), path, loss=0.5) is None

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_folder.os, "link", full)
    monkeypatch.setattr(export_folder.shutil, "copyfile", full)
    with pytest.raises(StorageError, match="could not be exported .*No space left"):
        give(LatestExporter(), saved(3))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: BestExporter("a/b"), "name must be that of a folder"),
        (lambda: LatestExporter(exports_to_keep=0), "exports_to_keep must be a whole number"),
        (lambda: BestExporter(best_is="max"), "best_is must be 'auto', 'higher' or 'lower'"),  # pyright: ignore
        (lambda: BestExporter(compare_fn=3), "compare_fn must be a function"),  # pyright: ignore
        (lambda: EvalSpec("x", exporters=BestExporter), "holds the class BestExporter"),  # pyright: ignore
        (lambda: EvalSpec("x", exporters=["best"]), "exporters holds 'best'"),  # pyright: ignore
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_made(make: Callable[[], object], said: str):
    with pytest.raises(ParamsError, match=said):
        make()
