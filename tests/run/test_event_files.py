"""The end of an event file, found without reading what comes before it."""

from __future__ import annotations

import pytest

from dovetail.run.event_files import event_files, last_scalars
from dovetail.run.summaries import SummaryWriter


@pytest.fixture
def folder(tmp_path):
    with SummaryWriter(tmp_path, start_step=0) as writer:
        for step in range(1, 201):
            writer.scalars({"loss": 1 / step, "rate": step}, step)
    return tmp_path


def test_the_newest_point_is_found(folder):
    step, values = last_scalars(folder)
    assert step == 200
    assert values == {"loss": pytest.approx(1 / 200), "rate": 200.0}


def test_texts_and_empty_files_after_it_do_not_hide_it(folder):
    with SummaryWriter(folder, start_step=200) as writer:
        writer.text("note", "nothing to count", 200)
    with SummaryWriter(folder):
        pass
    assert last_scalars(folder)[0] == 200


@pytest.mark.parametrize("cut", [1, 4, 10, 40])
def test_a_record_that_a_kill_cut_short_is_left_out(folder, cut):
    (path,) = event_files(folder)
    path.write_bytes(path.read_bytes()[:-cut])
    assert last_scalars(folder)[0] == 199


def test_a_file_of_something_else_holds_no_point(folder):
    (path,) = event_files(folder)
    path.write_bytes(b"no event at all, but long enough for the header of a record")
    assert last_scalars(folder) is None
