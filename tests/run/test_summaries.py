"""Event files: what is written is read by TensorBoard, and a resume leaves one curve."""

from __future__ import annotations

import io
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dovetail.errors import DataError, DovetailError, StorageError
from dovetail.run.event_files import event_files, read_events, rewind
from dovetail.run.summaries import SummaryWriter, read_scalars


def accumulated(folder: Path) -> EventAccumulator:
    """Return TensorBoard's own reading of a folder."""
    everything = {"scalars": 0, "images": 0, "histograms": 0, "tensors": 0}
    accumulator = EventAccumulator(str(folder), size_guidance=everything)
    accumulator.Reload()
    return accumulator


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    """Return a curve as TensorBoard reads it."""
    return [(point.step, point.value) for point in accumulated(folder).Scalars(tag)]


def write(folder: Path, start: int, stop: int, value: float, every: int = 1) -> Path:
    """Write a run from step start to stop and return its file."""
    with SummaryWriter(folder, start_step=start) as writer:
        for step in range(start + every, stop + 1, every):
            writer.scalars({"loss": value, "rate": step}, step)
    return writer.path


def test_scalars_are_read_by_tensorboard_and_by_read_scalars(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path / "run", start_step=0) as writer:
        writer.scalars({"loss": 0.5, "eval/accuracy": torch.tensor([0.25])}, 0)
        writer.scalars({"loss": np.float32(0.125)}, 10)
        writer.scalars({}, 11)
    assert curve(tmp_path / "run", "loss") == [(0, 0.5), (10, 0.125)]
    expected = {"loss": [(0, 0.5), (10, 0.125)], "eval/accuracy": [(0, 0.25)]}
    assert read_scalars(tmp_path / "run") == expected


