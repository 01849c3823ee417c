"""The event log of an evaluation: whole and in order, whoever else writes to its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from dovetail.errors import StorageError
from dovetail.run import evaluation_log
from dovetail.run.evaluation_log import EvaluationLog
from dovetail.run.event_files import event_files
from dovetail.run.summaries import SummaryWriter, read_scalars


def test_a_run_writes_one_file_however_many_points_it_has(tmp_path: Path):
    log = EvaluationLog(tmp_path / "eval")
    log.begin(0)
    for step in range(10, 60, 10):
        log.write({"loss": step / 100, "accuracy": 0.5}, step)
    assert len(event_files(tmp_path / "eval")) == 1
    expected = [(step, pytest.approx(step / 100)) for step in range(10, 60, 10)]
    assert read_scalars(tmp_path / "eval")["loss"] == expected


def test_nothing_is_made_where_nothing_is_written(tmp_path: Path):
    log = EvaluationLog(tmp_path / "eval")
    log.begin(20)
    assert log.at(20) == {}
    assert not (tmp_path / "eval").exists()


def test_a_resumed_run_drops_later_points_and_goes_on(tmp_path: Path):
    first = EvaluationLog(tmp_path / "eval")
    first.begin(0)
    for step in (10, 20, 30):
        first.write({"loss": float(step)}, step)
    again = EvaluationLog(tmp_path / "eval")
    again.begin(20)
    assert again.at(20) == {"loss": 20.0}
    again.write({"loss": 5.0}, 25)
    assert read_scalars(tmp_path / "eval")["loss"] == [(10, 10.0), (20, 20.0), (25, 5.0)]


@pytest.mark.parametrize("replaced", [10, 20])
def test_points_survive_an_evaluation_by_another_process_meanwhile(replaced: int, tmp_path: Path):
    log = EvaluationLog(tmp_path / "eval")
    log.begin(0)
    log.write({"loss": 1.0}, 10)
    log.write({"loss": 2.0}, 20)
    with SummaryWriter(tmp_path / "eval", replace_step=replaced) as other:
        other.scalars({"loss": 9.0}, replaced)
    log.write({"loss": 3.0}, 30)
    expected = {10: 1.0, 20: 2.0, 30: 3.0, replaced: 9.0}
    assert dict(read_scalars(tmp_path / "eval")["loss"]) == expected


def test_a_disk_that_is_full_half_way_leaves_whole_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    log = EvaluationLog(tmp_path / "eval")
    log.begin(0)
    log.write({"loss": 1.0}, 10)
    (path,) = event_files(tmp_path / "eval")
    size, opened = path.stat().st_size, Path.open

    class Half:
        """A file that takes half of what is written."""

        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, data: bytes):
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(evaluation_log.Path, "open", lambda *args: Half(opened(*args)))
        with pytest.raises(StorageError, match="step 20 can't be written"):
            log.write({"loss": 2.0}, 20)
    assert path.stat().st_size == size
    log.write({"loss": 2.0}, 20)
    assert read_scalars(tmp_path / "eval")["loss"] == [(10, 1.0), (20, 2.0)]