def test_not_finite_scalars_are_kept(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.scalars({"loss": math.nan, "norm": math.inf}, 1)
    assert math.isnan(read_scalars(tmp_path)["loss"][0][1])
    assert read_scalars(tmp_path)["norm"] == [(1, math.inf)]


def test_a_resumed_run_leaves_one_curve(tmp_path: Path) -> None:
    write(tmp_path, 0, 10, 1.0)
    write(tmp_path, 6, 12, 2.0)
    expected = [(s, 1.0) for s in range(1, 7)] + [(s, 2.0) for s in range(7, 13)]
    assert curve(tmp_path, "loss") == expected
    assert read_scalars(tmp_path)["loss"] == expected


def test_a_resume_goes_back_over_several_files(tmp_path: Path) -> None:
    write(tmp_path, 0, 10, 1.0)
    write(tmp_path, 10, 20, 2.0)
    write(tmp_path, 20, 30, 3.0)
    write(tmp_path, 5, 8, 4.0)
    expected = [(s, 1.0) for s in range(1, 6)] + [(s, 4.0) for s in range(6, 9)]
    assert curve(tmp_path, "loss") == expected
    assert read_scalars(tmp_path)["loss"] == expected


def test_a_start_from_zero_keeps_only_step_zero(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path, start_step=-1) as writer:
        writer.scalars({"loss": 9.0}, 0)
        writer.scalars({"loss": 8.0}, 1)
    write(tmp_path, 0, 2, 1.0)
    assert read_scalars(tmp_path)["loss"] == [(0, 9.0), (1, 1.0), (2, 1.0)]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_record_cut_short_by_a_kill_is_dropped(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path, 0, 10, 1.0)
    os.truncate(path, path.stat().st_size - cut)
    assert [s for s, _ in read_scalars(tmp_path)["loss"]] == list(range(1, 10))
    write(tmp_path, 10, 12, 2.0)
    assert [s for s, _ in curve(tmp_path, "loss")] == [*range(1, 10), 11, 12]
    # The file ends with a whole record again.
    *_, (_, end, _) = read_events(path)
    assert end == path.stat().st_size


def test_every_cut_of_a_file_leaves_its_whole_records(tmp_path: Path) -> None:
    path = write(tmp_path, 0, 3, 1.0)
    whole = path.read_bytes()
    ends = [end for _, end, _ in read_events(path)]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        expected = sum(end <= length for end in ends)
        assert len(list(read_events(path))) == expected
        rewind(tmp_path, lambda step: True)
        assert path.stat().st_size == ([0, *ends][expected])


def test_zeros_and_garbage_after_the_last_record_are_dropped(tmp_path: Path) -> None:
    path = write(tmp_path, 0, 3, 1.0)
    size = path.stat().st_size
    for tail in (bytes(64), b"\xff" * 64, path.read_bytes()[-40:]):
        with path.open("ab") as file:
            file.write(tail)
        write(tmp_path, 3, 3, 1.0)
        assert path.stat().st_size == size


def test_a_flipped_byte_in_the_last_record_drops_it(tmp_path: Path) -> None:
    path = write(tmp_path, 0, 3, 1.0)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    assert [s for s, _ in read_scalars(tmp_path)["loss"]] == [1, 2]


def test_nothing_is_dropped_where_nothing_is_ahead(tmp_path: Path) -> None:
    first = write(tmp_path, 0, 4, 1.0)
    before = first.read_bytes()
    write(tmp_path, 4, 6, 1.0)
    assert first.read_bytes() == before


def test_an_evaluation_done_again_replaces_its_step_alone(tmp_path: Path) -> None:
    for step, value in ((100, 0.1), (200, 0.2), (300, 0.3), (200, 0.9)):
        with SummaryWriter(tmp_path, replace_step=step) as writer:
            writer.scalars({"accuracy": value}, step)
    points = {step: round(value, 6) for step, value in read_scalars(tmp_path)["accuracy"]}
    assert len(read_scalars(tmp_path)["accuracy"]) == 3
    assert points == {100: 0.1, 200: 0.9, 300: 0.3}


def test_an_event_in_the_middle_of_a_file_is_cut_out(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        for step in (1, 5, 2, 6, 3):
            writer.scalars({"x": step}, step)
    assert rewind(tmp_path, lambda step: step <= 3) == 2
    assert [s for s, _ in read_scalars(tmp_path)["x"]] == [1, 2, 3]
    assert len(os.listdir(tmp_path)) == 1


def test_without_a_start_step_nothing_is_dropped(tmp_path: Path) -> None:
    write(tmp_path, 0, 3, 1.0)
    with SummaryWriter(tmp_path) as writer:
        writer.scalars({"loss": 5.0}, 2)
    assert [s for s, _ in read_scalars(tmp_path)["loss"]] == [1, 2, 3, 2]


def test_files_begun_in_one_second_are_read_in_order(tmp_path: Path) -> None:
    paths = [write(tmp_path, start, start + 1, 1.0) for start in range(12)]
    assert event_files(tmp_path) == paths
    assert [s for s, _ in curve(tmp_path, "loss")] == list(range(1, 13))


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "events.out.tfevents.folder").mkdir()
    write(tmp_path, 0, 3, 1.0)
    write(tmp_path, 1, 2, 1.0)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_killed_process_leaves_all_it_wrote(tmp_path: Path) -> None:
    code = (
        "import os, sys; from dovetail.run.summaries import SummaryWriter\n"
        "w = SummaryWriter(sys.argv[1], start_step=0)\n"
        "[w.scalars({'loss': s}, s) for s in range(1, 6)]\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert [s for s, _ in read_scalars(tmp_path)["loss"]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.array([[0, 255], [7, 8]], np.uint8), [[0, 255], [7, 8]]),
        (torch.tensor([[[0.0], [1.0]], [[2.0], [-1.0]]]), [[0, 255], [255, 0]]),
        (torch.tensor([[[[True], [False]]]]), [[255, 0]]),
        (torch.tensor([[0.5, math.nan]], dtype=torch.bfloat16), [[128, 0]]),
    ],
)
def test_images_are_read_back(tmp_path: Path, image: object, expected: list[list[int]]) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.image("in", image, 3)
    accumulator = accumulated(tmp_path)
    (tag,) = accumulator.Tags()["images"]
    (point,) = accumulator.Images(tag)
    assert point.step == 3
    png = Image.open(io.BytesIO(point.encoded_image_string))
    np.testing.assert_array_equal(np.asarray(png), expected)


def test_the_first_images_of_a_batch_are_written(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.image("in", torch.rand(8, 4, 5, 3), 1, max_images=2)
    accumulator = accumulated(tmp_path)
    assert accumulator.Tags()["images"] == ["in/0", "in/1"]
    point = accumulator.Images("in/0")[0]
    assert (point.height, point.width) == (4, 5)


def test_an_image_of_a_wrong_shape_is_refused_with_the_cure(tmp_path: Path) -> None:
    with (
        SummaryWriter(tmp_path) as writer,
        pytest.raises(DataError, match=r"'in' has shape \[3, 8, 8\].*movedim"),
    ):
        writer.image("in", torch.rand(3, 8, 8), 1)


def test_a_histogram_holds_every_value(tmp_path: Path) -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with SummaryWriter(tmp_path) as writer:
        writer.histogram("w", values, 2)
    (point,) = accumulated(tmp_path).Histograms("w")
    histogram = point.histogram_value
    assert (point.step, histogram.num, sum(histogram.bucket)) == (2, 1000, 1000)
    assert histogram.sum == pytest.approx(float(values.detach().double().sum()))
    assert histogram.min == histogram.bucket_limit[0] == float(values.detach().min())
    assert histogram.max == float(values.detach().max())


def test_a_histogram_counts_what_is_not_finite(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.histogram("w", torch.tensor([1.0, math.nan, math.inf]), 1)
        writer.histogram("v", torch.tensor([math.nan]), 1)
        writer.histogram("none", torch.zeros(0), 1)
    assert read_scalars(tmp_path) == {"w/not_finite": [(1, 2.0)], "v/not_finite": [(1, 1.0)]}
    assert accumulated(tmp_path).Histograms("w")[0].histogram_value.num == 1


def test_text_is_read_back(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.text("note", "größer **than**", 4)
    (point,) = accumulated(tmp_path).Tensors("note")
    assert (point.step, point.tensor_proto.string_val[0].decode()) == (4, "größer **than**")


def test_scalars_by_other_writers_are_read(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter as TorchWriter

    with TorchWriter(str(tmp_path)) as writer:
        writer.add_scalar("old", 0.5, 1)
        writer.add_scalar("new", 0.25, 2, new_style=True)
    assert read_scalars(tmp_path) == {"old": [(1, 0.5)], "new": [(2, 0.25)]}


def test_a_purge_by_another_writer_is_honoured(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter as TorchWriter

    for purge, value in ((None, 1.0), (2, 2.0)):
        with TorchWriter(str(tmp_path), purge_step=purge, filename_suffix=f"{value}") as writer:
            for step in range(purge or 0, 4):
                writer.add_scalar("x", value, step)
        (path,) = [p for p in event_files(tmp_path) if p.name.endswith(f"{value}")]
        path.rename(tmp_path / f"events.out.tfevents.{int(value)}")
    assert read_scalars(tmp_path)["x"] == [(0, 1.0), (1, 1.0), (2, 2.0), (3, 2.0)]
    assert curve(tmp_path, "x") == read_scalars(tmp_path)["x"]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DovetailError, match=r"Can't write summaries to .*file.*model_dir"):
        SummaryWriter(tmp_path / "file")


def test_closing_twice_is_no_error(tmp_path: Path) -> None:
    writer = SummaryWriter(tmp_path)
    writer.flush()
    writer.close()
    writer.close()


def test_importing_summaries_brings_in_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, dovetail.run.summaries\n"
        "assert not {'torch', 'numpy', 'tensorflow', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def room() -> Iterator[Callable[[int | None], None]]:
    """Sets how long files may grow in this process: a write beyond fails half-way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        soft = before[0] if size is None else size
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("more", [0, 1, 11, 20])
def test_a_write_that_fails_half_way_leaves_whole_records(
    tmp_path: Path, room: Callable[[int | None], None], more: int
) -> None:
    notes: list[str] = []
    with SummaryWriter(tmp_path, note=notes.append) as writer:
        writer.scalars({"loss": 1.0}, 1)
        room(writer.path.stat().st_size + more)
        writer.scalars({"loss": 2.0}, 2)
        writer.scalars({"loss": 3.0}, 3)
        room(None)
        writer.scalars({"loss": 4.0}, 4)
    assert read_scalars(tmp_path) == {"loss": [(1, 1.0), (4, 4.0)]}
    assert curve(tmp_path, "loss") == [(1, 1.0), (4, 4.0)]
    assert len(notes) == 1
    assert "The run goes on" in notes[0]


def test_where_nobody_is_told_a_failing_disk_is_an_error(
    tmp_path: Path, room: Callable[[int | None], None]
) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.scalars({"loss": 1.0}, 1)
        room(writer.path.stat().st_size + 5)
        with pytest.raises(StorageError, match="Summaries can't be written"):
            writer.scalars({"loss": 2.0}, 2)
        room(None)
    assert read_scalars(tmp_path) == {"loss": [(1, 1.0)]}
